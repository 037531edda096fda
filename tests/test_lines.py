"""Networks of one spatial axis, which the engine runs as images of one row."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import models
import rdquant as rdq
from networks import Net
from rdquant.ptq import quantize_dynamic, quantize_static

Array = NDArray[np.float32]
LENGTH = 61


class Line(Net):
    """What a test puts together; sizes are those that ONNX Runtime finds."""

    def conv1(self, x: str, out: int, into: int, size: int, **attributes: Any) -> str:
        group = attributes.get("group", 1)
        weights = self.noise(out, into // group, size)
        return self.call("Conv", x, weights, self.noise(out), kernel_shape=[size], **attributes)

    def norm1(self, x: str, channels: int) -> str:
        scale, bias, mean = (self.noise(channels) for _ in range(3))
        return self.call("BatchNormalization", x, scale, bias, mean, self.noise(channels, low=0.5, high=1.5))

    def whole(self, y: str, axes: int = 3, channels: int = 2) -> onnx.ModelProto:
        free = [f"free{i}" for i in range(axes)]
        return models.build(self.nodes, self.tensors, {"x": ["N", channels, LENGTH]}, {y: free})


def sound(channels: int = 2, batch: int = 2) -> Array:
    return np.random.default_rng(0).standard_normal((batch, channels, LENGTH)).astype(np.float32)


def check(model: Any, x: Array, backends: tuple[str, ...] = ("reference", "native")) -> None:
    pytest.importorskip("onnxruntime")
    expected = rdq.Session(model, backend="onnxruntime").run({"x": x})
    for backend in backends:
        for name, y in rdq.Session(model, backend=backend).run({"x": x}).items():
            assert y.shape == expected[name].shape
            np.testing.assert_allclose(
                y, expected[name], atol=2e-5 * max(1, np.abs(y).max()), err_msg=backend
            )


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(1, 11),
    stride=st.integers(1, 9),
    dilation=st.integers(1, 2),
    before=st.integers(0, 4),
    after=st.integers(0, 4),
    channels=st.sampled_from([1, 2, 3, 6]),
    group=st.booleans(),
)
@example(size=3, stride=3, dilation=2, before=0, after=0, channels=1, group=False)
def test_convolutions(
    size: int, stride: int, dilation: int, before: int, after: int, channels: int, group: bool
) -> None:
    net = Line()
    y = net.conv1(
        "x",
        6,
        channels,
        size,
        strides=[stride],
        dilations=[dilation],
        pads=[before, after],
        group=channels if group else 1,
    )
    check(net.whole(y, channels=channels), sound(channels))


@pytest.mark.parametrize(("size", "stride"), [(256, 128), (200, 128), (300, 257), (5, 65)])
def test_convolutions_of_long_strides(size: int, stride: int) -> None:
    net = Line()
    y = net.conv1("x", 6, 1, size, strides=[stride], pads=[size, size + 7])
    check(net.whole(y, channels=1), sound(1))


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(1, 11),
    stride=st.integers(1, 9),
    before=st.integers(0, 3),
    after=st.integers(0, 3),
    extra=st.integers(0, 8),
    filters=st.sampled_from([1, 3, 8]),
    bias=st.booleans(),
)
def test_transposed_convolutions(
    size: int, stride: int, before: int, after: int, extra: int, filters: int, bias: bool
) -> None:
    net = Line()
    y = net.call(
        "ConvTranspose",
        net.call("Relu", "x"),
        net.noise(2, filters, size),
        *([net.noise(filters)] if bias else []),
        kernel_shape=[size],
        strides=[stride],
        pads=[min(before, size - 1), min(after, size - 1)],
        output_padding=[min(extra, stride - 1)],
    )
    check(net.whole(net.call("Sigmoid", y)), sound())


def trunk(net: Line) -> str:
    """Layers and what may stand between them: sums, concatenations, pools, pads, slices, functions, norms."""
    stem = net.call("Relu", net.norm1(net.conv1("x", 8, 2, 5, strides=[2], pads=[2, 2]), 8))
    left = net.call("Sigmoid", net.conv1(stem, 8, 8, 3, pads=[1, 1], group=8))
    total = net.call("Add", net.call("Mul", left, stem), net.noise(8, 1))
    pooled = net.call("MaxPool", total, kernel_shape=[3], strides=[2], pads=[1, 1])
    mean = net.call("AveragePool", total, kernel_shape=[2], strides=[2], pads=[0, 1], count_include_pad=1)
    joined = net.call("Concat", pooled, mean, axis=1)
    framed = net.call("Pad", joined, net.integers(0, 0, 1, 0, 0, 2))
    cut = net.call("Slice", framed, net.integers(1), net.integers(14), net.integers(2))
    normed = net.call("InstanceNormalization", cut, net.noise(16), net.noise(16))
    return net.conv1(net.call("Add", normed, net.noise(13)), 12, 16, 2)


@pytest.mark.parametrize("end", ["line", "mean", "flat", "both", "up"])
def test_whole_networks(end: str) -> None:
    net = Line()
    y = trunk(net)
    if end == "mean":
        y = net.call("Gemm", net.call("ReduceMean", y, axes=[2], keepdims=0), net.noise(12, 5))
    if end == "flat":
        y = net.call("Flatten", net.call("GlobalAveragePool", y))
    if end == "up":
        y = net.call("ConvTranspose", y, net.noise(12, 4, 4), strides=[3], pads=[1, 0])
    if end == "both":  # the same value as a line, and as an image
        y = net.call("MatMul", net.call("Transpose", y, perm=[0, 2, 1]), net.call("Tanh", y))
    check(net.whole(y, 2 if end in ("mean", "flat") else 3), sound())


@pytest.mark.parametrize("stride", [2, 3])
def test_levels_too(stride: int) -> None:
    """Static quantization of a line: kernels of levels, the answers of ONNX Runtime to a level."""
    net = Line()
    stem = net.call("Relu", net.conv1("x", 16, 2, 5, strides=[stride], pads=[2, 2]))
    y = net.conv1(net.call("Relu", net.conv1(stem, 16, 16, 3, pads=[1, 1])), 4, 16, 3)
    x = sound(batch=16)
    quantized = quantize_static(net.whole(y), x, max_noise=1)
    rows = rdq.Session(quantized, backend="native").plan({"x": x[:2]})
    assert sum(row["op"] == "int8_convolution" for row in rows) == 3
    expected = rdq.Session(quantized, backend="onnxruntime").run({"x": x})
    for backend in ("reference", "native"):
        for name, found in rdq.Session(quantized, backend=backend).run({"x": x}).items():
            step = np.abs(expected[name]).max() / 100
            assert np.abs(found - expected[name]).max() <= step
            assert np.mean(np.abs(found - expected[name]) > step / 10) < 0.01


def test_dynamic_levels_too() -> None:
    net = Line()
    stem = net.call("Relu", net.conv1("x", 16, 2, 5, strides=[2], pads=[2, 2]))
    y = net.conv1(net.call("Relu", net.conv1(stem, 16, 16, 3, pads=[1, 1])), 4, 16, 3)
    x = sound(batch=1)
    quantized = quantize_dynamic(net.whole(y), max_noise=1)
    session = rdq.Session(quantized, backend="native")
    assert sum(row["op"] == "int8_convolution" for row in session.plan({"x": x})) == 3
    expected = rdq.Session(quantized, backend="reference").run({"x": x})
    for name, found in session.run({"x": x}).items():
        np.testing.assert_allclose(found, expected[name], atol=1e-6)


def test_weights_can_be_replaced() -> None:
    net = Line()
    model = rdq.load(net.whole(net.conv1("x", 6, 1, 10, strides=[5]), channels=1))
    session = rdq.Session(model, backend="native")
    x = sound(1)
    before = session.run({"x": x})
    weights = {name: 2 * w for name, w in model.weights().items()}
    session.set_weights(weights)
    for name, y in session.run({"x": x}).items():
        np.testing.assert_allclose(y, 2 * before[name], rtol=1e-5, atol=1e-5)


def test_rows_beside_lines_stay_matrices() -> None:
    """Levels of a product's rows, in a network that also has convolutions along lines: as of ConvBERT and Whisper."""
    net = Line()
    rows = net.call("Transpose", net.call("Relu", net.conv1("x", 12, 2, 3)), perm=[0, 2, 1])
    y = net.call("Tanh", net.call("MatMul", rows, net.noise(12, 20)))
    y = net.call("MatMul", net.call("Add", y, net.noise(20)), net.noise(20, 8))
    quantized = quantize_dynamic(net.whole(y))
    session, x = rdq.Session(quantized, backend="native"), sound()
    kernels = [row["kernel"] for row in session.plan({"x": x}) if row["macs"]]
    assert len(kernels) == 3
    assert all(kernel.startswith("dense") for kernel in kernels)
    (found,), (expected,) = (
        s.run({"x": x}).values() for s in (session, rdq.Session(quantized, backend="reference"))
    )
    assert np.abs(found - expected).mean() < 0.01 * np.ptp(expected)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("place", ["half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("scale", [2.0, 0.6])
@pytest.mark.parametrize("between", [False, True])
def test_resizes(mode: str, place: str, scale: float, between: bool) -> None:
    net = Line()
    x = net.conv1("x", 5, 2, 3) if between else "x"
    y = net.call("Resize", x, "", net.tensor([1, 1, scale]), mode=mode, coordinate_transformation_mode=place)
    if between:
        y = net.conv1(y, 3, 5, 3)
    model = net.whole(y)
    expected = rdq.Session(model, backend="reference").run({"x": sound()})[y]
    found = rdq.Session(model, backend="native").run({"x": sound()})[y]
    np.testing.assert_allclose(found, expected, atol=2e-5 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize(("length", "scale", "made"), [(50, 1.3, 65), (32, 1.7, 54), (50, 0.7, 35)])
def test_sizes_and_nearest_places_are_those_of_float_products(length: int, scale: float, made: int) -> None:
    """As PyTorch interpolates by a factor: 17 / 1.7f is 10 in float, and less than 10 in double."""
    net = Line()
    how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    y = net.call("Resize", "x", "", net.tensor([1, 1, scale]), mode="nearest", **how)
    model = models.build(net.nodes, net.tensors, {"x": [1, 1, length]}, {y: ["n", "c", "w"]})
    x = np.arange(length, dtype=np.float32).reshape(1, 1, length)
    places = np.floor(np.arange(made, dtype=np.float32) / np.float32(scale))
    for backend in ("native", "reference"):
        found = rdq.Session(model, backend=backend).run({"x": x})[y]
        np.testing.assert_array_equal(found, places.reshape(1, 1, made))
