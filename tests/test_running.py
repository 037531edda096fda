"""The commands that run models: rdquant run and rdquant profile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import rdquant as rdq
from rdquant.cli import app
from rdquant.demo import digits_model
from rdquant.metrics import evaluate, wilson
from rdquant.profile import driver, meters
from rdquant.runtime import Session

QUICK = ("--threads", "1", "--repeat", "4", "--seconds", "0.02", "--processes", "1")


def call(*arguments: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def _steady(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meters, "clock", lambda: {"spin_us": 50.0, "max_mhz": None, "governor": None})


def presses(monkeypatch: pytest.MonkeyPatch, target: Any, name: str, after: int) -> None:
    """Let `target.name` end with Ctrl-C after so many calls."""
    real, calls = getattr(target, name), iter(range(after))

    def pressed(*arguments: Any, **options: Any) -> Any:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(target, name, pressed)


# --- run -----------------------------------------------------------------------------------------


def test_run_says_what_evaluate_says() -> None:
    found = json.loads(
        call("run", digits_model(), "--data", "digits", "--metrics", "top1,f1", "--json").stdout
    )
    wanted = evaluate(digits_model(), rdq.Digits("test"), metrics=("top1", "f1"))
    assert found["top1"] == wanted["top1"]
    assert found["f1"] == pytest.approx(wanted["f1"])
    assert found["top1_interval"] == list(wilson(wanted["top1"], 599))
    assert "f1_interval" not in found
    assert found["images"] == found["of"] == 599
    assert not found["interrupted"]
    assert found["images_per_second"] >= found["images_per_second_with_reading"] > 0


def test_run_prints_a_table_and_takes_a_backend() -> None:
    out = call("run", digits_model(), "--data", "digits", "--images", 50, "--backend", "reference").stdout
    assert "50 of 599 images" in out
    assert "reference" in out
    top1 = evaluate(digits_model(), rdq.Digits("test").spread(50), metrics="top1")["top1"]
    low, high = (100 * end for end in wilson(top1, 50))
    assert f"{100 * top1:.2f} % (95 % interval {low:.1f}–{high:.1f})" in out
    assert "Top-1 accuracy" in out


def test_interrupting_a_run_prints_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    presses(monkeypatch, Session, "run", after=2)
    result = call("run", digits_model(), "--data", "digits", "--batch-size", 16, "--json", code=130)
    found = json.loads(result.stdout)
    data = rdq.Digits("test")
    monkeypatch.undo()
    assert found["images"] == 32
    assert found["interrupted"]
    assert found["top1"] == evaluate(digits_model(), data.take(np.arange(32)), metrics="top1")["top1"]
    assert "Interrupted" in result.stderr


def test_interrupting_a_run_before_any_image(monkeypatch: pytest.MonkeyPatch) -> None:
    presses(monkeypatch, Session, "run", after=0)
    result = call("run", digits_model(), "--data", "digits", code=130)
    assert result.stdout == ""
    assert "There are no results yet" in result.stderr


def test_partial_results_compare_with_part_of_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    data = rdq.Digits("test", batch_size=16)
    scores = evaluate(digits_model(), data, metrics="scores")["scores"]
    presses(monkeypatch, Session, "run", after=2)
    found = evaluate(digits_model(), data, metrics="kl", reference=scores, partial=True)
    assert found["images"] == 32
    assert found["kl"] == pytest.approx(0, abs=1e-9)
    with pytest.raises(KeyboardInterrupt):
        evaluate(digits_model(), data)


# --- profile -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_steady")
def test_profile_writes_a_report_and_prints_json(tmp_path: Path) -> None:
    folder = tmp_path / "prof"
    found = json.loads(
        call("profile", digits_model(), "-o", folder, "--batch", "1,4", *QUICK, "--json").stdout
    )
    assert found["models"] == ["digits.onnx"]
    assert [row["batch"] for row in found["rows"]] == [1, 4]
    assert all(row["rss_growth_mb"] > 0 and row["latency_ratio"] == 1 for row in found["rows"])
    assert {"convolution", "matmul"} <= {row["op"] for row in found["operations"]}
    assert Path(found["report"]) == folder / "report.html"
    assert {"report.html", "profile.json", "profile.csv", "steps.csv", "memory.svg"} <= {
        path.name for path in folder.iterdir()
    }


@pytest.mark.usefixtures("_steady")
def test_profile_goes_on_after_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import test_profile

    command = ("profile", digits_model(), "-o", tmp_path, *QUICK)
    monkeypatch.setattr(driver, "in_new_process", lambda order: dict(test_profile.PROCESS))
    with monkeypatch.context() as patch:
        presses(patch, driver, "interleaved", after=0)
        assert "Nothing was measured" in call(*command, code=130).stderr
    with monkeypatch.context() as patch:
        presses(patch, driver, "in_new_process", after=0)
        result = call(*command, code=130)
        assert "What was measured is kept" in result.stderr
        assert "digits.onnx" in result.stdout
    assert "interrupted" not in call(*command).stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "{model}"],
        ["run", "{model}", "--data", "nowhere"],
        ["run", "{model}", "--data", "digits", "--metrics", "kl"],
        ["run", "{model}", "--data", "digits", "--backend", "abacus"],
        ["run", "{model}", "--data", "digits", "--images", "0"],
        ["profile"],
        ["profile", "missing.onnx"],
        ["profile", "{model}", "{model}"],
        ["profile", "{model}", "--threads", "1,x"],
        ["profile", "{model}", "--batch", "0"],
        ["profile", "{model}", "--backend", "abacus"],
        ["profile", "{model}", "--shape", "x"],
        ["profile", "{model}", "--data", "nowhere"],
    ],
)
def test_wrong_command_line_exits_with_2(arguments: list[str]) -> None:
    result = call(*(argument.format(model=digits_model()) for argument in arguments), code=2)
    assert "Error" in result.stderr or "Usage" in result.output


def test_run_takes_photos_with_boxes(shared_data: Path) -> None:
    pytest.importorskip("pycocotools")
    arguments = ["run", shared_data / "models/yolox_nano.onnx", "--data", shared_data / "images/coco-val2017"]
    arguments += ["--preprocess", "yolox", "--images", "2"]
    found = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert found.exit_code == 0, found.output
    assert {"map50", "map"} <= set(json.loads(found.stdout))
    refused = CliRunner().invoke(app, [*map(str, arguments), "--metrics", "top1"])
    assert refused.exit_code == 2
    assert "map75" in refused.output
