"""Masks of causal transformers: constants that are no weights are neither quantized nor counted as learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import models
import rdquant as rdq

LENGTH, WIDTH = 8, 16


def attention(hidden: float, by: str) -> onnx.ModelProto:
    """One causal attention; `by` is the operator that hides the future with `hidden`."""
    random = np.random.default_rng(0)
    future = np.triu(np.ones((LENGTH, LENGTH), bool), 1)
    tensors = {
        **{n: random.standard_normal((WIDTH, WIDTH)).astype(np.float32) / 4 for n in ("wq", "wk", "wv")},
        "mask": np.where(future, np.float32(hidden), np.float32(0))[None],
        "allowed": ~future[None],
        "begin": np.array([0]),
        "end": np.array([LENGTH]),
        "axis": np.array([1]),
    }
    hide = [helper.make_node("Add", ["s", "m"], ["h"])]
    if by == "Where":
        tensors["mask"] = np.full((1, LENGTH, LENGTH), hidden, np.float32)
        hide = [helper.make_node("Where", ["allowed", "s", "m"], ["h"])]
    nodes = [
        *(helper.make_node("MatMul", ["x", f"w{n}"], [n]) for n in "qkv"),
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "kt"], ["s"]),
        helper.make_node("Slice", ["mask", "begin", "end", "axis"], ["m"]),
        *hide,
        helper.make_node("Softmax", ["h"], ["p"], axis=-1),
        helper.make_node("MatMul", ["p", "v"], ["y"]),
    ]
    if by == "Add":
        del tensors["allowed"]
    shape = ("n", LENGTH, WIDTH)
    return models.build(nodes, tensors, {"x": shape}, {"y": shape}, opset=17)


@pytest.mark.parametrize("by", ["Add", "Where"])
@pytest.mark.parametrize("hidden", [np.finfo(np.float32).min, -np.inf, -65504.0, -1e9, -10000.0])
def test_masks_are_stored_as_they_are(hidden: float, by: str, tmp_path: Path) -> None:
    model = rdq.load(attention(hidden, by))
    assert set(model.weights()) == {"wq", "wk", "wv"}
    result = rdq.compress(model, tmp_path / "causal.rdq", bits=8)
    assert {row.name for row in result.tensors if row.coding == "quantized"} == {"wq", "wk", "wv"}
    back = rdq.decompress(tmp_path / "causal.rdq")
    assert set(back.weights()) == {"wq", "wk", "wv"}
    x = np.random.default_rng(1).standard_normal((1, LENGTH, WIDTH)).astype(np.float32)
    wanted, found = (rdq.Session(m, backend="native").run({"x": x})["y"] for m in (model, back))
    assert np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()
    x[0, 3:] += 1  # the future of rows 0 to 2
    later = rdq.Session(back, backend="native").run({"x": x})["y"]
    np.testing.assert_array_equal(later[0, :3], found[0, :3])


def test_weights_with_far_values_among_others_stay_weights() -> None:
    """A learned offset with one value far away is no mask: it takes more than that."""
    model = attention(-1e9, "Add")
    mask = next(t for t in model.graph.initializer if t.name == "mask")
    values = onnx.numpy_helper.to_array(mask).copy()
    values[0, 0, 0] = 0.25
    mask.CopyFrom(onnx.numpy_helper.from_array(values, "mask"))
    assert "mask" in rdq.load(model).weights()


@pytest.mark.parametrize("scope", ["model", "tensor", "channel"])
def test_divisors_are_stored_as_they_are(scope: str, tmp_path: Path) -> None:
    """The wavelengths of a position embedding: rounded to steps, the short ones would be 0, and the outputs NaN."""
    random = np.random.default_rng(2)
    tensors = {"w": random.standard_normal((WIDTH, WIDTH)), "d": 10000 ** (np.arange(WIDTH) / WIDTH)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Div", ["a", "d"], ["b"]),
        helper.make_node("Sin", ["b"], ["y"]),
    ]
    tensors = {name: values.astype(np.float32) for name, values in tensors.items()}
    model = rdq.load(models.build(nodes, tensors, {"x": ("n", WIDTH)}, {"y": ("n", WIDTH)}))
    assert set(model.weights()) == {"w"}
    rdq.compress(model, tmp_path / "waves.rdq", bits=8, scope=scope)
    x = random.standard_normal((3, WIDTH)).astype(np.float32)
    wanted, found = (
        rdq.Session(m, backend="native").run({"x": x})["y"] for m in (model, tmp_path / "waves.rdq")
    )
    np.testing.assert_allclose(found, wanted, atol=0.05)
