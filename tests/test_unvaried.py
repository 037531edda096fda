"""Networks and images that tell little: dead layers, equal images, softmax ends; compressed, and in 8 bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper
from typer.testing import CliRunner

import models
import rdquant as rdq
from pictures import picture
from rdquant import RdquantError
from rdquant.cli import app
from rdquant.cli.compress import _loss_notes
from rdquant.compression import tolerance as tolerances

Array = NDArray[Any]


def residual(dead: bool = False, zero: str = "", softmax: bool = False) -> rdq.Model:
    """Two convolutions in a branch beside a third one's output, pooling, Gemm. dead: no input of the branch's second one
    is ever above 0. zero: a weight of zeros. softmax: at the end.
    """
    random = np.random.default_rng(0)

    def normal(*shape: int) -> Array:
        return (random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    tensors = {
        "u": normal(12, 3, 3, 3),
        "v": normal(12, 12, 3, 3),
        "w": normal(12, 12, 3, 3),
        "z": normal(12, 10),
    }
    tensors |= {name: 0.1 * normal(12, 1)[:, 0] for name in "abc"}
    tensors["z"] *= 8
    tensors["b"] -= np.float32(100 if dead else 0)
    if zero:
        tensors[zero] *= 0
    nodes = [
        helper.make_node("Conv", ["x", "u", "a"], ["d"], "first", pads=[1] * 4),
        helper.make_node("Relu", ["d"], ["e"], "relu"),
        helper.make_node("Conv", ["e", "v", "b"], ["f"], "second", pads=[1] * 4),
        helper.make_node("Relu", ["f"], ["g"], "gate"),
        helper.make_node("Conv", ["g", "w", "c"], ["h"], "third", pads=[1] * 4),
        helper.make_node("Add", ["h", "e"], ["i"], "add"),
        helper.make_node("GlobalAveragePool", ["i"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["q"], "flatten"),
        helper.make_node("Gemm", ["q", "z"], ["s"], "gemm"),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["s"], ["t"], "softmax"))
    return rdq.load(models.build(nodes, tensors, {"x": ["N", 3, 8, 8]}, {nodes[-1].output[0]: ["N", 10]}))


def pictures(count: int = 60) -> rdq.ArrayDataset:
    random = np.random.default_rng(1)
    x = random.standard_normal((count, 3, 8, 8)) * random.random((count, 3, 1, 1)) * 2
    return rdq.ArrayDataset(x.astype(np.float32), np.arange(count) % 10, classes=10)


@pytest.mark.parametrize("arguments", [{"dead": True}, {"zero": "u"}, {"zero": "v"}, {"zero": "w"}], ids=str)
def test_layers_that_do_nothing_spoil_nothing(tmp_path: Path, arguments: dict[str, Any]) -> None:
    sizes = {}
    for limit in (0.01, np.float32(0.1)):
        result = rdq.compress_within(residual(**arguments), tmp_path / "m.rdq", max_kl=limit, data=pictures())
        assert result.met
        assert result.measured is not None
        assert result.measured.kl <= limit
        sizes[float(limit) > 0.05] = result.bytes
    assert sizes[True] <= sizes[False]


def test_images_that_are_all_equal_spoil_nothing(tmp_path: Path) -> None:
    model = residual()
    same = rdq.ArrayDataset(np.repeat(pictures(3).get(0)[0], 30, axis=0), np.zeros(30, np.int64), classes=10)
    result = rdq.compress_within(model, tmp_path / "m.rdq", max_kl=0.1, data=same)
    assert result.met
    for name, weight in rdq.load(tmp_path / "m.rdq").weights().items():
        if weight.ndim > 1:  # biases may take up much
            assert np.abs(weight).max() <= 100 * np.abs(model.weights()[name]).max(), name


@pytest.mark.parametrize("rounding", ["feedback", "order"])
def test_dead_layers_and_black_images_are_quantized_to_8_bits(rounding: str) -> None:
    found = rdq.quantize_static(residual(dead=True), pictures(), rounding=rounding).report
    assert found.damage is not None
    assert found.damage.score < 1e-3
    black = rdq.ArrayDataset(np.zeros((20, 3, 8, 8), np.float32), np.zeros(20, np.int64), classes=10)
    found = rdq.quantize_static(residual(), black, rounding=rounding).report
    assert found.damage is not None
    assert found.damage.score < 1e-3


def test_a_softmax_at_the_end_changes_no_expectation(tmp_path: Path) -> None:
    found = []
    for softmax in (False, True):
        model = residual(softmax=softmax)
        split = tolerances.Split.of(pictures(), tolerances.Tolerance(loss=1.0), 60, 0)
        compare = tolerances._Outputs(model, split, None)
        coarse = {"z": np.rint(model.weights()["z"] * 2) / 2}
        found.append(compare.measure(coarse))
    assert found[0].expected_loss != 0
    assert found[1].expected_loss == pytest.approx(found[0].expected_loss, rel=1e-4)
    assert found[1].kl == pytest.approx(found[0].kl, rel=1e-4)


@pytest.mark.parametrize("limit", [1e-5, 1e-7])
def test_small_losses_cost_bits_but_are_found(tmp_path: Path, limit: float) -> None:
    result = rdq.compress_within(residual(), tmp_path / "m.rdq", max_kl=limit, data=pictures())
    assert result.met
    assert result.measured is not None
    assert 0.1 * limit < result.measured.kl <= limit
    assert result.bytes < 0.5 * rdq.compress(residual(), tmp_path / "e.rdq").bytes


def test_where_only_the_model_itself_is_tolerated_that_is_written(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="the model is written without loss"):
        result = rdq.compress_within(residual(), tmp_path / "m.rdq", max_kl=1e-13, data=pictures())
    assert result.met
    assert _loss_notes(result)[-1] == "Nothing smaller is within the tolerated loss: the file is without loss"
    exact = rdq.compress(residual(), tmp_path / "e.rdq")
    assert (tmp_path / "m.rdq").read_bytes()[-200:] == (tmp_path / "e.rdq").read_bytes()[-200:]
    assert rdq.load(tmp_path / "m.rdq").fingerprint == residual().fingerprint
    assert abs(result.bytes - exact.bytes) < 16  # the roles asked for
    assert result.measured is not None
    assert result.measured.kl == 0.0


def test_zeros_take_no_more_than_without_loss(tmp_path: Path) -> None:
    model = residual()
    nothing = model.replace_weights({name: np.zeros_like(w) for name, w in model.weights().items()})
    result = rdq.compress_within(nothing, tmp_path / "m.rdq", max_kl=0.01, data=pictures())
    assert result.bytes <= rdq.compress(nothing, tmp_path / "e.rdq").bytes + 16


def test_weights_that_are_hardly_numbers_spoil_nothing(tmp_path: Path) -> None:
    model = residual()
    tiny = model.replace_weights({"v": model.weights()["v"] * np.float32(1e-40)})
    result = rdq.compress_within(tiny, tmp_path / "m.rdq", max_kl=0.01, data=pictures())
    assert result.met
    assert result.measured is not None
    assert 0 < result.measured.kl <= 0.01


@pytest.mark.parametrize("where", ["weight", "image"])
def test_what_is_no_number_is_named(tmp_path: Path, where: str) -> None:
    model, (images, labels) = residual(), pictures().get(np.arange(60))
    if where == "weight":
        broken = model.weights()["v"].copy()
        broken[3, 2, 1, 0] = np.nan
        model = model.replace_weights({"v": broken})
    else:
        images = images.copy()
        images[:, :, 3, 3] = 3e38  # finite, but sums of them are not
    message = {
        "weight": "tensor 'v': expected finite weights",
        "image": "data: the float network gives NaN for some of the images to fit to",
    }
    with pytest.raises(rdq.InvalidArgument, match=message[where]):
        rdq.compress_within(
            model, tmp_path / "m.rdq", max_kl=0.1, data=rdq.ArrayDataset(images, labels, classes=10)
        )
    assert not (tmp_path / "m.rdq").exists()


def test_a_search_that_fails_keeps_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(self: Any, steps: Any) -> Any:
        raise RdquantError("a step is missing")

    monkeypatch.setattr(tolerances.Network, "in_order", failing)
    with pytest.warns(UserWarning, match="ended early: a step is missing"):
        result = rdq.compress_within(residual(), tmp_path / "m.rdq", max_kl=0.05, data=pictures())
    assert result.met
    monkeypatch.setattr(tolerances.Network, "alone", failing)
    with pytest.raises(RdquantError, match="a step is missing"):
        rdq.compress_within(residual(), tmp_path / "m.rdq", max_kl=0.05, data=pictures())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": 3.5}, "images: expected an integer ≥ 3, got 3.5"),
        ({"images": 2}, "images: expected an integer ≥ 3, got 2"),
        ({"seed": -1}, "seed: expected an integer ≥ 0, got -1"),
        ({"max_kl": True}, "max_kl: expected a finite number above 0, got True"),
        ({"max_kl": "a"}, "max_kl: expected a finite number above 0, got 'a'"),
    ],
)
def test_what_is_no_number_is_refused(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(rdq.InvalidArgument, match=message):
        rdq.compress_within(residual(), tmp_path / "m.rdq", data=pictures(), **{"max_kl": 0.1, **arguments})


def test_a_folder_that_is_missing_is_found_before_the_search(tmp_path: Path) -> None:
    with pytest.raises(RdquantError, match="there is no folder"):
        rdq.compress_within(residual(), tmp_path / "none" / "m.rdq", max_kl=0.1, data=pictures())


def test_a_divergence_needs_no_labels_but_a_loss_does(tmp_path: Path) -> None:
    residual().save(tmp_path / "m.onnx")
    (tmp_path / "photos").mkdir()
    for k in range(8):
        picture(k, 20, 16).save(tmp_path / "photos" / f"{k}.png")
    common = [
        "compress-within",
        str(tmp_path / "m.onnx"),
        "-o",
        str(tmp_path / "m.rdq"),
        "--data",
        str(tmp_path / "photos"),
        "--preprocess",
        "imagenet",
    ]
    told = CliRunner().invoke(app, [*common, "--max-kl", "0.1"])
    assert told.exit_code == 0, told.output
    assert (tmp_path / "m.rdq").exists()
    told = CliRunner().invoke(app, [*common, "--max-loss", "1"])
    assert told.exit_code != 0
    assert "labels.csv" in told.output
