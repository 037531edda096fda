"""The command line: help, exit codes, JSON, and the commands on the network that the package carries."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import typer

from commands import RDQUANT, run
from rdquant import load
from rdquant.cli.options import parse_bits, parse_quantizers


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
    assert "{" not in text.stdout


@pytest.mark.parametrize("option", ["--plot", "--csv"])
def test_files_that_cannot_be_written_are_named(digits: Path, tmp_path: Path, option: str) -> None:
    target = tmp_path / "missing" / "x.png"
    result = run("fit", digits, "--families", "laplace", option, target, code=2)
    assert f"Error: {option}: {str(target)!r}: there is no folder {target.parent}" in result.stderr


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
    rows = json.loads(run("fit", digits, "--per", "tensor", "--families", "laplace", "--json").stdout)["fits"]
    assert [row["tensor"] for row in rows] == ["", *load(digits).weights()]
