"""Sums of convolutions and batch norms of one image are one convolution, in sessions and in quantized networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

import rdquant as rdq
from networks import Net
from rdquant.ptq.fold import folded

WHOLE = [1, 1, 1, 1]


def repvgg(net: Net, x: str, channels: int, groups: int, wide: int = 3) -> str:
    """3×3, 1×1 and the identity, each with its norm."""
    large = net.norm(net.conv(x, channels, channels, wide, group=groups), channels)
    small = net.norm(net.conv(x, channels, channels, 1, bias=False, group=groups), channels)
    return net.call("Relu", net.call("Add", net.call("Add", net.norm(x, channels), small), large))


def typed(net: Net, out: str, batch: int | str, channels: int) -> onnx.ModelProto:
    return onnx.shape_inference.infer_shapes(net.model(out, [batch, channels, 9, 8]))


def layers(model: Any) -> list[str]:
    plan = rdq.Session(model, backend="native").plan()
    return [row["op"] for row in plan if row["op"] not in ("reorder", "quantize", "dequantize")]


def check(model: Any, channels: int, count: list[str], nodes: list[str]) -> None:
    """Both ways give ONNX Runtime's answers."""
    x = np.random.default_rng(2).normal(size=(2, channels, 9, 8)).astype(np.float32)
    (want,) = rdq.Session(model, backend="onnxruntime").run({"x": x}).values()
    whole = folded(rdq.load(model))
    for candidate in (model, whole):
        (found,) = rdq.Session(candidate, backend="native").run({"x": x}).values()
        np.testing.assert_allclose(found, want, rtol=1e-4, atol=2e-4)
    assert layers(model) == count
    assert [node.op_type for node in whole.skeleton.graph.node] == nodes


@pytest.mark.parametrize(("channels", "groups"), [(24, 1), (24, 24), (32, 4)])
@pytest.mark.parametrize("wide", [1, 3, 5])
def test_three_branches_are_one_layer(channels: int, groups: int, wide: int) -> None:
    net = Net(1)
    out = net.conv(repvgg(net, net.conv("x", channels, 4), channels, groups, wide), 5, channels)
    check(typed(net, out, "n", 4), 4, ["convolution"] * 3, ["Conv", "Conv", "Relu", "Conv"])


def test_many_branches_of_strides() -> None:
    """As MobileOne has them: several of one size, and no identity."""
    net = Net(2)
    options = {"strides": [2, 2]}
    y = net.norm(net.conv("x", 16, 4, 1, bias=False, **options), 16)
    for _ in range(4):
        y = net.call("Add", y, net.norm(net.conv("x", 16, 4, 3, bias=False, **options), 16))
    check(typed(net, net.call("Relu", y), 2, 4), 4, ["convolution"], ["Conv", "Relu"])


APART = [
    ((3, 3), WHOLE, {"kernel": (3, 3), "pads": [2] * 4, "dilations": [2, 2]}),
    ((3, 3), WHOLE, {"kernel": (5, 5), "pads": [4] * 4, "dilations": [2, 2]}),
    ((1, 3), [0, 1, 0, 1], {"kernel": (3, 1), "pads": [1, 0, 1, 0]}),
    ((2, 2), [0, 0, 1, 1], {"kernel": (2, 2), "pads": [1, 1, 0, 0]}),  # overlapping, neither within the other
]


@pytest.mark.parametrize(("kernel", "pads", "other"), APART)
def test_taps_of_another_grid_stay_apart(
    kernel: tuple[int, int], pads: list[int], other: dict[str, Any]
) -> None:
    net = Net(3)
    more = {name: value for name, value in other.items() if name != "kernel"}
    y = net.call("Conv", "x", net.noise(16, 4, *kernel), pads=pads)
    out = net.call("Add", y, net.call("Conv", "x", net.noise(16, 4, *other["kernel"]), **more))
    check(typed(net, out, 2, 4), 4, ["convolution"] * 2, ["Conv", "Conv", "Add"])


def test_what_others_read_stays() -> None:
    """A branch that is an output too, one behind an activation, and branches of two images."""
    net = Net(4)
    first, second = net.conv("x", 16, 4), net.conv("x", 16, 4, 1, pads=[0] * 4)
    total = net.call("Add", first, net.call("Relu", second))
    other = net.conv(net.call("Relu", "x"), 16, 4)
    again = net.call("Add", net.call("Add", first, net.conv("x", 16, 4)), other)
    model = typed(net, net.call("Add", total, again), 2, 4)
    whole = folded(rdq.load(model))
    assert [node.op_type for node in whole.skeleton.graph.node].count("Conv") == 4
    check(model, 4, layers(model), [node.op_type for node in whole.skeleton.graph.node])


def test_levels_of_weights_are_not_added_up() -> None:
    """Sums of levels on two grids are on none."""
    net = Net(6)
    out = net.call("Add", net.conv("x", 16, 8), net.conv("x", 16, 8, 1, pads=[0] * 4))
    x = np.random.default_rng(7).normal(size=(4, 8, 9, 8)).astype(np.float32)
    model = rdq.load(typed(net, out, "n", 8))
    apart = rdq.quantize_dynamic(model, keep=[])
    assert layers(apart).count("int8_convolution") == 1  # joined before they are quantized
    net.nodes[0].input[1] = net.call(
        "DequantizeLinear", net.tensor(np.ones((16, 8, 3, 3)), np.int8), net.noise(16, low=0.1), axis=0
    )
    net.nodes.insert(0, net.nodes.pop())
    mixed = typed(net, out, 4, 8)
    (want,) = rdq.Session(mixed, backend="onnxruntime").run({"x": x}).values()
    (found,) = rdq.Session(mixed, backend="native").run({"x": x}).values()
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4)
    assert layers(mixed).count("convolution") == 2


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_quantized_networks_have_one_layer_for_each_block(kind: str) -> None:
    net = Net(8)
    y = net.conv("x", 24, 4)
    for _ in range(3):
        y = repvgg(net, y, 24, 1)
    model = rdq.load(typed(net, net.conv(y, 8, 24), "n", 4))
    x = np.random.default_rng(9).normal(size=(8, 4, 9, 8)).astype(np.float32)
    made = rdq.quantize_static(model, x) if kind == "static" else rdq.quantize_dynamic(model)
    assert sum(not layer.kept for layer in made.report.layers) == 5
    (want,), (found,) = (rdq.Session(m).run({"x": x}).values() for m in (model, made))
    assert np.abs(found - want).mean() < 0.02 * np.ptp(want)


def test_numbers_between_layers_are_taken_into_weights() -> None:
    """As networks without norms scale what their blocks read and make."""
    net = Net(10)

    def times(x: str, number: float) -> str:
        return net.call("Mul", x, net.tensor(np.float32(number)))

    y = net.conv("x", 16, 4)
    scaled = times(net.call("Relu", y), 0.7)
    inner = times(net.conv(net.call("Relu", net.conv(scaled, 16, 16)), 16, 16), 0.2)
    shortcut = net.conv(net.call("AveragePool", scaled, kernel_shape=[1, 1]), 16, 16, 1, pads=[0] * 4)
    y = net.call("Add", net.call("Add", inner, net.tensor(np.float32(0.1))), shortcut)
    below = net.call(
        "Sub", times(net.call("Relu", y), -2), times(y, 3)
    )  # negative, and read by others than layers
    model = rdq.load(typed(net, net.conv(below, 8, 16), "n", 4))
    whole = folded(model)
    operators = [node.op_type for node in whole.skeleton.graph.node]
    assert operators.count("Mul") == 2
    assert operators.count("Add") == 1
    x = np.random.default_rng(11).normal(size=(8, 4, 9, 8)).astype(np.float32)
    (want,), (found,) = (rdq.Session(m, backend="onnxruntime").run({"x": x}).values() for m in (model, whole))
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4)
    made = rdq.quantize_static(model, x)
    assert made.report.damage.noise < 0.012


def test_numbers_of_activations_stay_with_them() -> None:
    """GELU, written out with its half at the end, is a table of levels."""
    net = Net(12)
    y = net.conv("x", 16, 4)
    bell = net.call(
        "Add", net.call("Erf", net.call("Div", y, net.tensor(np.float32(2**0.5)))), net.tensor(np.float32(1))
    )
    gelu = net.call("Mul", net.call("Mul", y, bell), net.tensor(np.float32(0.5)))
    silu = net.conv(gelu, 16, 16)
    silu = net.call("Mul", net.call("Mul", silu, net.call("Sigmoid", silu)), net.tensor(np.float32(1.3)))
    model = rdq.load(typed(net, net.conv(silu, 8, 16), "n", 4))
    whole = [node.op_type for node in folded(model).skeleton.graph.node]
    assert whole.count("Mul") == 3
    x = np.random.default_rng(13).normal(size=(4, 4, 9, 8)).astype(np.float32)
    assert set(layers(rdq.quantize_static(model, x))) <= {"int8_convolution", "lookup"}


@pytest.mark.parametrize("batch", ["n", 2])
def test_gates_need_not_be_expanded(batch: int | str) -> None:
    """As `expand_as` writes them: efficient channel attention runs in levels."""
    net = Net(14)
    y = net.conv("x", 16, 4)
    mean = net.call("Reshape", net.call("ReduceMean", y, axes=[2, 3], keepdims=0), net.integers(-1, 1, 16))
    gate = net.call("Sigmoid", net.call("Conv", mean, net.noise(1, 1, 3), pads=[1, 1]))
    wide = net.call("Expand", net.call("Reshape", gate, net.integers(-1, 16, 1, 1)), net.call("Shape", y))
    model = rdq.load(typed(net, net.conv(net.call("Mul", y, wide), 8, 16), batch, 4))
    assert "Expand" not in [node.op_type for node in folded(model).skeleton.graph.node]
    assert "expand" not in layers(model)
    x = np.random.default_rng(15).normal(size=(2, 4, 9, 8)).astype(np.float32)
    made = rdq.quantize_static(model, x)
    assert not {"expand", "binary"} & set(layers(made))
    (want,), (found,) = (
        rdq.Session(m, backend=b).run({"x": x}).values()
        for m, b in ((model, "onnxruntime"), (made, "native"))
    )
    assert np.abs(found - want).mean() < 0.02 * np.ptp(want)
    check(model, 4, layers(model), [node.op_type for node in folded(model).skeleton.graph.node])


def test_what_graphs_within_nodes_read_stays() -> None:
    """A branch, a scaled value and an expanded gate that an If reads, too."""
    net = Net(16)
    first, second = net.conv("x", 16, 4), net.conv("x", 16, 4, 1, pads=[0] * 4)
    scaled = net.call("Mul", net.call("Relu", net.call("Add", first, second)), net.tensor(np.float32(0.7)))
    deeper = net.conv(scaled, 16, 16)
    wide = net.call("Expand", net.noise(1, 16, 1, 1), net.call("Shape", deeper))
    gated = net.call("Mul", deeper, wide)

    def branch(name: str, read: str) -> onnx.GraphProto:
        y = onnx.helper.make_tensor_value_info(f"{name}.y", onnx.TensorProto.FLOAT, None)
        body = [onnx.helper.make_node("Identity", [read], [f"{name}.y"])]
        return onnx.helper.make_graph(body, name, [], [y])

    positive = net.call("Greater", net.call("ReduceMax", "x", keepdims=0), net.tensor(np.float32(0)))
    inner = net.call("If", positive, then_branch=branch("a", second), else_branch=branch("b", scaled))
    other = net.call("If", positive, then_branch=branch("c", wide), else_branch=branch("d", first))
    out = net.call("Add", net.call("Add", inner, other), gated)
    model = rdq.load(typed(net, out, 1, 4))
    x = np.random.default_rng(17).normal(size=(1, 4, 9, 8)).astype(np.float32)
    for sign in (1, -1):
        feed = {"x": (sign * np.abs(x)).astype(np.float32)}
        (want,), (found,) = (
            rdq.Session(m, backend="onnxruntime").run(feed).values() for m in (model, folded(model))
        )
        np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4)
