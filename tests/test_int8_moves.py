"""Levels that move between layouts, and convolutions of levels with a slope for each channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import models
import rdquant as rdq
from int8_networks import layer, pair
from networks import Net
from rdquant._core import program, runtime
from rdquant.graph import native_graph
from test_int8_programs import noise, operations

Array = NDArray[Any]
IMAGE = (2, 3, 12, 10)
Body = Callable[[Net, str], str]


def network(body: Body) -> onnx.ModelProto:
    net = Net(4)
    out = body(net, pair(net, "x", -2, 2))
    return models.build(net.nodes, net.tensors, {"x": IMAGE}, {out: list("abcd")})


def answers(proto: onnx.ModelProto) -> tuple[Array, list[str]]:
    """What both backends give, which is the same, and the steps; within rounding of the program before fusions."""
    graph, x = native_graph(rdq.load(proto)), noise(IMAGE)
    plain = runtime.run_once(graph, "reference", [x], fuse=False)[0]
    fused = runtime.run_once(graph, "reference", [x])[0]
    assert np.abs(fused - plain).max() <= 0.02 * np.ptp(plain)
    assert np.mean(np.abs(fused - plain)) <= 1e-3 * np.ptp(plain), "a level may be rounded the other way"
    for threads in (1, 2):
        (native,) = rdq.Session(rdq.load(proto), backend="native", threads=threads).run({"x": x}).values()
        np.testing.assert_array_equal(native, fused)
    return fused, operations(program.dump(graph, {"x": IMAGE}))


needs_native = pytest.mark.skipif("native" not in runtime.backends(), reason="no native backend")


def slopes(net: Net, channels: int) -> str:
    return net.noise(channels, 1, 1, low=-0.5, high=0.9)


@needs_native
@pytest.mark.parametrize("channels", [1, 7, 16, 20])
@pytest.mark.parametrize("shared", [False, True])
def test_slopes_stay_with_the_convolution(channels: int, shared: bool) -> None:
    def body(net: Net, x: str) -> str:
        slope = slopes(net, 1 if shared else channels)
        a = pair(net, net.call("PRelu", layer(net, x, channels, 3), slope), -2, 4)
        b = net.call("PRelu", layer(net, a, channels, channels), slopes(net, channels))
        c = net.call("PRelu", layer(net, a, channels, channels, group=channels), slopes(net, channels))
        return net.call("Sub", net.call("Add", b, a), c)

    _, steps = answers(network(body))
    assert steps.count("int8_convolution") == 3
    assert "convolution" not in steps


@needs_native
def test_slopes_come_before_a_sum_of_levels() -> None:
    def body(net: Net, x: str) -> str:
        a = pair(net, layer(net, x, 12, 3), -4, 4)
        b = pair(net, net.call("PRelu", layer(net, a, 12, 12), slopes(net, 12)), -3, 5)
        return pair(net, net.call("Add", b, a), -6, 8)

    _, steps = answers(network(body))
    assert steps == ["quantize", "int8_convolution", "int8_convolution", "dequantize"]


@needs_native
@pytest.mark.parametrize("channels", [4, 8, 10, 32])
def test_pixels_between_layers(channels: int) -> None:
    """As in networks whose layers normalize the channels of each pixel."""

    def body(net: Net, x: str) -> str:
        a = pair(net, layer(net, x, channels, 3), -4, 4)
        rows = net.call("Tanh", net.call("Transpose", a, perm=[0, 2, 3, 1]))
        rows = net.call("Mul", rows, net.noise(channels))  # for each channel: not a table of levels
        b = pair(net, net.call("Transpose", rows, perm=[0, 3, 1, 2]), -1, 1)
        return layer(net, b, 5, channels)

    _, steps = answers(network(body))
    assert steps.index("quantize", 1) < len(steps) - 1 - steps[::-1].index("transpose")


@needs_native
@pytest.mark.parametrize("perm", [[0, 1, 3, 2], [0, 3, 2, 1], [0, 2, 1, 3], [1, 0, 2, 3]])
def test_axes_in_other_orders(perm: list[int]) -> None:
    def body(net: Net, x: str) -> str:
        a = net.call("Transpose", pair(net, layer(net, x, 12, 3), -4, 4), perm=perm)
        back = net.call("Transpose", net.call("Exp", a), perm=[int(i) for i in np.argsort(perm)])
        return layer(net, pair(net, back, 0, 9), 4, 12)

    answers(network(body))


@needs_native
@pytest.mark.parametrize("mode", ["DCR", "CRD"])
@pytest.mark.parametrize("channels", [4, 12, 20, 64])
def test_pixels_of_channels_and_back(channels: int, mode: str) -> None:
    def body(net: Net, x: str) -> str:
        a = pair(net, layer(net, x, channels, 3), -4, 4)
        wide = net.call("DepthToSpace", a, blocksize=2, mode=mode)
        b = pair(net, layer(net, wide, 6, channels // 4), -3, 3)
        deep = net.call("SpaceToDepth", b, blocksize=2)
        c = net.call("SpaceToDepth", net.call("Sigmoid", layer(net, deep, 8, 24)), blocksize=2)
        return layer(net, pair(net, c, 0, 1), 3, 32)

    answers(network(body))


@needs_native
def test_numbers_that_others_read_are_moved_as_numbers() -> None:
    def body(net: Net, x: str) -> str:
        a = net.call("Abs", layer(net, x, 8, 3))
        moved = net.call("Transpose", a, perm=[0, 2, 1, 3])
        b = layer(net, net.call("Transpose", pair(net, moved, 0, 9), perm=[0, 2, 1, 3]), 8, 8)
        return net.call("Add", b, net.call("Transpose", moved, perm=[0, 2, 1, 3]))

    answers(network(body))


@needs_native
@pytest.mark.parametrize("times", [2, 3, 4, 8])
@pytest.mark.parametrize("channels", [3, 16, 20, 37])
def test_several_filters_of_each_channel(channels: int, times: int) -> None:
    def body(net: Net, x: str) -> str:
        a = pair(net, layer(net, x, channels, 3), -4, 4)
        b = layer(net, a, channels * times, channels, group=channels, strides=[2, 1])
        return pair(net, b, -5, 6)

    answers(network(body))


@needs_native
@pytest.mark.parametrize("op", ["Mul", "Add"])
@pytest.mark.parametrize("channels", [4, 6, 16, 32, 70, 2200])
def test_gates_of_channels_and_of_places(channels: int, op: str) -> None:
    def body(net: Net, x: str) -> str:
        a = pair(net, layer(net, x, channels, 3, size=1), -2, 4)
        of_channels = pair(net, net.call("Sigmoid", net.call("GlobalAveragePool", a)), 0, 1)
        of_places = pair(net, net.call("Sigmoid", layer(net, x, 1, 3)), 0, 1)
        b = pair(net, net.call(op, a, of_channels), -3, 5)
        return layer(net, pair(net, net.call(op, of_places, b), -3, 6), 3, channels, size=1)

    answers(network(body))


@needs_native
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    "attributes",
    [
        {"strides": [1, 1], "pads": [2, 2, 2, 2]},
        {"strides": [1, 4], "pads": [0, 3, 0, 1]},
        {"strides": [2, 2], "pads": [2, 5, 2, 0]},
        {"strides": [1, 3], "dilations": [1, 2], "pads": [0, 4, 4, 6]},
    ],
)
def test_rows_of_one_or_two_channels(channels: int, attributes: dict[str, Any]) -> None:
    net = Net(5)
    x = pair(net, "x", -2, 1)
    a = pair(net, layer(net, x, 37, channels, 5, **attributes), -6, 6)
    out = layer(net, a, 4, 37, size=1)
    shape = (2, channels, 11, 61)
    proto = models.build(net.nodes, net.tensors, {"x": shape}, {out: list("abcd")})
    graph, given = native_graph(rdq.load(proto)), noise(shape)
    fused = runtime.run_once(graph, "reference", [given])[0]
    for threads in (1, 2):
        session = rdq.Session(rdq.load(proto), backend="native", threads=threads)
        np.testing.assert_array_equal(session.run({"x": given})[out], fused)
    assert "taps" in {row["kernel"] for row in session.plan()}


@needs_native
@pytest.mark.parametrize("mode", ["reflect", "edge"])
def test_frames_of_levels_from_within(mode: str) -> None:
    def body(net: Net, x: str) -> str:
        a = net.call(
            "Pad", pair(net, layer(net, x, 6, 3), -4, 4), net.integers(0, 0, 1, 2, 0, 0, 3, 1), mode=mode
        )
        return layer(net, a, 5, 6)

    proto = network(body)
    answers(proto)
    session = rdq.Session(rdq.load(proto), backend="native")
    session.run({"x": noise(IMAGE)})
    assert "reference" not in {row["kernel"] for row in session.plan()}


@needs_native
@pytest.mark.parametrize("op", ["Add", "Mul"])
def test_sums_and_products_of_levels_that_lie_apart(op: str) -> None:
    def body(net: Net, x: str) -> str:
        a = pair(net, layer(net, x, 7, 3), -4, 4)
        parts = [
            net.call("Slice", a, net.integers(*s), net.integers(*e), net.integers(3))
            for s, e in (([4], [10]), ([0], [4]))
        ]
        rolled = net.call("Concat", *parts, axis=3)
        return layer(net, pair(net, net.call(op, rolled, a), -9, 9), 5, 7)

    proto = network(body)
    answers(proto)
    session = rdq.Session(rdq.load(proto), backend="native")
    session.run({"x": noise(IMAGE)})
    assert "reference" not in {row["kernel"] for row in session.plan()}


@needs_native
@pytest.mark.parametrize("op", ["Add", "Mul"])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("size", [(24,), (1, 5, 24), (1, 24), (2, 3, 5, 24)])
def test_levels_of_one_line_beside_many(op: str, first: bool, size: tuple[int, ...]) -> None:
    """A bias of levels, which is what ONNX Runtime's quantizer makes of products' biases."""
    net = Net(3)
    shape = (3, 5, 24) if len(size) < 4 else (2, 3, 5, 24)
    x = pair(net, "x", -2, 2)
    scale, zero = net.tensor(np.float32(0.01)), net.tensor(np.uint8(111), np.uint8)
    levels = net.tensor(net.random.integers(0, 256, size), np.uint8)
    held = net.call("DequantizeLinear", levels, scale, zero)
    out = pair(net, net.call(op, *((held, x) if first else (x, held))), -3, 3)
    proto = models.build(net.nodes, net.tensors, {"x": shape}, {out: shape})
    graph, given = native_graph(rdq.load(proto)), noise(shape)
    fused = runtime.run_once(graph, "reference", [given])[0]
    for threads in (1, 2):
        session = rdq.Session(rdq.load(proto), backend="native", threads=threads)
        np.testing.assert_array_equal(session.run({"x": given})[out], fused)
    steps = {row["op"]: row["supplier"] for row in session.plan({"x": given})}
    assert steps["int8_binary"] == "native"
