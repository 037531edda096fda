"""Convolutions over three axes, and those in groups that fill no block of the engine's channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models
import rdquant as rdq
from networks import Net
from rdquant.ptq import quantize_dynamic, quantize_static

SIZE = (5, 9, 10)


def answers_agree(
    net: Net, y: str, shape: tuple[int, ...], axes: int | None = None, threads: int | None = None
) -> None:
    free = [f"free{i}" for i in range(axes or len(shape))]
    model = models.build(net.nodes, net.tensors, {"x": shape}, {y: free})
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    expected = rdq.Session(model, backend="reference").run({"x": x})[y]
    found = rdq.Session(model, backend="native", threads=threads).run({"x": x})[y]
    np.testing.assert_allclose(found, expected, atol=2e-5 * max(1, np.abs(expected).max()))


def volume(net: Net, x: str, out: int, into: int, kernel: tuple[int, int, int] = (3, 3, 3), **a: Any) -> str:
    weights = net.noise(out, into // a.get("group", 1), *kernel)
    a.setdefault("pads", [size // 2 for size in kernel] * 2)
    return net.call("Conv", x, weights, net.noise(out), kernel_shape=list(kernel), **a)


@settings(max_examples=60, deadline=None)
@given(
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
    strides=st.lists(st.integers(1, 2), min_size=3, max_size=3),
    depth=st.integers(1, 2),
    pads=st.lists(st.integers(0, 2), min_size=6, max_size=6),
    into=st.sampled_from([1, 3, 16, 20, 32]),
    groups=st.sampled_from([1, 2, 0]),
)
def test_convolutions(
    kernel: tuple[int, int, int], strides: list[int], depth: int, pads: list[int], into: int, groups: int
) -> None:
    net = Net()
    group = groups or into
    group = group if into % group == 0 else 1
    y = volume(
        net, "x", 2 * into, into, kernel, group=group, strides=strides, pads=pads, dilations=[depth, 1, 1]
    )
    answers_agree(net, net.call("Relu", y), (2, into, *SIZE))


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("channels", "group"), [(16, 1), (18, 1), (16, 16)])
def test_residuals_that_die_there(channels: int, group: int, last: bool) -> None:
    """The result may be placed where the residual lies, which is to be read before."""
    net = Net()
    x = net.call("Relu", volume(net, "x", channels, 3))
    for _ in range(2):
        y = volume(net, net.call("Relu", volume(net, x, channels, channels)), channels, channels, group=group)
        x = net.call("Add", net.call("Relu", y), x) if last else net.call("Relu", net.call("Add", y, x))
    answers_agree(net, x, (1, 3, *SIZE))


@pytest.mark.parametrize("size", [(5, 19, 21), (4, 3, 5)])
@pytest.mark.parametrize(("taps", "stride", "dilation"), [(1, 1, 1), (3, 1, 1), (3, 1, 2), (5, 2, 1)])
@pytest.mark.parametrize("channels", [48, 50])
def test_kernels_along_the_depth(
    channels: int, taps: int, stride: int, dilation: int, size: tuple[int, int, int]
) -> None:
    """Some columns at a time, the last of which are fewer; two images, and a result that a residual is added to."""
    net = Net()
    pads = [taps // 2 * dilation, 0, 0] * 2
    kernel = (taps, 1, 1)
    x = net.call("Relu", volume(net, "x", channels, channels, kernel, pads=pads, dilations=[dilation, 1, 1]))
    y = volume(net, x, channels, channels, kernel, pads=pads, dilations=[dilation, 1, 1])
    y = net.call("PRelu", net.call("Add", y, x), net.noise(channels, 1, 1, 1))
    y = volume(net, y, 24, channels, kernel, pads=pads, strides=[stride, 1, 1], dilations=[dilation, 1, 1])
    model = models.build(net.nodes, net.tensors, {"x": (2, channels, *size)}, {y: ["n", "c", "d", "h", "w"]})
    plan = rdq.Session(model, backend="native").plan({"x": np.zeros((2, channels, *size), dtype=np.float32)})
    assert {row["kernel"].rsplit(" ", 1)[0] for row in plan if row["op"] == "convolution"} == {
        "dense columns"
    }
    answers_agree(net, y, (2, channels, *size))


@pytest.mark.parametrize("kernel", [(1, 3, 3), (3, 3, 3), (2, 2, 3)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [32, 34])
def test_planes_too_large_for_the_cache(channels: int, stride: int, kernel: tuple[int, int, int]) -> None:
    """Some planes at a time, with a result that a residual is added to."""
    net = Net()
    pads = [size // 2 for size in kernel] + [(size - 1) // 2 for size in kernel]
    x = net.call("Relu", volume(net, "x", channels, 2))
    y = volume(net, x, channels, channels, kernel, pads=pads)
    y = net.call("Relu", net.call("Add", y, x))
    y = volume(net, y, channels, channels, kernel, strides=[stride, 1, 1], pads=pads)
    answers_agree(net, y, (2, 2, 4, 40, 41), threads=1)


@pytest.mark.parametrize(
    ("groups", "into", "out"), [(55, 8, 8), (13, 8, 8), (3, 24, 24), (5, 4, 12), (7, 6, 10), (3, 40, 8)]
)
@pytest.mark.parametrize("stride", [1, 2])
def test_groups_that_fill_no_block(groups: int, into: int, out: int, stride: int) -> None:
    net = Net()
    y = net.conv("x", groups * out, groups * into, group=groups, strides=[stride, stride])
    answers_agree(net, net.call("Relu", y), (2, groups * into, 9, 11))


@pytest.mark.parametrize(("groups", "into", "out"), [(13, 8, 8), (3, 24, 24), (5, 4, 12), (3, 40, 8)])
@pytest.mark.parametrize("gate", ["Mul", "Add"])
def test_levels_of_groups_and_gates(groups: int, into: int, out: int, gate: str) -> None:
    """Squeeze and excitation of grouped channels: the same levels on both engines, none by the definition."""
    net = Net()
    channels = groups * out
    x = net.call("Relu", net.conv("x", groups * into, 3))
    y = net.call("Relu", net.conv(x, channels, groups * into, group=groups))
    mean = net.call("GlobalAveragePool", y)
    gated = net.call(gate, net.call("Sigmoid", net.conv(mean, channels, channels, 1)), y)
    y = net.conv(gated, 4, channels, 1)
    model = models.build(net.nodes, net.tensors, {"x": ["N", 3, 9, 7]}, {y: ["N", 4, "h", "w"]})
    images = np.random.default_rng(0).standard_normal((12, 3, 9, 7)).astype(np.float32)
    quantized = quantize_static(model, images, max_noise=1)
    session = rdq.Session(quantized, backend="native")
    rows = [row for row in session.plan({"x": images[:3]}) if row["op"].startswith("int8")]
    assert {row["op"] for row in rows} >= {"int8_convolution", "int8_binary"}
    assert {row["supplier"] for row in rows} == {"native"}
    expected = rdq.Session(quantized, backend="reference").run({"x": images[:3]})[y]
    np.testing.assert_array_equal(session.run({"x": images[:3]})[y], expected)


def clips() -> tuple[onnx.ModelProto, Any]:
    """A network of dense, grouped and depthwise convolutions over three axes, with sums, maxima and parts, and videos."""
    net = Net(5)
    x = net.call("Relu", volume(net, "x", 24, 3, (3, 5, 5), strides=[1, 2, 2]))
    y = net.call("MaxPool", x, kernel_shape=[3, 3, 3], strides=[2, 2, 2], pads=[1] * 6)
    a = net.call("Relu", volume(net, y, 24, 24, (1, 3, 3)))
    a = volume(net, a, 24, 24, (3, 1, 1))
    y = net.call("Relu", net.call("Add", a, y))
    b = net.call("Relu", volume(net, y, 24, 24, group=24))
    c = net.call("Relu", volume(net, y, 24, 24, group=3, dilations=[1, 2, 2], pads=[1, 2, 2] * 2))
    y = net.call("Relu", volume(net, net.call("Concat", b, c, axis=1), 32, 48, (1, 1, 1)))
    mean = net.call("Flatten", net.call("GlobalAveragePool", y))
    scores = net.call("Gemm", mean, net.noise(32, 10))
    model = models.build(net.nodes, net.tensors, {"x": ["N", 3, 6, 20, 22]}, {scores: ["N", 10]})
    return model, np.random.default_rng(0).standard_normal((12, 3, 6, 20, 22)).astype(np.float32)


def test_static_quantization() -> None:
    """Levels throughout, the same on both engines, near those of ONNX Runtime and near the numbers."""
    model, videos = clips()
    quantized = quantize_static(model, videos, max_noise=1, max_kl=10)
    assert not any(layer.kept for layer in quantized.report.layers)
    session = rdq.Session(quantized, backend="native")
    rows = session.plan({"x": videos[:2]})
    assert [row["op"] for row in rows].count("int8_convolution") == 7
    assert not any(row["op"] in ("convolution", "dequantize", "binary", "unary") for row in rows)
    assert {row["supplier"] for row in rows} == {"native"}
    ((name, expected),) = rdq.Session(quantized, backend="reference").run({"x": videos[:2]}).items()
    found = session.run({"x": videos[:2]})[name]
    np.testing.assert_array_equal(found, expected)
    wanted = rdq.Session(model).run({"x": videos[:2]})[name]
    assert np.abs(found - wanted).mean() <= 0.03 * np.ptp(wanted)
    pytest.importorskip("onnxruntime")
    theirs = rdq.Session(quantized, backend="onnxruntime").run({"x": videos[:2]})[name]
    assert np.abs(found - theirs).mean() <= 0.02 * np.ptp(theirs)


def squeeze(net: Net, x: str) -> str:
    return net.call("Sigmoid", volume(net, net.call("GlobalAveragePool", x), 16, 16, (1, 1, 1)))


HALF = {"kernel_shape": [3, 3, 3], "strides": [2, 2, 2], "pads": [1] * 6}
NEAREST = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
BETWEEN: dict[str, Callable[[Net, str], str]] = {
    "mean": lambda net, x: net.call("AveragePool", x, kernel_shape=[2, 2, 2], strides=[2, 2, 2]),
    "mean beside the padding": lambda net, x: net.call("AveragePool", x, **HALF),
    "mean with the padding": lambda net, x: net.call("AveragePool", x, count_include_pad=1, **HALF),
    "mean past the end": lambda net, x: net.call(
        "AveragePool", x, kernel_shape=[4, 5, 5], strides=[4, 5, 5], ceil_mode=1
    ),
    "maxima far apart": lambda net, x: net.call("MaxPool", x, kernel_shape=[3, 3, 3], dilations=[1, 2, 2]),
    "maxima past the end": lambda net, x: net.call(
        "MaxPool", x, kernel_shape=[2, 2, 2], strides=[2, 3, 3], ceil_mode=1
    ),
    "nearest": lambda net, x: net.call("Resize", x, "", net.tensor([1, 1, 2, 2, 2]), **NEAREST),
    "slice": lambda net, x: net.call(
        "Slice", x, *(net.tensor(np.array(n), np.int64) for n in ([1, 2], [5, 9], [2, 3]))
    ),
    "gate": lambda net, x: net.call("Mul", volume(net, x, 16, 16), squeeze(net, x)),
    "sum": lambda net, x: net.call("Add", x, squeeze(net, x)),
    "turned": lambda net, x: net.call("Transpose", x, perm=[0, 1, 2, 4, 3]),
}


@pytest.mark.parametrize("name", BETWEEN)
def test_what_lies_between_convolutions(name: str) -> None:
    """The same levels on both engines, nothing by the definition."""
    net = Net(3)
    y = BETWEEN[name](net, net.call("Relu", volume(net, "x", 16, 3)))
    y = volume(net, y, 8, 16, (1, 1, 1))
    model = models.build(net.nodes, net.tensors, {"x": ["N", 3, 6, 12, 14]}, {y: list("abcde")})
    videos = np.random.default_rng(0).standard_normal((4, 3, 6, 12, 14)).astype(np.float32)
    quantized = quantize_static(
        model, videos, max_noise=9, rounding="nearest", correct_bias=False, equalize=0
    )
    session = rdq.Session(quantized, backend="native")
    assert "reference" not in {row["supplier"] for row in session.plan({"x": videos[:2]})}
    found = session.run({"x": videos[:2]})[y]
    expected = rdq.Session(quantized, backend="reference").run({"x": videos[:2]})[y]
    np.testing.assert_array_equal(found, expected)
    wanted = rdq.Session(model).run({"x": videos[:2]})[y]
    assert np.abs(found - wanted).mean() <= 0.01 * np.ptp(wanted)


def test_dynamic_quantization() -> None:
    model, videos = clips()
    quantized = quantize_dynamic(model)
    assert not quantized.report.kept
    session = rdq.Session(quantized, backend="native")
    rows = session.plan({"x": videos[:1]})
    assert [row["op"] for row in rows].count("int8_convolution") == 7
    ((name, found),) = session.run({"x": videos[:1]}).items()
    expected = rdq.Session(quantized, backend="reference").run({"x": videos[:1]})[name]
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.ptp(expected))
    wanted = rdq.Session(model).run({"x": videos[:1]})[name]
    assert np.abs(found - wanted).mean() <= 0.03 * np.ptp(wanted)


def test_taps_of_levels_in_the_padding_alone() -> None:
    """A kernel over one plane is one over two axes, of levels too."""
    net = Net(4)
    y = volume(net, net.call("Relu", volume(net, "x", 20, 3)), 8, 20, (3, 3, 1))
    model = models.build(net.nodes, net.tensors, {"x": ["N", 3, 1, 9, 8]}, {y: list("abcde")})
    images = np.random.default_rng(0).standard_normal((8, 3, 1, 9, 8)).astype(np.float32)
    quantized = quantize_static(model, images, max_noise=1)
    session = rdq.Session(quantized, backend="native")
    macs = [row["macs"] for row in session.plan({"x": images[:1]}) if row["op"] == "int8_convolution"]
    assert macs == [20 * 3 * 9 * 72, 8 * 20 * 3 * 72]
    found, wanted = (next(iter(run.run({"x": images[:1]}).values())) for run in (session, rdq.Session(model)))
    assert np.abs(found - wanted).mean() <= 0.01 * np.ptp(wanted)


def test_levels_of_depthwise_layers_whose_numbers_are_not_stored() -> None:
    """The sums are found twice, for the range and for the levels, where numbers would not stay in the cache."""
    net = Net(2)
    y = net.call("Relu", volume(net, "x", 40, 3, (1, 1, 1)))
    y = net.call("Relu", volume(net, y, 40, 40, group=40, strides=[1, 2, 1]))
    y = volume(net, y, 8, 40, (1, 1, 1))
    model = models.build(net.nodes, net.tensors, {"x": [1, 3, 6, 64, 40]}, {y: list("abcde")})
    quantized = quantize_dynamic(model)
    x = np.random.default_rng(0).standard_normal((1, 3, 6, 64, 40)).astype(np.float32)
    session = rdq.Session(quantized, backend="native", threads=2)
    kernels = [row["kernel"] for row in session.plan({"x": x}) if row["op"] == "int8_convolution"]
    assert [", range and quantize" in kernel for kernel in kernels] == [True, True, False]
    expected = rdq.Session(quantized, backend="reference").run({"x": x})[y]
    np.testing.assert_allclose(session.run({"x": x})[y], expected, atol=1e-5 * np.ptp(expected))


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("place", ["half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("scales", [(2, 2, 2), (0.6, 1.5, 0.7), (2, 1, 1)])
def test_resizes(mode: str, place: str, scales: tuple[float, float, float]) -> None:
    net = Net()
    sizes = net.tensor([1, 1, *scales])
    y = net.call("Resize", "x", "", sizes, mode=mode, coordinate_transformation_mode=place)
    answers_agree(net, y, (2, 3, *SIZE))
