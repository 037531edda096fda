"""The commands of a study, rdquant sweep, report and demo, on the network that the package carries."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from commands import RDQUANT, run
from rdquant import load
from rdquant.sweep import Study
from synthetic_study import write_study


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


def test_a_folder_of_several_studies_names_them_all(digits: Path, tmp_path: Path) -> None:
    other, folder = tmp_path / "other.onnx", tmp_path / "st"
    model = load(digits)
    name, values = next(iter(model.weights().items()))
    model.replace_weights({name: values + 0.5}).save(other)
    few = ["--data", "digits", "--quantizers", "midtread", "--bits", 4, "--metrics", "top1", "--images", 50]
    first = run("sweep", digits, *few, "-o", folder)
    assert "also holds" not in first.stderr
    second = " ".join(run("sweep", other, *few, "-o", folder).stderr.split())
    assert (
        f"{folder} also holds studies of digits on digits-test; this report is of other on digits-test"
        in second
    )
    assert f"rdquant report {folder} --model NAME --data NAME" in second
    latest = json.loads(run("report", folder, "--json").stdout)
    chosen = run("report", folder, "--model", "digits", "--json")
    assert (latest["model"], json.loads(chosen.stdout)["model"]) == ("other", "digits")
    assert "also holds studies of other" in " ".join(chosen.stderr.split())
    run("sweep", digits, *few, "-o", folder)
    again = json.loads(run("report", folder, "--json").stdout)
    assert again["model"] == "digits", "the study swept last, though begun first"
    refused = run("report", folder, "--data", "photos", code=2)
    assert "digits-test" in " ".join(refused.stderr.replace("│", " ").split())
    refused = run("report", folder, "--model", "vgg", code=2)
    assert "digits, other" in " ".join(refused.stderr.replace("│", " ").split())


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
    assert "run the same command again to resume" in " ".join(text.split())
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
