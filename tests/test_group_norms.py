"""Group normalization, as one operator and as older exporters write it: one step, with scale, bias and activation."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

import models
import rdquant as rdq
from networks import Net
from rdquant.ptq import quantize_static

Array = NDArray[Any]
ONE_STEP = ["group_normalization"]


def reshaped(net: Net, x: str, groups: int, axes: int, **other: Any) -> str:
    """As exporters of PyTorch write it, but for the product and sum after it."""
    y = net.call("Reshape", x, net.integers(0, groups, -1))
    y = net.call("InstanceNormalization", y, net.tensor([1] * groups), net.tensor([0] * groups), epsilon=1e-5)
    return net.call("Reshape", y, other.get("back") or net.call("Shape", x))


def normalized(net: Net, x: str, groups: int, channels: int, axes: int) -> str:
    y = reshaped(net, x, groups, axes)
    spatial = [1] * axes
    return net.call(
        "Add", net.call("Mul", y, net.noise(channels, *spatial, low=0.5)), net.noise(channels, *spatial)
    )


def noise(*shape: int) -> Array:
    return (3 + np.random.default_rng(3).standard_normal(shape)).astype(np.float32)


def whole(net: Net, y: str | list[str], channels: int, axes: int, opset: int = 17) -> onnx.ModelProto:
    outputs = [y] if isinstance(y, str) else y
    free = {name: [f"{name}{i}" for i in range(axes + 2)] for name in outputs}
    shape = ["n", channels, *[f"size{i}" for i in range(axes)]]
    return models.build(net.nodes, net.tensors, {"x": shape}, free, opset)


def check(model: onnx.ModelProto, x: Array, tolerance: float = 2e-5) -> list[str]:
    """Our answers are ONNX Runtime's; gives the steps, without those that cost nothing."""
    pytest.importorskip("onnxruntime")
    expected = rdq.Session(model, backend="onnxruntime").run({"x": x})
    for backend in ("reference", "native"):
        found = rdq.Session(model, backend=backend).run({"x": x})
        for name, y in found.items():
            np.testing.assert_allclose(
                y.astype(np.float32), expected[name].astype(np.float32), rtol=1e-4, atol=tolerance
            )
    plan = rdq.Session(model).plan({"x": x})
    return [row["op"] for row in plan if row["kernel"] != "alias" and row["op"] != "reorder"]


@pytest.mark.parametrize("groups", [1, 2, 5, 20])
@pytest.mark.parametrize("sizes", [(41,), (9, 7), (3, 5, 4)])
def test_one_step_for_any_batch(groups: int, sizes: tuple[int, ...]) -> None:
    net, axes = Net(), len(sizes)
    y = normalized(net, "x", groups, 20, axes)
    model = whole(net, net.call("Mul", y, net.call("Sigmoid", y)), 20, axes)
    session = rdq.Session(model)
    for batch in (1, 3, 2):
        x = noise(batch, 20, *sizes)
        assert check(model, x) == ONE_STEP
        np.testing.assert_allclose(
            session.run({"x": x})[session.outputs[0].name][:1],
            session.run({"x": x[:1]})[session.outputs[0].name],
            rtol=1e-5,
            atol=1e-5,
        )


@pytest.mark.parametrize("activation", ["Relu", "Sigmoid", "Tanh", "Gelu", "HardSwish", "Elu", "Softplus"])
@pytest.mark.parametrize("channels", [6, 18, 48, 54])
def test_blocks_stay_between_convolutions(activation: str, channels: int) -> None:
    net = Net()
    y = normalized(net, net.conv("x", channels, 3), 6, channels, 2)
    y = net.call(activation, y)
    model = whole(net, net.conv(y, channels, channels), 3, 2, 20)
    steps = check(model, noise(2, 3, 11, 13), 2e-4)
    assert steps[:2] == ["convolution", "group_normalization"]
    assert steps == [
        "convolution",
        "group_normalization",
        *["unary"] * (activation == "Softplus"),
        "convolution",
    ]
    plan = [row["op"] for row in rdq.Session(model).plan({"x": noise(1, 3, 11, 13)})]
    assert "reorder" not in plan[: -1 - plan[::-1].index("convolution")]


def test_lines_between_convolutions() -> None:
    net = Net()
    first = net.call("Conv", "x", net.noise(24, 2, 5), pads=[2, 2])
    y = net.call("Gelu", normalized(net, first, 1, 24, 1))
    model = whole(net, net.call("Conv", y, net.noise(8, 24, 1)), 2, 1, 20)
    steps = check(model, noise(2, 2, 50), 1e-4)
    assert steps[: steps.index("convolution", 1) + 1] == ["convolution", "group_normalization", "convolution"]


def test_the_operator_takes_scale_and_activation() -> None:
    net = Net()
    y = net.call("GroupNormalization", "x", net.noise(12), net.noise(12), num_groups=3)
    y = net.call("Relu", net.call("Mul", y, net.noise(1, 12, 1, 1)))
    assert check(whole(net, y, 12, 2, 21), noise(2, 12, 5, 6)) == ONE_STEP


def test_scales_of_groups_are_spread_over_channels() -> None:
    net = Net()
    y = net.call("Reshape", "x", net.integers(0, 4, -1))
    y = net.call("InstanceNormalization", y, net.noise(4), net.noise(4))
    y = net.call("Reshape", y, net.integers(0, 12, 5, 6))
    assert check(whole(net, y, 12, 2), noise(2, 12, 5, 6)) == ONE_STEP


def test_what_is_no_group_norm_of_channels_stays() -> None:
    """Groups that cut channels in two, groups over images, and a scale that data decide."""
    net = Net()
    y = reshaped(net, "x", 8, 2)
    assert "reshape" in ops(whole(net, y, 4, 2), noise(2, 4, 6, 6))
    net = Net()
    y = net.call("Reshape", "x", net.integers(1, 8, -1))
    y = net.call("InstanceNormalization", y, net.tensor([1] * 8), net.tensor([0] * 8))
    assert "reshape" in ops(
        whole(net, net.call("Reshape", y, net.call("Shape", "x")), 4, 2), noise(2, 4, 6, 6)
    )
    net = Net()
    scale = net.call("ReduceMax", "x", axes=[0, 2, 3], keepdims=1)
    y = net.call("Mul", reshaped(net, "x", 2, 2), scale)
    steps = check(whole(net, net.call("Relu", y), 4, 2), noise(2, 4, 6, 6))
    assert sorted(set(steps) - {"prepare"}) == ["binary", "group_normalization", "reduce"]


def ops(model: onnx.ModelProto, x: Array) -> list[str]:
    check(model, x)
    return [row["op"] for row in rdq.Session(model).plan({"x": x})]


@pytest.mark.parametrize("place", ["norm", "reshaped", "scaled", "added"])
def test_inner_values_that_others_read(place: str) -> None:
    net = Net()
    made = net.conv("x", 20, 3)
    grouped = net.call("Reshape", made, net.integers(0, 5, -1))
    inner = {"norm": net.call("InstanceNormalization", grouped, net.tensor([1] * 5), net.tensor([0] * 5))}
    inner["reshaped"] = net.call("Reshape", inner["norm"], net.call("Shape", made))
    inner["scaled"] = net.call("Mul", inner["reshaped"], net.noise(20, 1, 1))
    inner["added"] = net.call("Add", inner["scaled"], net.noise(20, 1, 1))
    last = net.conv(net.call("Relu", inner["added"]), 20, 20)
    other = net.call("Sqrt", net.call("Abs", inner[place]))
    net.nodes.append(onnx.helper.make_node("Reshape", [other, net.integers(0, -1, 1, 1)], ["other"]))
    check(whole(net, [last, "other"], 3, 2), noise(2, 3, 6, 7), 2e-4)


def test_input_read_afterwards_is_not_overwritten() -> None:
    net = Net()
    made = net.conv("x", 32, 3)
    y = net.call("Add", net.call("Relu", normalized(net, made, 8, 32, 2)), made)
    check(whole(net, y, 3, 2), noise(1, 3, 6, 7), 1e-4)


@pytest.mark.parametrize("batch", [1, 3])
def test_residuals(batch: int) -> None:
    """As in networks whose norms stand before the sum: with and without a norm of the other side."""
    net = Net()
    first = net.conv("x", 20, 3)
    y = net.call("Relu", net.call("Add", normalized(net, net.conv(first, 20, 20), 5, 20, 2), first))
    other = normalized(net, net.conv(y, 20, 20, size=1), 4, 20, 2)
    z = net.call("Relu", net.call("Add", normalized(net, net.conv(y, 20, 20), 5, 20, 2), other))
    z = net.call(
        "Add", net.call("Relu", normalized(net, z, 1, 20, 2)), z
    )  # the sum behind an activation stays
    steps = check(whole(net, net.conv(z, 4, 20), 3, 2), noise(batch, 3, 9, 8), 2e-4)
    assert steps.count("binary") == 1
    assert steps.count("group_normalization") == 4


def test_pads_between_convolutions_stay_in_blocks() -> None:
    """As in BiT's stem: zeros around an image, then maxima, which the zeros may be."""
    net = Net()
    zeros = net.call("Pad", net.conv("x", 32, 3), net.integers(0, 0, 1, 1, 0, 0, 1, 1), net.tensor(0))
    pooled = net.call("MaxPool", zeros, kernel_shape=[3, 3], strides=[2, 2])
    y = normalized(net, pooled, 4, 32, 2)
    model = whole(net, net.conv(y, 8, 32), 3, 2)
    steps = check(model, noise(2, 3, 10, 12), 2e-4)
    plan = rdq.Session(model).plan({"x": noise(1, 3, 10, 12)})
    assert "reorder" not in [row["op"] for row in plan[:-1]]
    assert steps == ["convolution", "pad", "pool", "group_normalization", "convolution"]


@pytest.mark.parametrize("channels", [20, 32])
def test_pads_with_numbers(channels: int) -> None:
    net = Net()
    padded = net.call(
        "Pad", net.conv("x", channels, 3), net.integers(0, 0, 2, 0, 0, 0, -1, 1), net.tensor(2.5)
    )
    check(
        whole(net, net.conv(normalized(net, padded, 1, channels, 2), 4, channels), 3, 2),
        noise(2, 3, 7, 6),
        2e-4,
    )


def test_large_means() -> None:
    """Deviations of numbers far from zero: to what float32 leaves of them."""
    net = Net()
    model = whole(net, normalized(net, "x", 2, 32, 2), 32, 2)
    x = (1000 + np.random.default_rng(0).standard_normal((1, 32, 40, 50))).astype(np.float32)
    x[:, :, :20] -= 999
    wide = x.astype(np.float64).reshape(1, 2, -1)
    wide = (wide - wide.mean(-1, keepdims=True)) / np.sqrt(wide.var(-1, keepdims=True) + 1e-5)
    factor, bias = (np.float64(net.tensors[f"t{i}"]) for i in (3, 4))
    want = wide.reshape(x.shape) * factor + bias
    found = next(iter(rdq.Session(model).run({"x": x}).values()))
    np.testing.assert_allclose(found, want, atol=2e-6)


def test_images_that_become_rows() -> None:
    """As attention to pixels in diffusers: the norm is of lines of pixels, turned to rows for products."""
    net = Net()
    made = net.conv("x", 32, 3)
    lines = normalized(net, net.call("Reshape", made, net.integers(0, 0, -1)), 4, 32, 1)
    rows = net.call("MatMul", net.call("Transpose", lines, perm=[0, 2, 1]), net.noise(32, 32))
    back = net.call("Reshape", net.call("Transpose", rows, perm=[0, 2, 1]), net.call("Shape", made))
    model = whole(net, net.conv(net.call("Add", back, made), 4, 32), 3, 2)
    check(model, noise(2, 3, 6, 7), 2e-4)
    rows_of_plan = [
        row for row in rdq.Session(model).plan({"x": noise(2, 3, 6, 7)}) if row["kernel"] != "alias"
    ]
    assert [row["op"] for row in rows_of_plan][:4] == [
        "convolution",
        "group_normalization",
        "transpose",
        "matmul",
    ]
    assert str(rows_of_plan[1]["layout"]).startswith("blocked")


def test_float16() -> None:
    net = Net()
    y = normalized(net, net.conv("x", 20, 3), 4, 20, 2)
    model = whole(net, net.conv(net.call("Mul", y, net.call("Sigmoid", y)), 4, 20), 3, 2)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), tensor.name))
    for port in (*model.graph.input, *model.graph.output):
        port.type.tensor_type.elem_type = TensorProto.FLOAT16
    steps = check(model, noise(2, 3, 8, 8).astype(np.float16), 2e-2)
    assert [s for s in steps if s != "cast"] == ["convolution", "group_normalization", "convolution"]


def test_quantized_networks_keep_their_norms() -> None:
    net = Net()
    y = net.conv("x", 32, 3)
    for _ in range(2):
        z = normalized(net, y, 8, 32, 2)
        y = net.conv(net.call("Mul", z, net.call("Sigmoid", z)), 32, 32)
    flat = net.call("Flatten", net.call("GlobalAveragePool", y))
    model = whole(net, net.call("MatMul", flat, net.noise(32, 10)), 3, 2)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 10
    del model.graph.output[0].type.tensor_type.shape.dim[2:]
    x = noise(16, 3, 10, 10)
    quantized = quantize_static(model, x, max_noise=1)
    rows = rdq.Session(quantized).plan({"x": x})
    layouts = {row["op"]: str(row["layout"]).rstrip("0123456789") for row in rows}
    assert [row["op"] for row in rows].count("group_normalization") == 2
    assert layouts["dequantize"] == layouts["group_normalization"] == "blocked"
    want = rdq.Session(quantized, backend="reference").run({"x": x})
    for name, found in rdq.Session(quantized).run({"x": x}).items():
        scale = np.abs(want[name]).max()
        # a level, where a float rounds otherwise
        np.testing.assert_allclose(found, want[name], atol=0.02 * scale)
        assert np.mean(np.abs(found - want[name])) < 1e-3 * scale
