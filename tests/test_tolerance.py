"""Files within a tolerated loss: the search, its interruption, its limits, the command line."""

from __future__ import annotations

import json
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import rdquant as rdq
from classifier import classifier
from rdquant import InvalidArgument
from rdquant.cli import app
from rdquant.codec.sections import Tensor
from rdquant.compression import bracket as brackets
from rdquant.compression import levels as rounding
from rdquant.compression import tolerance as tolerances
from rdquant.compression.allocation import damage_at, price_of, steps_at
from rdquant.compression.bracket import Trial


def test_a_loss_within_its_standard_error_may_be_chance() -> None:
    found = tolerances.Measured(images=400, kl=0.02, agreement=0.91, loss=4.0, expected_loss=0.3)
    assert found.loss_error == pytest.approx(1.5)
    tolerance = tolerances.Tolerance(loss=1.0)
    assert tolerance.used(found) == pytest.approx(4.0)
    assert tolerance.even(found) == pytest.approx(1.0)
    assert tolerances.Tolerance(kl=0.01).even(found) == pytest.approx(2.0)


def test_what_later_layers_make_up_for_counts_less() -> None:
    split = tolerances.Split.of(rdq.Digits("test"), tolerances.Tolerance(kl=0.05), 60, 0)
    search = tolerances.Search(classifier(), ["w", "v"], True, split, 0)
    steps = steps_at(search._curves, 1e-5)
    last = damage_at({"v": search._curves["v"]}, steps)
    scaled = search._made_up(steps, 3 * last, 2 * last)
    assert scaled["v"] is search._curves["v"], "nothing follows it"
    np.testing.assert_allclose(scaled["w"].damage, 0.5 * search._curves["w"].damage)
    for alone, in_order, share in ((3 * last, 4 * last, 1.0), (3 * last, 0.1 * last, 0.25)):
        scaled = search._made_up(steps, alone, in_order)
        ratio = scaled["w"].damage / search._curves["w"].damage
        assert (ratio >= share - 1e-9).all()
        assert (ratio <= 1).all()
    tried: list[tuple[float, int]] = []

    def told(levels: tolerances.Levels) -> Trial:
        measured = search._compare.measure(tolerances.values_of(levels))
        tried.append((measured.kl, tolerances.bytes_of(levels, "fast")))
        return Trial(measured.kl, measured.kl / 0.05, measured.kl / 0.05)

    search._in_order(price_of(search._curves, 0.03), told, labelled=False)
    assert 3 <= len(tried) <= 5
    for (kl, before), (_, after) in pairwise(tried[1:]):
        assert (after > before) == (kl > 0.975 * 0.05)


def test_layers_too_wide_for_covariances_are_rounded_to_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounding, "WIDEST", 400)
    result = rdq.compress_within(
        classifier(), tmp_path / "m.rdq", max_kl=0.05, data=rdq.Digits("test"), images=60
    )
    assert result.met
    assert {t.name: t.coding for t in result.tensors if t.name in "wv"} == {
        "w": "quantized",
        "v": "quantized",
    }


def test_a_tolerated_divergence_is_kept_on_images_that_were_not_seen(tmp_path: Path) -> None:
    model, data = classifier(), rdq.Digits("test")
    sizes = {}
    for limit in (0.02, 0.1):
        result = rdq.compress_within(model, tmp_path / "m.rdq", max_kl=limit, data=data, images=200)
        assert result.met
        assert not result.interrupted
        assert result.measured is not None
        assert 0 < result.measured.kl <= limit
        assert result.measured.images == 200 - 133
        assert np.isnan(result.measured.loss), "labels are not looked at"
        sizes[limit] = result.bytes
        assert result.to_dict()["measured"]["loss"] is None
        kl = rdq.evaluate(
            tmp_path / "m.rdq", data, metrics="kl",
            reference=rdq.evaluate(model, data, metrics="scores")["scores"],
        )["kl"]  # fmt: skip
        assert kl < 2 * limit
    assert sizes[0.1] < sizes[0.02]
    # Plain rounding, which knows no data, does more damage in every file that is as small.
    scores = rdq.evaluate(model, data, metrics="scores")["scores"]
    ours = rdq.evaluate(tmp_path / "m.rdq", data, metrics="kl", reference=scores)["kl"]
    smaller = 0
    for step in np.geomspace(0.05, 50, 12):
        plain = rdq.compress(model, tmp_path / "p.rdq", rdq.Midtread(step), roles=["weight", "bias"])
        if plain.bytes <= sizes[0.1]:
            smaller += 1
            assert rdq.evaluate(tmp_path / "p.rdq", data, metrics="kl", reference=scores)["kl"] > ours
    assert smaller


def test_a_tolerated_loss_is_measured_by_labels(tmp_path: Path) -> None:
    model, data = classifier(), rdq.Digits("test")
    result = rdq.compress_within(
        model, tmp_path / "m.rdq", max_loss=1.0, data=data, images=150, effort="max", seed=3
    )
    assert result.met
    assert result.measured is not None
    assert max(result.measured.loss, result.measured.expected_loss) <= 1.0
    images = result.measured.images
    assert images == len(data) - 100
    assert result.measured.loss == 100 * round(result.measured.loss * images / 100) / images, (
        "exactly, as 0.8 is"
    )
    assert result.file_bits_per_weight < 8
    back = rdq.load(tmp_path / "m.rdq")
    before = rdq.evaluate(model, data, metrics="top1")["top1"]
    assert rdq.evaluate(back, data, metrics="top1")["top1"] > before - 0.02
    coding = {t.name: t.coding for t in result.tensors}
    assert coding == {"w": "quantized", "b": "quantized", "v": "quantized", "h": "quantized"}


def test_a_loss_and_a_divergence_may_be_tolerated_together(tmp_path: Path) -> None:
    both = tolerances.Tolerance(loss=1.0, kl=0.01)
    found = tolerances.Measured(images=400, kl=0.02, agreement=0.91, loss=1.5, expected_loss=0.3)
    assert both.used(found) == pytest.approx(2.0)
    assert both.even(found) == pytest.approx(2.0), "a divergence is no chance"
    assert tolerances.Tolerance(loss=1.0, kl=0.1).used(found) == pytest.approx(1.5)
    assert (both.damage, tolerances.Tolerance(loss=1.0, kl=0.1).damage) == (0.01, 0.02)
    data, fit = rdq.Digits("test"), rdq.Digits("train").take(np.arange(100))
    sizes = []
    for limits in ({"max_loss": 2.0}, {"max_loss": 2.0, "max_kl": 1e-4}):
        result = rdq.compress_within(
            classifier(), tmp_path / "m.rdq", data=data, calibration=fit, images=80, **limits
        )
        assert result.met
        assert result.measured is not None
        assert result.measured.images == len(data)
        assert max(result.measured.loss, result.measured.expected_loss) <= 2.0
        assert result.measured.kl <= limits.get("max_kl", 1.0)
        sizes.append(result.bytes)
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("limit", [{"max_loss": 1.0}, {"max_kl": 0.05}])
def test_other_images_may_be_fitted_to(tmp_path: Path, limit: dict[str, float]) -> None:
    data, fit = rdq.Digits("test"), rdq.Digits("train").take(np.arange(100))
    result = rdq.compress_within(
        classifier(), tmp_path / "m.rdq", data=data, calibration=fit, images=80, **limit
    )
    assert result.met
    assert result.measured is not None
    assert result.measured.images == len(data)
    assert np.isnan(result.measured.loss) == ("max_kl" in limit)
    split = tolerances.Split.of(data, tolerances.Tolerance(1.0), 80, 2, fit)
    assert split.held.labels.tolist() == data.labels.tolist()
    assert len(split.fit) == 80
    assert len(tolerances.Split.of(data, tolerances.Tolerance(1.0), 300, 0, fit).fit) == 100


def test_images_that_give_no_numbers_measure_nothing(tmp_path: Path) -> None:
    x, y = rdq.Digits("test").get(np.arange(20))
    broken = x.copy()
    broken[3] *= np.float32(3e38)  # finite, but sums of them are not
    for data, fit, which in ((broken, x, "measure with"), (x, broken, "fit to")):
        with pytest.raises(InvalidArgument, match=f"gives NaN for some of the images to {which}"):
            rdq.compress_within(
                classifier(), tmp_path / "m.rdq", max_loss=5,
                data=rdq.ArrayDataset(data, y), calibration=rdq.ArrayDataset(fit + 1e-3, y),
            )  # fmt: skip


@pytest.mark.parametrize("states", [None, 0, 8])
def test_weights_follow_a_trellis_unless_told_otherwise(tmp_path: Path, states: int | None) -> None:
    path = tmp_path / "m.rdq"
    chosen = {} if states is None else {"trellis": states}
    rdq.compress_within(classifier(), path, max_kl=0.1, data=rdq.Digits("test"), images=60, **chosen)
    file = rdq.CompressedFile(path)
    used = {s.name: Tensor(file.section(s), s.name).trellis for s in file.sections if s.kind == 3}
    assert used["v"] == (32 if states is None else states)
    assert used["b"] == used["h"] == 0


def test_roles_say_whether_biases_change(tmp_path: Path) -> None:
    model = classifier()
    result = rdq.compress_within(
        model, tmp_path / "m.rdq", max_kl=0.1, data=rdq.Digits("test"), images=60, roles=["weight"]
    )
    assert {t.name: t.coding for t in result.tensors} == {
        "w": "quantized", "b": "floats", "v": "quantized", "h": "floats",
    }  # fmt: skip
    np.testing.assert_array_equal(rdq.load(tmp_path / "m.rdq").weights()["h"], model.weights()["h"])


@pytest.mark.parametrize("trials", [0, 2])
def test_an_interrupted_search_keeps_the_best_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trials: int
) -> None:
    inner, done = tolerances.Search.at, []

    def at(self: Any, price: float) -> Any:
        if len(done) == trials:
            raise KeyboardInterrupt
        done.append(price)
        return inner(self, price)

    monkeypatch.setattr(tolerances.Search, "at", at)
    model = classifier()
    result = rdq.compress_within(model, tmp_path / "m.rdq", max_kl=1e-4, data=rdq.Digits("test"), images=60)
    assert result.interrupted
    back = rdq.load(tmp_path / "m.rdq")
    if trials == 0:
        assert result.met
        assert back.fingerprint == model.fingerprint
    else:
        assert result.measured is not None
        assert result.met == (result.measured.kl <= 1e-4)


def test_an_interrupted_command_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def at(self: Any, price: float) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(tolerances.Search, "at", at)
    classifier().save(tmp_path / "m.onnx")
    line = [
        "compress-within",
        str(tmp_path / "m.onnx"),
        "-o",
        str(tmp_path / "m.rdq"),
        "--max-kl",
        "1",
        "--data",
    ]
    result = CliRunner().invoke(app, [*line, "digits", "--json"])
    assert result.exit_code == 130
    assert json.loads(result.stdout)["interrupted"]
    assert "Nothing was measured: the file is without loss." in result.stderr
    assert rdq.load(tmp_path / "m.rdq").fingerprint == rdq.load(tmp_path / "m.onnx").fingerprint


def test_warnings_of_a_command_are_lines_on_stderr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brackets, "TRIALS", 1)
    classifier().save(tmp_path / "m.onnx")
    line = [
        "compress-within",
        str(tmp_path / "m.onnx"),
        "-o",
        str(tmp_path / "m.rdq"),
        "--max-kl",
        "1e-7",
        "--data",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        result = CliRunner().invoke(app, [*line, "digits", "--images", "60"])
    assert result.exit_code == 0, result.output
    assert "Warning: no candidate was within the tolerated loss" in result.stderr
    assert ".py" not in result.stderr
    assert "the file is without loss" in result.stdout


@pytest.mark.parametrize("tolerated", [{"max_kl": 1e-7}, {"max_loss": 1e-4}], ids=str)
def test_where_nothing_is_tolerated_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tolerated: dict[str, float]
) -> None:
    monkeypatch.setattr(brackets, "TRIALS", 1)
    model = classifier()
    with pytest.warns(
        UserWarning, match="no candidate was within the tolerated loss; .* written without loss"
    ):
        result = rdq.compress_within(
            model, tmp_path / "m.rdq", data=rdq.Digits("test"), images=60, **tolerated
        )
    assert result.met
    assert result.measured is not None
    assert result.measured.images > 0
    assert (result.measured.kl, result.measured.agreement) == (0.0, 1.0)
    assert rdq.load(tmp_path / "m.rdq").fingerprint == model.fingerprint


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": True}, "max_loss, max_kl: expected one of them or both, got none"),
        ({"data": True, "max_kl": 0.0}, "max_kl: expected a finite number above 0"),
        ({"data": True, "max_loss": float("nan")}, "max_loss: expected a finite number above 0"),
        ({"data": True, "max_kl": 0.1, "trellis": 16}, "trellis: expected one of"),
        ({"data": "photos/", "max_kl": 0.1}, "data: 'photos' does not exist; expected a folder of images"),
        ({"data": 7, "max_kl": 0.1}, "data: expected a Dataset, a path, 'digits', an array"),
        (
            {"data": True, "max_kl": 0.1, "calibration": "photos/"},
            "calibration: 'photos' does not exist; expected a folder of images",
        ),
        (
            {"data": True, "max_kl": 0.1, "calibration": rdq.Digits("test")},
            "calibration: 300 of the 599 images of data are among",
        ),
        (
            {"data": True, "max_kl": 0.1, "calibration": rdq.Digits("train").head(2)},
            "calibration: expected at least 3 images, digits-train has 2",
        ),
        ({"data": True, "max_kl": 0.1, "images": 2}, "images: expected an integer ≥ 3, got 2"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    if arguments["data"] is True:
        arguments = {**arguments, "data": rdq.Digits("test")}
    with pytest.raises(InvalidArgument, match=message):
        rdq.compress_within(classifier(), tmp_path / "m.rdq", **arguments)
    assert not (tmp_path / "m.rdq").exists()


def test_the_command_line_searches_too(tmp_path: Path) -> None:
    classifier().save(tmp_path / "m.onnx")
    line = [
        "compress-within",
        str(tmp_path / "m.onnx"),
        "-o",
        str(tmp_path / "m.rdq"),
        "--max-kl",
        "0.1",
        "--data",
        "digits",
    ]
    table = CliRunner().invoke(app, [*line, "--images", "60"])
    assert table.exit_code == 0, table.output
    assert "images that nothing was fitted to: KL divergence " in table.output
    done = CliRunner().invoke(app, [*line, "--images", "60", "--json"])
    assert done.exit_code == 0, done.output
    row = json.loads(done.stdout)
    assert row["met"]
    assert row["measured"]["kl"] <= 0.1
    x, _ = rdq.Digits("train").get(np.arange(90))
    np.savez(tmp_path / "fit.npz", x=x, y=np.full(90, 77))  # nobody looks at labels
    other = CliRunner().invoke(app, [*line, "--calibration", str(tmp_path / "fit.npz"), "--json"])
    assert other.exit_code == 0, other.output
    assert json.loads(other.stdout)["measured"]["images"] == len(rdq.Digits("test"))
    np.savez(tmp_path / "same.npz", x=x)
    same = [*line[:-1], str(tmp_path / "fit.npz"), "--calibration", str(tmp_path / "same.npz")]
    overlap = CliRunner().invoke(app, same, env={"COLUMNS": "300"})
    assert overlap.exit_code == 2
    assert "90 of the 90 images of data are among those fitted to" in " ".join(overlap.output.split())
    alone = CliRunner().invoke(app, [*line[:4], "--calibration", "digits"])
    assert alone.exit_code == 2
    assert "missing option" in alone.output
    assert "--data" in alone.output
    missing = CliRunner().invoke(app, [*line[:4], "--data", "digits"], env={"COLUMNS": "300"})
    assert missing.exit_code == 2
    assert "--max-loss / --max-kl: expected one of them or both" in missing.output
