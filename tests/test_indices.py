"""Pads in every mode, gathers and scatters, and powers that need no logarithm: our kernels against the definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import models
import rdquant as rdq
from networks import Net


def run(model: onnx.ModelProto, x: NDArray[Any], *, op: str, tolerance: float = 0) -> list[str]:
    """Compares both engines; names the kernels of the operation."""
    native, reference = (rdq.Session(model, backend=b) for b in ("native", "reference"))
    found, expected = (next(iter(s.run({"x": x}).values())) for s in (native, reference))
    np.testing.assert_allclose(found, expected, atol=tolerance)
    return [row["kernel"] for row in native.plan({"x": x}) if row["op"] == op]


def model_of(net: Net, y: str, shape: tuple[int, ...], rank: int | None = None) -> onnx.ModelProto:
    """With open dimensions at its end."""
    axes = [f"d{i}" for i in range(len(shape) if rank is None else rank)]
    return models.build(net.nodes, net.tensors, {"x": shape}, {y: axes}, opset=17)


def noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    mode=st.sampled_from(["constant", "edge", "reflect"]),
    pads=st.lists(st.integers(-2, 3), min_size=8, max_size=8),
    number=st.sampled_from([None, 0.0, 2.5]),
)
def test_pads(mode: str, pads: list[int], number: float | None) -> None:
    net = Net()
    inputs = [net.integers(*pads), *([net.tensor(number)] if number is not None else [])]
    y = net.call("Pad", "x", *inputs, mode=mode)
    kernels = run(model_of(net, y, (5, 5, 6, 7)), noise(5, 5, 6, 7), op="pad")
    assert kernels == (["lines"] if any(pads) else [])


@pytest.mark.parametrize("mode", ["edge", "reflect"])
@pytest.mark.parametrize("channels", [16, 20])
def test_pads_between_convolutions_stay_in_blocks(mode: str, channels: int) -> None:
    net = Net()
    y = net.conv("x", channels, 3)
    y = net.call("Pad", y, net.integers(0, 0, 1, 2, 0, 0, 3, 1), mode=mode)
    y = net.conv(y, 5, channels, pads=[0] * 4)
    model, x = model_of(net, y, (2, 3, 8, 9)), noise(2, 3, 8, 9)
    assert run(model, x, op="pad", tolerance=1e-5) == ["lines"]
    assert not any(row["op"] == "reorder" for row in rdq.Session(model).plan()[1:-1])


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_gathers(axis: int, dtype: type) -> None:
    net = Net()
    y = net.call("Gather", "x", net.tensor([[1, -1, 0], [2, 2, -3]], dtype), axis=axis)
    assert run(model_of(net, y, (3, 4, 5), 4), noise(3, 4, 5), op="gather") == ["places"]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("places", ["windows", "runs", "one run", "any"])
def test_gathers_of_many_places(axis: int, places: str) -> None:
    size = 60
    of = {
        "windows": np.arange(0, 50, 3)[:, None] + np.arange(9),
        "runs": np.concatenate([np.arange(20, 45), np.arange(0, 17)]),
        "one run": np.arange(5, 50),
        "any": np.random.default_rng(0).integers(-size, size, 77),
    }
    net = Net()
    y = net.call("Gather", "x", net.tensor(of[places], np.int64), axis=axis)
    shape = tuple(size if i == axis else 3 for i in range(3))
    assert run(model_of(net, y, shape, 2 + of[places].ndim), noise(*shape), op="gather") == ["places"]


@pytest.mark.parametrize("known", [False, True])
def test_gathers_of_wide_numbers(known: bool) -> None:
    net = Net()
    if known:
        indices = net.tensor([3, -1, 0, 1], np.int64)
    else:
        indices = net.call(
            "Cast", net.call("ReduceMax", "x", axes=[1], keepdims=0), to=onnx.TensorProto.INT64
        )
    wide = net.call("Cast", "x", to=onnx.TensorProto.DOUBLE)
    y = net.call("Cast", net.call("Gather", wide, indices, axis=0), to=onnx.TensorProto.FLOAT)
    kernels = run(model_of(net, y, (4, 5)), np.minimum(noise(4, 5), 3), op="gather")
    assert kernels == ["places" if known else "copy"]


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("op", ["Gather", "GatherND"])
def test_gathers_of_bytes(op: str, axis: int, known: bool) -> None:
    """Levels of activations, which a network quantized statically takes apart."""
    net = Net()
    indices = net.tensor([[2, -1], [0, 1]], np.int64)
    if not known:
        zero = net.call(
            "Cast", net.call("ReduceMin", net.call("Abs", "x"), keepdims=0), to=onnx.TensorProto.INT64
        )
        indices = net.call("Add", indices, zero)
    levels = net.call("QuantizeLinear", "x", net.tensor(0.01), net.tensor(100, np.uint8))
    taken = net.call(op, levels, indices, **({"axis": axis} if op == "Gather" else {}))
    y = net.call("Cast", taken, to=onnx.TensorProto.FLOAT)
    model = model_of(net, y, (4, 3, 5), 4 if op == "Gather" else 2)
    kernels = run(model, noise(4, 3, 5), op="gather" if op == "Gather" else "gather_nd")
    assert kernels == ["places" if known else "copy"]


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("batch", [0, 1])
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("wide", [False, True])
def test_gathers_of_tuples(length: int, batch: int, known: bool, wide: bool) -> None:
    net = Net()
    x = net.call("Cast", "x", to=onnx.TensorProto.DOUBLE) if wide else "x"
    indices = net.tensor(np.random.default_rng(0).integers(-3, 3, (3, 7, length)), np.int64)
    if not known:  # a sum that no rule takes for a constant
        zero = net.call("Cast", net.call("Sub", "x", "x"), to=onnx.TensorProto.INT64)
        indices = net.call("Add", indices, net.call("ReduceMax", zero, keepdims=0))
    y = net.call("GatherND", x, indices, batch_dims=batch)
    y = net.call("Cast", y, to=onnx.TensorProto.FLOAT) if wide else y
    rank = 2 + 4 - length - batch
    kernels = run(model_of(net, y, (3, 3, 4, 5), rank), noise(3, 3, 4, 5), op="gather_nd")
    assert kernels == ["places" if known and not batch else "copy"]


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gathers_of_elements(axis: int, dtype: type) -> None:
    net = Net()
    indices = np.random.default_rng(0).integers(-4, 4, (4, 3, 4)).astype(dtype)
    y = net.call("GatherElements", "x", net.tensor(indices, dtype), axis=axis)
    assert run(model_of(net, y, (4, 5, 6)), noise(4, 5, 6), op="gather_elements") == ["elements"]


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "min", "max"])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("in_place", [False, True])
def test_scatters_of_elements(axis: int, reduction: str, in_place: bool) -> None:
    net = Net()
    x = net.call("Exp", "x") if in_place else "x"
    indices = np.random.default_rng(0).integers(-4, 4, (4, 3, 4))
    if reduction == "none":  # which of several updates stays is not said
        indices = np.broadcast_to(
            np.random.default_rng(0).permutation(4).reshape([-1 if i == axis % 3 else 1 for i in range(3)]),
            (4, 4, 4),
        )
    y = net.call(
        "ScatterElements",
        x,
        net.tensor(indices, np.int64),
        net.noise(*indices.shape),
        axis=axis,
        reduction=reduction,
    )
    model = model_of(net, y, (4, 5, 6))
    model.opset_import[0].version = 18
    assert run(model, noise(4, 5, 6), op="scatter_elements", tolerance=1e-6) == ["elements"]


@pytest.mark.parametrize("op", ["GatherElements", "ScatterElements"])
def test_indices_of_elements_outside_are_named(op: str) -> None:
    net = Net()
    where = net.call("Cast", "x", to=onnx.TensorProto.INT64)
    y = net.call(op, net.noise(3, 2), where, *(["x"] if op == "ScatterElements" else []))
    session = rdq.Session(model_of(net, y, (1, 2)), backend="native")
    session.run({"x": np.asarray([[-3, 2.5]], np.float32)})
    for index in (3, -4):
        with pytest.raises(rdq.InvalidArgument, match=rf"index {index} is outside \[-3, 3\)"):
            session.run({"x": np.asarray([[0, index]], np.float32)})


def test_indices_outside_are_named() -> None:
    net = Net()
    where = net.call("Cast", net.call("ReduceMax", "x", keepdims=0), to=onnx.TensorProto.INT64)
    session = rdq.Session(
        model_of(net, net.call("Gather", net.noise(3, 2), where), (2,), 1), backend="native"
    )
    session.run({"x": np.asarray([0, 2.5], np.float32)})
    with pytest.raises(
        rdq.InvalidArgument, match=r"gather of node 'gather[0-9]*': index 3 is outside \[-3, 3\)"
    ):
        session.run({"x": np.asarray([0, 3], np.float32)})


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("in_place", [False, True])
def test_scatters(length: int, in_place: bool) -> None:
    """To part of what is there: as `x[1:, 1:] += …` is exported."""
    shape = (4, 5, 6)
    places = np.stack(np.meshgrid(*(np.arange(1, n) for n in shape[:length]), indexing="ij"), axis=-1)
    net = Net()
    x = net.call("Exp", "x") if in_place else "x"
    updates = net.noise(*places.shape[:-1], *shape[length:])
    y = net.call("ScatterND", x, net.tensor(places, np.int64), updates)
    assert run(model_of(net, y, shape), noise(*shape), op="scatter_nd", tolerance=1e-6) == ["runs"]


def test_later_updates_win() -> None:
    net = Net()
    y = net.call(
        "ScatterND",
        "x",
        net.tensor([[2], [0], [2], [-1]], np.int64),
        net.tensor([[1, 2], [3, 4], [5, 6], [7, 8]]),
    )
    session = rdq.Session(model_of(net, y, (4, 2)), backend="native")
    (found,) = session.run({"x": np.zeros((4, 2), np.float32)}).values()
    np.testing.assert_array_equal(found, [[3, 4], [0, 0], [5, 6], [7, 8]])


@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMax", "ReduceMin"])
@pytest.mark.parametrize("axes", [[0], [1], [2], [1, 2], [0, 1, 2]])
@pytest.mark.parametrize("dtype", [onnx.TensorProto.INT32, onnx.TensorProto.INT64])
def test_reductions_of_integers(op: str, axes: list[int], dtype: int) -> None:
    """Sums wrap around."""
    net = Net()
    x = net.call("Cast", net.call("Mul", "x", net.tensor(1e9)), to=dtype)
    with_axes = [x, net.integers(*axes)]
    y = net.call(op, *with_axes, keepdims=1) if op == "ReduceSum" else net.call(op, x, axes=axes, keepdims=1)
    y = net.call("Cast", y, to=onnx.TensorProto.FLOAT)
    kernels = run(model_of(net, y, (3, 70, 5)), noise(3, 70, 5).clip(-2, 2), op="reduce")
    assert kernels == ["integer rows" if 2 in axes else "integer columns"]


@pytest.mark.parametrize("exponent", [2.0, -1.0, 1.0])
def test_powers(exponent: float) -> None:
    net = Net()
    y = net.call("Pow", "x", net.tensor(exponent))
    assert run(model_of(net, y, (3, 37)), noise(3, 37), op="binary", tolerance=1e-5) != ["reference"]


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("form", ["division", "inverse", "reciprocal"])
def test_norms_from_pieces(centred: bool, form: str) -> None:
    """Root-mean-square and layer norms as exporters write them."""
    net = Net()
    x = net.call("Sub", "x", net.call("ReduceMean", "x", axes=[-1])) if centred else "x"
    square = net.call("ReduceMean", net.call("Pow", x, net.tensor(2.0)), axes=[-1])
    root = net.call("Sqrt", net.call("Add", square, net.tensor(1e-6)))
    if form == "division":
        y = net.call("Div", x, root)
    elif form == "inverse":
        y = net.call("Mul", x, net.call("Div", net.tensor(1.0), root))
    else:
        y = net.call("Mul", net.call("Reciprocal", root), x)
    y = net.call("Mul", net.noise(40), y)
    model, x_values = model_of(net, y, (3, 7, 40)), noise(3, 7, 40)
    run(model, x_values, op="layer_normalization", tolerance=1e-5)
    assert [row["op"] for row in rdq.Session(model).plan()] == ["layer_normalization"]
    centre = x_values.mean(-1, keepdims=True) if centred else 0
    spread = np.sqrt(np.mean((x_values - centre) ** 2, -1, keepdims=True) + 1e-6)
    scale = next(values for values in net.tensors.values() if values.shape == (40,))
    (found,) = rdq.Session(model).run({"x": x_values}).values()
    np.testing.assert_allclose(found, (x_values - centre) / spread * scale, atol=1e-5)
