"""Convolutions over patches side by side, which the engine runs as products of matrices."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import models
import rdquant as rdq
from networks import Net


def embedding(
    patch: tuple[int, ...], size: tuple[int, ...], bias: bool, rows: bool = True
) -> tuple[str, Net]:
    """The first layer of a vision transformer: a row for each patch, normalized."""
    net = Net()
    weights = [net.noise(20, 3, *patch), *([net.noise(20)] if bias else [])]
    y = net.call("Conv", "x", *weights, kernel_shape=list(patch), strides=list(patch))
    if rows:
        flat = net.call("Reshape", y, net.integers(0, 20, -1))
        y = net.call(
            "LayerNormalization", net.call("Transpose", flat, perm=[0, 2, 1]), net.noise(20), net.noise(20)
        )
    return y, net


@pytest.mark.parametrize(
    ("patch", "size"),
    [
        ((4, 4), (16, 20)),
        ((8, 5), (24, 15)),
        ((4, 4), (18, 23)),
        ((2, 4, 3), (6, 8, 9)),
        ((1, 4, 4), (3, 8, 12)),
        ((2, 4, 4), (5, 9, 14)),
    ],
)
@pytest.mark.parametrize("bias", [False, True])
def test_the_same_as_onnxruntime(patch: tuple[int, ...], size: tuple[int, ...], bias: bool) -> None:
    pytest.importorskip("onnxruntime")
    y, net = embedding(patch, size, bias)
    model = models.build(net.nodes, net.tensors, {"x": ["N", 3, *size]}, {y: ["N", "rows", 20]})
    x = np.random.default_rng(1).standard_normal((2, 3, *size)).astype(np.float32)
    expected = rdq.Session(model, backend="onnxruntime").run({"x": x})[y]
    for backend in ("reference", "native"):
        session = rdq.Session(model, backend=backend)
        np.testing.assert_allclose(session.run({"x": x})[y], expected, atol=2e-5)
        assert [row["op"] for row in session.plan({"x": x}) if row["macs"]] == ["matmul"]


def test_images_stay_convolutions() -> None:
    """Where an image is wanted, blocks of channels are better."""
    y, net = embedding((4, 4), (16, 16), bias=True, rows=False)
    model = models.build(net.nodes, net.tensors, {"x": [1, 3, 16, 16]}, {y: [1, 20, 4, 4]})
    rows = rdq.Session(model, backend="native").plan()
    assert [row["op"] for row in rows if row["macs"]] == ["convolution"]


@settings(max_examples=40, deadline=None)
@given(
    strides=st.tuples(st.integers(3, 5), st.integers(3, 5)),
    more=st.tuples(st.integers(0, 7), st.integers(0, 7)),
    pads=st.lists(st.integers(0, 4), min_size=4, max_size=4),
    channels=st.integers(1, 4),
    size=st.tuples(st.integers(12, 23), st.integers(12, 23)),
)
def test_long_strides(
    strides: tuple[int, int],
    more: tuple[int, int],
    pads: list[int],
    channels: int,
    size: tuple[int, int],
) -> None:
    """First layers as AlexNet's run with stride 1 on an image of the pixels of each stride."""
    net = Net()
    kernel = [strides[0] + more[0], strides[1] + more[1]]
    weights = [net.noise(20, channels, *kernel), net.noise(20)]
    y = net.call(
        "Relu", net.call("Conv", "x", *weights, kernel_shape=kernel, strides=list(strides), pads=pads)
    )
    model = models.build(net.nodes, net.tensors, {"x": ["N", channels, *size]}, {y: ["N", 20, "h", "w"]})
    x = np.random.default_rng(1).standard_normal((2, channels, *size)).astype(np.float32)
    found = rdq.Session(model, backend="native").run({"x": x})[y]
    expected = naive(model, x)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=5e-5)


def naive(model: onnx.ModelProto, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """By ONNX's own reference: lowering is the same for both backends of ours."""
    from onnx.reference import ReferenceEvaluator

    (y,) = ReferenceEvaluator(model).run(None, {"x": x})
    return y


def test_weights_can_be_replaced() -> None:
    _, net = embedding((4, 4), (8, 8), bias=False)
    model = rdq.load(
        models.build(net.nodes[:-1], net.tensors, {"x": [1, 3, 8, 8]}, {net.nodes[-2].output[0]: [1, 4, 20]})
    )
    session = rdq.Session(model, backend="native")
    x = np.ones((1, 3, 8, 8), np.float32)
    (before,) = session.run({"x": x}).values()
    session.set_weights({name: 3 * w for name, w in model.weights().items()})
    np.testing.assert_allclose(next(iter(session.run({"x": x}).values())), 3 * before, rtol=1e-5)


@pytest.mark.parametrize("bias", [False, True])
def test_norms_of_rows_are_part_of_the_product(bias: bool) -> None:
    """A batch norm over a product's rows, as LeViT has them: reshaped to a matrix before, and back after."""
    net = Net()
    product = net.call("MatMul", "x", net.noise(12, 20))
    if bias:
        product = net.call("Add", product, net.noise(20))
    rows = net.norm(net.call("Flatten", product, axis=2), 20)
    y = net.call("Relu", net.call("Reshape", rows, net.integers(-1, 7, 20)))
    model = models.build(net.nodes, net.tensors, {"x": ["N", 7, 12]}, {y: ["N", 7, 20]})
    x = np.random.default_rng(1).standard_normal((3, 7, 12)).astype(np.float32)
    expected = rdq.Session(model, backend="reference").run({"x": x})[y]
    session = rdq.Session(model, backend="native")
    np.testing.assert_allclose(session.run({"x": x})[y], expected, atol=1e-5)
    assert [row["op"] for row in session.plan({"x": x}) if row["op"] != "reshape"] == ["matmul"]


@pytest.mark.parametrize("activation", ["Relu", "Sigmoid"])
def test_norms_of_rows_alone(activation: str) -> None:
    net = Net()
    y = net.call(activation, net.norm("x", 37))
    model = models.build(net.nodes, net.tensors, {"x": ["N", 37]}, {y: ["N", 37]})
    x = np.random.default_rng(1).standard_normal((50, 37)).astype(np.float32)
    expected = rdq.Session(model, backend="reference").run({"x": x})[y]
    np.testing.assert_allclose(rdq.Session(model, backend="native").run({"x": x})[y], expected, atol=1e-5)


def test_levels_stay_whole() -> None:
    """Layers in INT8 with long strides keep their form, which the integer kernels know."""
    y, net = embedding((4, 4), (18, 23), bias=True)
    model = models.build(net.nodes, net.tensors, {"x": ["N", 3, 18, 23]}, {y: ["N", "rows", 20]})
    x = np.random.default_rng(1).standard_normal((2, 3, 18, 23)).astype(np.float32)
    quantized = rdq.quantize_dynamic(model)
    found, expected = (rdq.Session(quantized, backend=b) for b in ("native", "reference"))
    kernels = [row["kernel"] for row in found.plan({"x": x}) if row["macs"]]
    assert kernels
    assert "reference" not in kernels
    np.testing.assert_allclose(found.run({"x": x})[y], expected.run({"x": x})[y], atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    dilations=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    pads=st.lists(st.integers(0, 20), min_size=4, max_size=4),
    strides=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    channels=st.sampled_from([3, 16]),
)
def test_taps_in_the_padding(
    dilations: tuple[int, int], pads: list[int], strides: tuple[int, int], channels: int
) -> None:
    """Long dilations, as of spatial pyramids: taps that meet no pixel are left out."""
    size = (2 * dilations[0] + 1, 2 * dilations[1] + 3)
    net = Net()
    weights = [net.noise(20, channels, 3, 3), net.noise(20)]
    y = net.call("Conv", "x", *weights, kernel_shape=[3, 3], dilations=dilations, strides=strides, pads=pads)
    model = models.build(net.nodes, net.tensors, {"x": ["N", channels, *size]}, {y: ["N", 20, "h", "w"]})
    x = np.random.default_rng(1).standard_normal((2, channels, *size)).astype(np.float32)
    (found,) = rdq.Session(model, backend="native").run({"x": x}).values()
    np.testing.assert_allclose(found, naive(model, x), atol=1e-4)


def test_a_dilation_beyond_the_image_is_a_product() -> None:
    net = Net()
    y = net.conv("x", 16, 16, dilations=[12, 12], pads=[12] * 4)
    model = models.build(net.nodes, net.tensors, {"x": [1, 16, 10, 10]}, {y: [1, 16, 10, 10]})
    (row,) = [row for row in rdq.Session(model, backend="native").plan() if row["macs"]]
    assert row["macs"] == 16 * 16 * 10 * 10
