"""Profiles: speed and accuracy of each model, with readable colours and rounded figures; which models are shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

import models
import rdquant as rdq
from rdquant.demo import digits_model
from rdquant.detection import Detections
from rdquant.errors import InvalidArgument
from rdquant.metrics import wilson
from rdquant.profile import driver, meters
from rdquant.profile.confidence import confidences
from rdquant.report.performance_figures import model_colours
from rdquant.report.rows import loss_text
from rdquant.report.svg import SERIES
from rdquant.report.tables import rounded
from test_profile import PROCESS, QUICK, STEADY


@pytest.fixture(autouse=True, scope="module")
def _canned() -> Iterator[None]:
    """A clock that does not depend on what else this machine does, and canned figures of new processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meters, "clock", lambda: dict(STEADY))
        patch.setattr(driver, "in_new_process", lambda order: dict(PROCESS))
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The package's network, and one that is worse."""
    path = tmp_path_factory.mktemp("models") / "rounded.onnx"
    model = rdq.load(digits_model())
    coarse = {name: np.round(w, 1) for name, w in model.weights().items()}
    model.replace_weights(coarse).save(path)
    return {"float": digits_model(), "rounded": path}


@pytest.fixture(scope="module")
def scored(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> rdq.Profile:
    """Both on labelled images; the second is told to be 5.5 × as fast, a third slower."""
    data, named = rdq.Digits("test").head(200), {**files, "slow": digits_model()}
    found = rdq.profile(named, data, store=tmp_path_factory.mktemp("p"), **QUICK)
    for row, time in zip(found.rows, (6.6, 1.2, 6.6 * 1.3), strict=True):
        row |= {"p50_ms": time, "p90_ms": 1.5 * time, "p99_ms": 2 * time, "samples_ms": [time] * 12}
    return found


def test_labelled_images_give_each_model_its_accuracy(scored: rdq.Profile, files: dict[str, Path]) -> None:
    for row in scored.rows[:2]:
        expected = rdq.evaluate(files[row["model"]], rdq.Digits("test").head(200), metrics="top1")["top1"]
        assert (row["top1"], row["images"]) == (expected, 200)
    assert list(scored.to_pandas()["top1"]) == [row["top1"] for row in scored.rows]


def test_the_distribution_of_confidences(scored: rdq.Profile, tmp_path: Path) -> None:
    scores = rdq.evaluate(digits_model(), rdq.Digits("test").head(200), metrics="scores")["scores"].astype(
        np.float64
    )
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    sure = np.sort(1 / powers.sum(axis=1))
    row = scored.rows[0]
    assert row["confidence_mean"] == pytest.approx(sure.mean(), abs=1e-6)
    assert row["confidence_p50"] == pytest.approx((sure[99] + sure[100]) / 2, abs=1e-6)
    assert row["confidence_p10"] <= row["confidence_p50"] <= row["confidence_p90"]
    assert "mean confidence" in scored.report(tmp_path).read_text("utf-8")
    some = Detections(np.zeros((2, 4)), np.zeros(2, np.int64), np.array([0.5, 0.7]))
    none = Detections(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))
    assert confidences({"predictions": [some, none]})["confidence_mean"] == pytest.approx(0.6)
    assert set(confidences({"predictions": [none]}).values()) == {None}


def test_sentences_say_how_fast_and_what_is_lost(scored: rdq.Profile) -> None:
    fast, slow = (text.replace("\u00a0", " ") for text in scored.headlines)
    lost = scored.rows[0]["top1"] - scored.rows[1]["top1"]
    low, high = (100 * end for end in wilson(scored.rows[1]["top1"], 200))
    assert fast == (
        f"rounded is 5.5 × as fast as float and {loss_text(lost)} of top-1: 1.20 instead of 6.60 ms a run "
        "(95 % interval 5.50–5.50 × as fast), 1 thread, batch 1; top-1 "
        f"{100 * scored.rows[1]['top1']:.2f} % (95 % interval {low:.1f}–{high:.1f}) on 200 images."
    )
    assert slow.startswith(
        "slow is 0.77 × as fast as float and loses nothing of top-1: 8.58 instead of 6.60 ms"
    )
    assert scored.to_pandas()["speedup"].tolist() == pytest.approx([1, 5.5, 1 / 1.3])
    assert scored.to_dict()["headlines"] == scored.headlines


def test_the_page_shows_accuracy_beside_latency(scored: rdq.Profile, tmp_path: Path) -> None:
    page = scored.report(tmp_path).read_text(encoding="utf-8")
    assert "rounded is 5.5\u00a0× as fast as float and" in page
    low, high = (100 * end for end in wilson(scored.rows[1]["top1"], 200))
    table = re.search(r'<table id="table-latency">.*?</table>', page, re.DOTALL)
    assert table is not None
    assert table[0].count(f">{low:.1f}–{high:.1f}</td>") >= 1
    assert f'aria-label="rounded: top-1 {100 * scored.rows[1]["top1"]:.2f} % (95 % interval' in page
    assert 'aria-label="rounded, 1 thread, batch 1: median 1.20 ms, 90 % of the runs within 1.80 ms' in page


def test_images_without_labels_and_networks_without_classes_have_no_accuracy() -> None:
    images = rdq.Digits("test").get(range(40))[0]
    (row,) = rdq.profile(digits_model(), images, **QUICK).rows
    assert "top1" not in row
    labelled = rdq.ArrayDataset(images, np.arange(40) % 10)
    node = helper.make_node("Relu", ["x"], ["y"], "relu")
    shape = {"x": ["N", 1, 8, 8]}, {"y": ["N", 1, 8, 8]}
    found = rdq.profile({"relu": models.build([node], {}, *shape)}, labelled, **QUICK)
    assert "top1" not in found.rows[0]
    assert "relu (threads 1, batch 1): no accuracy: " in found.notes[0]


def test_labels_given_later_are_looked_at(files: dict[str, Path], tmp_path: Path) -> None:
    data = rdq.Digits("test").head(20)
    rdq.profile(files, data.get(range(20))[0], store=tmp_path, **QUICK)
    assert all("top1" in row for row in rdq.profile(files, data, store=tmp_path, **QUICK).rows)


@pytest.mark.parametrize("count", [1, 3, 12])
def test_no_operator_has_the_colour_of_a_model(count: int) -> None:
    colours = model_colours([f"model {i}" for i in range(count)])
    assert len(set(colours.values())) == min(count, 7)
    assert len(set(SERIES) - set(colours.values())) >= 3


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (33.23800001453492, "33.2"),
        (0.010649, "0.0106"),
        (1235.6, "1,236"),
        (0.0, "0"),
        (None, "–"),
        (9.999, "10.00"),
    ],
)
def test_figures_are_rounded_to_what_a_reader_needs(value: float | None, text: str) -> None:
    assert rounded(value) == text


def test_a_report_shows_the_models_of_its_call(files: dict[str, Path], tmp_path: Path) -> None:
    rdq.profile({"old": files["float"]}, store=tmp_path, command="the first", **QUICK)
    pair = {"new": files["float"], "smaller": files["rounded"]}
    found = rdq.profile(pair, store=tmp_path, command="the second", **QUICK)
    assert found.models == ["new", "smaller"]
    assert [run["command"] for run in found.runs] == ["the second"]
    assert {row["run"] for row in found.rows} == {0}
    assert {step["model"] for step in found.steps} == {"new", "smaller"}
    page = found.report().read_text(encoding="utf-8")
    assert "the second" in page
    assert "the first" not in page
    backwards = rdq.Profile.open(tmp_path).only(["smaller", "old"])
    assert backwards.models == ["smaller", "old"]
    assert {row["model"]: row["run"] for row in backwards.rows} == {"old": 0, "smaller": 1}
    with pytest.raises(InvalidArgument, match="models: expected one of"):
        found.only(["old"])
