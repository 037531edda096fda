"""The command line: help, exit codes, JSON, and the commands on the network that the package carries."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from rdquant.cli import app
from rdquant.cli.options import parse_bits, parse_quantizers
from rdquant.sweep import Study
from synthetic_study import write_study

RDQUANT = [sys.executable, "-m", "rdquant"]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "digits.onnx"
    path.write_bytes((files("rdquant") / "assets" / "digits.onnx").read_bytes())
    return path


def run(*arguments: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.mark.parametrize(
    ("text", "bits"),
    [("2-5", [2, 3, 4, 5]), ("8,4, 6", [4, 6, 8]), ("2-4,3,8", [2, 3, 4, 8]), ("24", [24]), ("1", [1])],
)
def test_parse_bits(text: str, bits: list[int]) -> None:
    assert parse_bits(text) == bits


@pytest.mark.parametrize("text", ["", "a", "0", "25", "5-2", "2-", "-3", "4,,5", "2.5"])
def test_parse_bits_names_the_wrong_part(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="expected"):
        parse_bits(text)


def test_parse_quantizers() -> None:
    specs = parse_quantizers("midtread, deadzone:0.4,mulaw:255,minifloat:4/3,midtread")
    assert [spec.family for spec in specs] == ["midtread", "deadzone", "mulaw", "minifloat"]
    assert len(parse_quantizers("minifloat")) == 12  # Table 3.5


@pytest.mark.parametrize("text", ["", "midtred", "deadzone:1", "deadzone:x", "minifloat:4", "half:2"])
def test_parse_quantizers_names_what_is_allowed(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="midtread"):
        parse_quantizers(text)


@pytest.mark.parametrize("command", ["info", "fit", "sweep", "report", "demo"])
def test_help_teaches_by_example(command: str) -> None:
    assert f"Example: rdquant {command}" in " ".join(run(command, "--help").output.split())
    assert f"rdquant {command}" in run("--help").output or command in run("--help").output


def test_help_loads_no_heavy_library() -> None:
    script = (
        "import sys; from typer.testing import CliRunner; from rdquant.cli import app;"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0;"
        "heavy = {'numpy', 'pandas', 'matplotlib', 'onnx', 'onnxruntime', 'scipy', 'sklearn', 'PIL', 'torch'};"
        "print(heavy & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


@pytest.mark.parametrize("first", ["rdquant.sweep", "rdquant.metrics", "rdquant"])
def test_modules_named_as_a_function_can_be_called_whoever_loads_them_first(first: str) -> None:
    script = (
        f"import {first}, rdquant as rdq; from rdquant import entropy, profile, sweep;"
        "assert rdq.sweep is sweep and rdq.sweep.Study is rdq.Study and rdq.profile.Profile is rdq.Profile;"
        "assert all(callable(module) for module in (entropy, profile, sweep));"
        "print(rdq.entropy([1, 2]), rdq.entropy.entropy([1, 2]))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["1.0", "1.0"]


def test_version() -> None:
    import rdquant

    assert run("--version").stdout == f"{rdquant.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["fit"],
        ["fit", "missing.onnx"],
        ["fit", "{model}", "--criterion", "best"],
        ["fit", "{model}", "--bins", "1"],
        ["fit", "{model}", "--per", "tensor", "--plot", "x.png"],
        ["sweep", "{model}"],
        ["sweep", "{model}", "--data", "digits", "--bits", "0-3"],
        ["sweep", "{model}", "--data", "digits", "--quantizers", "midtred"],
        ["sweep", "{model}", "--data", "digits", "--range", "-1"],
        ["sweep", "{model}", "--data", "digits", "--max-loss", "-0.1"],
        ["sweep", "{model}", "--data", "nowhere"],
        ["sweep", "{model}", "--data", "digits", "--preprocess", "imagnet"],
        ["sweep", "{model}", "--data", "digits", "--metrics", "top7"],
        ["sweep", "{model}", "--data", "digits", "--metrics", ","],
        ["sweep", "{model}", "--data", "digits", "--quantizers", ""],
        ["sweep", "{model}", "--data", "digits", "--scope", "model,layer"],
        ["sweep", "{model}", "--data", "digits", "--backend", "abacus"],
        ["sweep", "{model}", "--data", "digits", "--jobs", "0"],
        ["sweep", "{model}", "--data", "digits", "--strategy", "adaptive", "--metrics", "kl"],
        ["fit", "{model}", "--families", "gausian"],
        ["fit", "{model}", "--families", ""],
        ["fit", "{model}", "--range", "1,0"],
        ["fit", "{model}", "--range", "1"],
        ["fit", "{model}", "--plot", "x.xyz"],
        ["report", "missing"],
    ],
)
def test_wrong_command_line_exits_with_2(digits: Path, arguments: list[str]) -> None:
    result = run(*(argument.format(model=digits) for argument in arguments), code=2)
    assert "Error" in result.stderr or "Usage" in result.output
    assert "Traceback" not in result.output


def test_failed_work_exits_with_1_in_one_paragraph(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\xff\xd8\xff\xe0 no model")
    result = run("info", broken, code=1)
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert "broken.onnx" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    debugged = run("info", broken, "--debug", code=1)
    assert "Traceback" in debugged.stderr
    assert "Error: " in debugged.stderr


def test_help_names_all_that_is_accepted() -> None:
    from rdquant.data import PRESETS
    from rdquant.metrics import METRICS

    command = [*RDQUANT, "sweep", "--help"]
    text = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "200"}
    )
    words = set(re.split(r"[^\w-]+", text.stdout))
    assert words >= {*PRESETS, *METRICS}
    assert "{" not in text.stdout.replace("{MODEL.onnx}", "")


@pytest.mark.parametrize("option", ["--plot", "--csv"])
def test_files_that_cannot_be_written_are_named(digits: Path, tmp_path: Path, option: str) -> None:
    target = tmp_path / "missing" / "x.png"
    result = run("fit", digits, "--families", "laplace", option, target, code=1)
    assert f"Error: {target}: " in result.stderr
    assert "directory" in result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here: a full disk is not tried")
def test_full_device_is_named(digits: Path) -> None:
    result = run("fit", digits, "--families", "laplace", "--csv", "/dev/full", code=1)
    assert result.stderr == "Error: /dev/full: no space left on device\n"
    for extra in (["--json"], []):
        with open("/dev/full", "w") as full:
            command = [*RDQUANT, "info", str(digits), *extra]
            ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        assert ended.returncode == 1
        assert ended.stderr == "Error: standard output: no space left on device\n"


def _model(path: Path, values: list[float]) -> Path:
    import onnx

    shape = [1, len(values)] if values else [1, 3]
    x, y = (onnx.helper.make_tensor_value_info(name, 1, shape) for name in "xy")
    weights = [onnx.helper.make_tensor("w", 1, shape, values)] if values else []
    node = onnx.helper.make_node("Mul" if values else "Relu", ["x", "w"] if values else ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", [x], [y], weights)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)]), path)
    return path


@pytest.mark.parametrize("values", [[], [1.0, float("nan"), 2.0]])
@pytest.mark.parametrize("arguments", [["fit"], ["fit", "--dependence"], ["sweep", "--data", "digits"]])
def test_weights_that_cannot_be_studied_name_the_file(
    tmp_path: Path, values: list[float], arguments: list[str]
) -> None:
    path = _model(tmp_path / "odd.onnx", values)
    result = run(arguments[0], path, *arguments[1:], code=1)
    assert result.stderr.count(str(path)) == 1
    assert ("holds no weights" if not values else "NaN") in result.stderr


def test_broken_file_is_named_once(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"junk")
    assert run("info", broken, code=1).stderr.count(str(broken)) == 1


def test_info_speaks_to_readers(digits: Path) -> None:
    text = run("info", digits).stdout
    assert f"{digits.stat().st_size / 2**20:.3f} MiB" in text
    assert "file_bytes" not in text
    assert "file_bytes" in run("info", digits, "--json").stdout


@pytest.mark.parametrize(
    ("criterion", "words"), [("mle", "by BIC"), ("kl", "least KL"), ("sse", "least sum")]
)
def test_fit_says_what_ranks(digits: Path, criterion: str, words: str) -> None:
    options = ["--families", "laplace,cauchy", "--criterion", criterion, "--bins", 50]
    text = " ".join(run("fit", digits, *options).stdout.split())
    assert words in text
    assert "equation 2.41, in nats, over the histogram of 50 bins, with a floor of 1e-10" in text


def test_fit_range_reaches_the_histogram(digits: Path) -> None:
    from rdquant import fit, load

    command = ["fit", digits, "--families", "laplace", "--range=-0.1,0.2", "--json"]
    row = json.loads(run(*command).stdout)["fits"][0]
    assert row["kl"] == pytest.approx(fit(load(digits), "laplace", range=(-0.1, 0.2))[0].kl, rel=1e-12)
    assert row["kl"] != pytest.approx(fit(load(digits), "laplace")[0].kl, rel=1e-3)


def test_fit_dependence_prints_the_table(digits: Path) -> None:
    from rdquant import load
    from rdquant.stats import dependence

    expected = dependence(load(digits))
    answer = json.loads(run("fit", digits, "--dependence", "--json").stdout)
    assert [row["tensor"] for row in answer["dependence"]] == list(expected["tensor"])
    assert answer["memoryless"] == expected["memoryless"].sum()
    assert "look memoryless" in run("fit", digits, "--dependence").stdout


def test_report_of_a_folder_without_results_fails_clearly(tmp_path: Path) -> None:
    result = run("report", tmp_path, code=1)
    assert "Error: " in result.stderr
    assert str(tmp_path) in result.stderr.replace("\n", "")


def test_info_counts_the_parameters(digits: Path) -> None:
    from rdquant import load

    summary = json.loads(run("info", digits, "--json").stdout)
    sizes = [array.size for array in load(digits).weights().values()]
    assert summary["parameters"] == sum(sizes)
    assert summary["tensors"] == len(sizes)
    assert 0 < summary["weight_share"] < 1
    assert sum(summary["roles"].values()) == sum(sizes)
    assert f"{sum(sizes):,}" in run("info", digits).stdout


def test_fit_ranks_families(digits: Path, tmp_path: Path) -> None:
    csv, plot = tmp_path / "fits.csv", tmp_path / "fits.png"
    options = ["--families", "laplace,gaussian,cauchy", "--csv", csv, "--plot", plot]
    answer = json.loads(run("fit", digits, *options, "--criterion", "kl", "--json").stdout)
    assert answer["criterion"] == "kl"
    rows = answer["fits"]
    assert {row["family"] for row in rows} == {"laplace", "gaussian", "cauchy"}
    assert [row["kl"] for row in rows] == sorted(row["kl"] for row in rows)
    assert list(pd.read_csv(csv)["family"]) == [row["family"] for row in rows]
    assert plot.stat().st_size > 5000
    text = run("fit", digits, "--families", "laplace,gaussian,cauchy").stdout
    assert "laplace" in text


def test_fit_per_tensor(digits: Path) -> None:
    from rdquant import load

    rows = json.loads(run("fit", digits, "--per", "tensor", "--families", "laplace", "--json").stdout)["fits"]
    assert [row["tensor"] for row in rows] == ["", *load(digits).weights()]


def test_report_reads_a_stored_study(tmp_path: Path) -> None:
    study, target = write_study(tmp_path / "study", layers=1, metrics=("top1",)), tmp_path / "report"
    answer = json.loads(run("report", study, "-o", target, "--json").stdout)
    assert Path(answer["report"]) == target / "report.html"
    assert (target / "report.html").is_file()
    assert answer["max_loss"] == 0.8
    with closing(Study.open(study)) as stored:
        best = stored.best()
    assert [row["quantizer"] for row in answer["best"]] == list(best["quantizer"])
    assert answer["best"][0]["bits"] == best["bits"].iloc[0]
    assert f"{best['entropy'].iloc[0]:.2f} bits per weight" in answer["headline"]
    result = run("report", study, "-o", target, "--max-loss", 5)
    assert "bits per weight" in result.stdout
    assert "Report: " in result.stderr


SWEEP = ["--data", "digits", "--quantizers", "midtread,deadzone:0.4", "--metrics", "top1,kl", "--images", 100]


def test_sweep_writes_study_and_report_and_resumes(digits: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    answer = json.loads(run("sweep", digits, *SWEEP, "--bits", "4,8", "-o", folder, "--json").stdout)
    assert (folder / "report.html").is_file()
    assert {row["quantizer"] for row in answer["best"]} <= {"midtread", "dead zone δ=0.4"}
    assert answer["best"]
    with sqlite3.connect(folder / "results.sqlite") as store:
        before = store.execute("SELECT id, quantizer, bits, images FROM points ORDER BY id").fetchall()
        assert len(before) == 5  # the float model and 2 × 2
        assert {row[3] for row in before} == {100}
        run("sweep", digits, *SWEEP, "--bits", "4,6,8", "-o", folder)
        after = store.execute("SELECT id, quantizer, bits, images FROM points ORDER BY id").fetchall()
    store.close()
    assert after[:5] == before
    assert [row[2] for row in after[5:]] == [6, 6]


def test_sweep_on_two_processes_over_scopes_gives_the_same_points(digits: Path, tmp_path: Path) -> None:
    options = ["--data", "digits", "--quantizers", "midtread", "--bits", "4,6", "--metrics", "top1"]
    options += [
        "--scope",
        "model,channel",
        "--images",
        40,
        "--threads",
        1,
        "--seed",
        3,
        "--backend",
        "onnxruntime",
    ]
    tables = []
    for name, jobs in (("one", "1"), ("two", "2")):
        command = [*RDQUANT, "sweep", digits, *options, "-o", tmp_path / name, "--jobs", jobs]
        ended = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
        assert "40 images: one image is 2.5 points, more than the tolerance of 0.8" in ended.stdout
        with closing(Study.open(tmp_path / name)) as study:
            table = study.to_pandas().drop(columns="seconds")
        tables.append(table.sort_values(["scope", "bits"]).reset_index(drop=True))
    pd.testing.assert_frame_equal(*tables)
    assert sorted(tables[0]["scope"]) == ["channel", "channel", "model", "model", "model"]


def test_more_images_than_there_are(digits: Path, tmp_path: Path) -> None:
    options = ["--data", "digits", "--quantizers", "half", "--metrics", "top1", "--images", 10**6]
    result = run("sweep", digits, *options, "-o", tmp_path)
    with closing(Study.open(tmp_path)) as study:
        images = set(study.to_pandas()["images"])
    assert f"--images 1000000: there are {images.pop()}; all are used." in result.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for child processes")
def test_interrupt_says_how_to_go_on(digits: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    command = [*RDQUANT, "sweep", digits, "--data", "digits", "--bits", "2-24", "-o", folder]
    with subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            if (folder / "results.sqlite").exists():
                break
            time.sleep(0.02)
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, text = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted." in text
    assert "run the same command again to go on" in " ".join(text.split())
    assert "Traceback" not in text


def test_demo_is_a_whole_study_in_less_than_a_minute(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    start = time.perf_counter()
    command = [*RDQUANT, "demo", "-o", str(folder), "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert time.perf_counter() - start < 60
    answer = json.loads(result.stdout)
    page = (folder / "report.html").read_text("utf-8")
    assert "rd-top1" in page
    assert "histogram-log" in page
    assert 1 < answer["best"][0]["cr"] < 32
    assert all(row["loss_top1"] <= answer["max_loss"] / 100 + 1e-9 for row in answer["best"])
    assert str(folder / "report.html") in result.stderr.replace("\n", "")
