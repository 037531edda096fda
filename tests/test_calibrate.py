"""Calibration: statistics of layers' inputs, rounding that keeps layers' outputs, files within a tolerated loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

import models
import rdquant as rdq
from rdquant import InvalidArgument
from rdquant._core.calibrate import Feedback
from rdquant.calibrate import (
    Layer,
    LayerRounder,
    Sensitivity,
    covariances,
    layers_of,
    stream,
)
from rdquant.codec import decode_levels

Array = NDArray[Any]


def net(**convolution: Any) -> rdq.Model:
    """One convolution of 4 channels to 6, ReLU, global pooling, Gemm to 3."""
    group = convolution.get("group", 1)
    kernel = convolution.pop("kernel", (3, 3))
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv", **convolution),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "v"], ["y"], "gemm"),
    ]
    tensors = {
        "w": random.standard_normal((8, 4 // group, *kernel)).astype(np.float32),
        "b": random.standard_normal(8).astype(np.float32),
        "v": random.standard_normal((8, 3)).astype(np.float32),
    }
    return rdq.load(models.build(nodes, tensors, {"x": ["N", 4, 9, 8]}, {"y": ["N", 3]}))


def patches(x: Array, layer: Layer) -> Array:
    """[images, groups, positions, inputs], by the convolution of unit kernels, one input at a time."""
    top, left, bottom, right = layer.padding(*x.shape[2:])
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    heights = (padded.shape[2] - (layer.kernel[0] - 1) * layer.dilations[0] - 1) // layer.strides[0] + 1
    widths = (padded.shape[3] - (layer.kernel[1] - 1) * layer.dilations[1] - 1) // layer.strides[1] + 1
    out = []
    for c in range(x.shape[1]):
        for i in range(layer.kernel[0]):
            for j in range(layer.kernel[1]):
                rows = i * layer.dilations[0] + np.arange(heights) * layer.strides[0]
                cols = j * layer.dilations[1] + np.arange(widths) * layer.strides[1]
                out.append(padded[:, c][:, rows][:, :, cols].reshape(len(x), -1))
    table = np.stack(out, -1)
    return table.reshape(len(x), -1, layer.groups, layer.inputs).transpose(0, 2, 1, 3)


@pytest.mark.parametrize(
    "convolution",
    [
        {"pads": [1, 1, 1, 1]},
        {"strides": [2, 3], "pads": [0, 1, 2, 0]},
        {"dilations": [2, 1]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"auto_pad": "SAME_LOWER", "kernel": (2, 4)},
        {"kernel": (1, 1)},
        {"group": 2, "pads": [1, 1, 1, 1]},
        {"group": 4},
    ],
    ids=["padded", "strided", "dilated", "same upper", "same lower", "pointwise", "grouped", "depthwise"],
)
def test_moments_are_those_of_the_patches(convolution: dict[str, Any]) -> None:
    model = net(**convolution)
    x = np.random.default_rng(1).standard_normal((11, 4, 9, 8)).astype(np.float32) + 0.3
    conv, gemm = layers_of(model)
    assert (conv.weight, conv.bias, gemm.weight, gemm.bias) == ("w", "b", "v", None)
    found = covariances(model, [x[:4], x[4:]], [conv, gemm])
    each = patches(x, conv).astype(np.float64)
    # The patches are right: they give the convolution.
    w = conv.matrix(model.weights()["w"]).reshape(conv.groups, -1, conv.inputs)
    given = np.einsum("ngpi,gri->ngrp", each, w).reshape(11, 8, -1) + model.weights()["b"][:, None]
    (wanted,) = (values["c"] for values in stream(model, [x[:1]], ["c"]))
    np.testing.assert_allclose(given[0], wanted[0].reshape(8, -1), atol=1e-4)
    mean = each.mean(axis=(0, 2))
    np.testing.assert_allclose(found["w"].mean(), mean, atol=1e-5)
    products = np.einsum("ngpi,ngpj->ngij", each, each) / each.shape[2]  # of every image
    for centred in (False, True):
        plain = products.mean(axis=0) - (np.einsum("gi,gj->gij", mean, mean) if centred else 0)
        apart = ~np.eye(conv.inputs, dtype=bool)
        noise = products.var(axis=0)[:, apart].sum(axis=1) / 11
        share = np.clip(noise / np.square(plain[:, apart]).sum(axis=1), 0, 1)
        np.testing.assert_allclose(found["w"].shrinkage(centred), share, rtol=1e-3, atol=1e-6)
        shrunk = np.where(apart, (1 - share)[:, None, None] * plain, plain)
        np.testing.assert_allclose(found["w"].matrix(centred, 2), shrunk, atol=2e-4)
    assert found["v"].matrix(False, 1).shape == (1, 8, 8)


@pytest.mark.parametrize("count", [4, 6, 9])
def test_streams_of_a_fixed_batch_lose_what_fills_the_last_one(count: int) -> None:
    model = net(pads=[1, 1, 1, 1])
    x = np.random.default_rng(1).standard_normal((count, 4, 9, 8)).astype(np.float32)
    (wanted,) = stream(model, [x], ["r", "x"])
    fixed = model.proto
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    found = list(stream(rdq.load(fixed), [x], ["r", "x"]))
    for name in ("r", "x"):
        np.testing.assert_allclose(np.concatenate([v[name] for v in found]), wanted[name], atol=1e-6)
    assert "QuantizeLinear" in rdq.quantize_static(fixed, x).summary()["operators"]


def test_streams_give_what_the_network_computes_in_any_batches() -> None:
    model = net(pads=[1, 1, 1, 1])
    x = np.random.default_rng(1).standard_normal((7, 4, 9, 8)).astype(np.float32)
    whole = list(stream(model, [x], ["r", "x", "y", "r"]))
    assert [set(v) for v in whole] == [{"r", "x", "y"}]  # all at once: their shapes are known beforehand
    pieces = list(stream(model, [x[:3], x[3:]], ["r", "x", "y"]))
    for name in ("r", "x", "y"):
        joined = np.concatenate([v[name] for v in whole])
        assert len(joined) == 7
        np.testing.assert_allclose(joined, np.concatenate([v[name] for v in pieces]), atol=1e-6)
    np.testing.assert_array_equal(np.concatenate([v["x"] for v in whole]), x)
    with pytest.raises(InvalidArgument, match="no node gives 'rr'"):
        list(stream(model, [x], ["rr"]))
    with pytest.raises(InvalidArgument, match="names: expected at least one value"):
        model.with_outputs([])
    early = model.with_outputs(["c"])
    assert [o.name for o in early.outputs] == ["c"]
    nodes = {row["node"] for row in rdq.Session(early).plan({"x": x})} - {""}  # reorders have no node
    assert nodes == {"conv"}


def test_moments_depend_neither_on_batches_nor_on_threads() -> None:
    model = net(pads=[1, 1, 1, 1])
    x = np.random.default_rng(1).standard_normal((9, 4, 9, 8)).astype(np.float32)
    layer = layers_of(model)[0]  # it reads the input: no arithmetic of the engine in between
    one = covariances(model, [x], [layer], positions=20, threads=1)["w"]
    many = covariances(model, [x[:2], x[2:3], x[3:]], [layer], positions=20, threads=3)["w"]
    assert one.images == many.images == 9
    np.testing.assert_array_equal(one.matrix(True, 1), many.matrix(True, 2))


@pytest.mark.parametrize("auto", ["NOTSET", "SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("groups", [1, 2])
def test_moments_of_volumes_are_those_of_their_windows(groups: int, auto: str) -> None:
    x = np.random.default_rng(1).standard_normal((3, 4, 6, 5, 7)).astype(np.float32) + 0.7
    strides, dilations, pads = [2, 1, 2], [1, 2, 1], [1, 0, 2, 1, 1, 0]
    if auto == "NOTSET":
        options = {"strides": strides, "dilations": dilations, "pads": pads}
    else:
        options, dilations = {"strides": strides, "auto_pad": auto}, [1, 1, 1]
    node = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[2, 3, 2], group=groups, **options)
    w = np.random.default_rng(2).standard_normal((4, 4 // groups, 2, 3, 2)).astype(np.float32)
    model = models.build([node], {"w": w}, {"x": ["N", *x.shape[1:]]}, {"y": list("abcde")})
    assert not layers_of(rdq.load(model))
    (layer,) = layers_of(rdq.load(model), volumes=True)
    assert layer.taps == 12
    found = covariances(rdq.load(model), [x], [layer], positions=100_000)["w"]
    (y,) = rdq.Session(model).run({"x": x}).values()
    # mean and power of the outputs are what the moments of the inputs say
    rows = layer.matrix(w).astype(np.float64).reshape(groups, -1, layer.inputs)
    mean = np.einsum("gri,gi->gr", rows, found.mean()).reshape(-1)
    np.testing.assert_allclose(mean, y.mean(axis=(0, 2, 3, 4)), atol=1e-4)
    apart = ~np.eye(layer.inputs, dtype=bool)
    moments = found.matrix(False, 1)
    moments = np.where(apart, moments / (1 - np.array(found.shrinkage(False)))[:, None, None], moments)
    given = np.einsum("gri,gij,grj->gr", rows, moments, rows).reshape(-1)
    np.testing.assert_allclose(given, np.square(y.astype(np.float64)).mean(axis=(0, 2, 3, 4)), rtol=1e-3)


def test_which_layers_are_calibrated() -> None:
    random = np.random.default_rng(0)
    tensors = {
        name: random.standard_normal(shape).astype(np.float32)
        for name, shape in {
            "a": (4, 4, 1, 1),
            "shared": (4, 4, 3, 3),
            "t": (4, 4, 2, 2),
            "m": (5, 3),
            "g": (3, 2),
            "h": (2,),
        }.items()
    }
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["1"], "one"),
        helper.make_node("Conv", ["1", "shared"], ["2"], "two", pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["2", "shared"], ["3"], "three", pads=[1, 1, 1, 1]),
        helper.make_node("ConvTranspose", ["3", "t"], ["4"], "up"),
        helper.make_node("MatMul", ["4", "m"], ["5"], "product"),
        helper.make_node("ReduceMean", ["5"], ["6"], "mean", axes=[1, 2], keepdims=0),
        helper.make_node("Gemm", ["6", "g", "h"], ["y"], "gemm", alpha=0.5),
    ]
    model = rdq.load(models.build(nodes, tensors, {"x": ["N", 4, 4, 4]}, {"y": ["N", 2]}))
    layers = {layer.weight: layer for layer in layers_of(model)}
    assert set(layers) == {"a", "m", "g"}
    assert layers["g"].bias is None, "a scaled bias takes no correction"
    x = random.standard_normal((3, 4, 4, 4)).astype(np.float32)
    found = covariances(model, [x], list(layers.values()))
    assert found["m"].matrix(False, 1).shape == (1, 5, 5)
    weight = layers["m"].tensor(layers["m"].matrix(tensors["m"]))
    np.testing.assert_array_equal(weight, tensors["m"])


def correlated(inputs: int, samples: int, seed: int = 2) -> Array:
    x = np.random.default_rng(seed).standard_normal((samples, inputs)) + 0.5
    return np.cumsum(x, axis=1) / np.sqrt(np.arange(1, inputs + 1))


def test_feedback_is_the_definition() -> None:
    c = np.cov(correlated(40, 200).T)
    w = np.random.default_rng(3).standard_normal((7, 40)).astype(np.float32)
    feedback = Feedback(c[np.newaxis], 1)
    levels = np.empty(w.shape, np.int32)
    loss = feedback.round(w, 0.5, 0.0, None, 40, 1, levels, 1)
    damped = c + 1e-4 * np.trace(c) / 40 * np.eye(40)
    r = np.linalg.cholesky(damped[::-1, ::-1])[::-1, ::-1]  # C = R·Rᵀ, R upper
    f = r / np.diag(r)
    total = 0.0
    for row, found in zip(w.astype(np.float64), levels, strict=True):
        error = np.zeros(40)
        for k in range(40):
            target = row[k] + error[:k] @ f[:k, k]
            assert abs(found[k] - target / 0.5) <= 0.5 + 1e-4
            error[k] = row[k] - 0.5 * found[k]
        total += float(error @ damped @ error)
    assert loss == pytest.approx(total, rel=1e-3)


def rounder(transposed: bool = False, groups: int = 1) -> tuple[LayerRounder, Layer, Array, Array, Array]:
    x = np.abs(correlated(24 * groups, 400)).astype(np.float32)
    random = np.random.default_rng(4)
    if groups > 1:
        w = random.standard_normal((8, 24, 1, 1)).astype(np.float32)
        layer = Layer("w", "b", "x", "n", w.shape, "convolution", groups)
        images = x.reshape(400, 24 * groups, 1, 1)
    else:
        w = random.standard_normal((24, 8) if transposed else (8, 24)).astype(np.float32)
        layer = Layer("w", "b", "x", "n", w.shape, "product", transposed=transposed)
        images = x
    b = random.standard_normal(8).astype(np.float32)
    from rdquant._core.calibrate import Covariance

    moments = Covariance(24 * groups, groups, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1)
    moments.add(layer.images(images), 1)
    return LayerRounder(w, b, layer, moments, 1), layer, x, w, b


@pytest.mark.parametrize(("transposed", "groups"), [(False, 1), (True, 1), (False, 2)])
def test_rounding_keeps_outputs_and_their_mean(transposed: bool, groups: int) -> None:
    found, layer, x, w, b = rounder(transposed, groups)
    given = found.round(0.25)

    def outputs(weight: Array, bias: Array) -> Array:
        matrix = layer.matrix(weight).reshape(groups, -1, 24)
        return np.einsum("ngi,gri->ngr", x.reshape(400, groups, 24), matrix).reshape(400, 8) + bias

    assert given.bias is not None
    weight = given.weight.dequantize()
    error = outputs(weight, given.bias.dequantize()) - outputs(w, b)
    nearest = outputs(np.float32(0.25) * np.rint(w / 0.25), b) - outputs(w, b)
    assert np.abs(error.mean(axis=0)).max() <= 0.51 * given.bias.quantizer.step
    assert np.square(error).mean() < 0.5 * np.square(nearest - nearest.mean(axis=0)).mean()
    np.testing.assert_array_equal(weight, np.float32(0.25) * given.weight.levels)
    assert given.weight.levels.shape == w.shape
    # Entropy-aware rounding: fewer bytes at little more loss.
    priced = found.round(0.25, 0.1)
    assert len(priced.weight.encode()) <= len(given.weight.encode())
    assert priced.loss < 1.5 * given.loss


def wide_rounder(
    shape: tuple[int, ...],
    trellis: int,
    groups: int = 1,
    transposed: bool = False,
    sensitivity: Sensitivity | None = None,
) -> tuple[LayerRounder, Layer, Array, Array]:
    """Of Laplacian weights over correlated inputs; the layer, the weights and the covariance [inputs, inputs]."""
    kind = "convolution" if len(shape) == 4 else "product"
    layer = Layer("w", None, "x", "n", shape, kind, groups, shape[2:] or (1, 1), transposed=transposed)
    w = np.random.default_rng(6).laplace(size=shape).astype(np.float32)
    c = np.cov(correlated(layer.inputs, 4 * layer.inputs).T)

    class Known:
        def matrix(self, centred: bool, threads: int) -> Array:
            return np.repeat(c[np.newaxis], groups, axis=0)

        def mean(self) -> Array:
            return np.zeros((groups, layer.inputs))

    return LayerRounder(w, None, layer, Known(), 1, trellis, sensitivity), layer, w, c


@pytest.mark.parametrize("shape", [(300, 40), (90, 12, 3, 3), (500, 8, 1, 1)])
@pytest.mark.parametrize("states", [8, 32])
def test_a_trellis_keeps_outputs_better_at_the_same_size(shape: tuple[int, ...], states: int) -> None:
    scalar = wide_rounder(shape, 0)[0].round(0.6, 0.08)
    found, layer, w, c = wide_rounder(shape, states)
    given = found.round(0.6, 0.08)
    assert (given.weight.states, scalar.weight.states) == (states, 0)
    np.testing.assert_array_equal(decode_levels(given.weight.encode("max")), given.weight.levels)
    error = layer.matrix(w - given.weight.dequantize()).astype(np.float64)
    assert given.loss == pytest.approx(np.einsum("ri,ij,rj->", error, c, error), rel=0.02)
    # Decibels of loss, a bit being worth 6.02 of them.
    bits = [8 * len(r.weight.encode()) / w.size for r in (scalar, given)]
    gain = 10 * np.log10(scalar.loss / given.loss) + 6.02 * (bits[0] - bits[1])
    assert gain > 0.6


@pytest.mark.parametrize(("shape", "groups"), [((60, 40), 1), ((48, 12, 3, 3), 1), ((96, 24, 1, 1), 4)])
@pytest.mark.parametrize("states", [0, 32])
def test_outputs_that_matter_together_share_their_errors(
    shape: tuple[int, ...], groups: int, states: int
) -> None:
    rows = shape[0] // groups
    moments = np.stack([np.cov(correlated(rows, 4 * rows).T)] * groups)

    def told(images: int) -> Any:
        return wide_rounder(shape, states, groups, sensitivity=Sensitivity(moments, 0.0, images))

    (plain, layer, w, c), fed, few = wide_rounder(shape, states, groups), told(rows)[0], told(rows - 1)[0]

    def loss(found: LayerRounder) -> tuple[float, float]:
        given = found.round(0.6, 0.08).weight
        error = layer.matrix(w - given.dequantize()).astype(np.float64).reshape(groups, rows, -1)
        total = np.einsum("gpr,gpi,ij,grj->", moments, error, c, error, optimize=True)
        return float(total), 8 * len(given.encode()) / w.size

    (before, bits), (after, more) = loss(plain), loss(fed)
    assert 10 * np.log10(before / after) + 6.02 * (bits - more) > 1.0, "decibels at equal bits"
    assert loss(few) == (before, bits), "fewer images than outputs tell nothing of pairs"


def test_a_bias_makes_up_for_errors_where_outputs_matter() -> None:
    _, layer, x, w, b = rounder()
    moments, covariance = np.eye(8)[np.newaxis], np.cov(x.astype(np.float64).T, bias=True)

    class Known:
        def matrix(self, centred: bool, threads: int) -> Array:
            return covariance[np.newaxis]

        def mean(self) -> Array:
            return x.mean(axis=0, dtype=np.float64)[np.newaxis]

    found = LayerRounder(w, b, layer, Known(), 1, 0, Sensitivity(moments, 1.5, 1)).round(0.25)
    assert found.bias is not None
    error = w - found.weight.dequantize()
    together = w @ covariance
    where = x.mean(axis=0) + 1.5 * together / np.sqrt((together * w).sum(axis=1, keepdims=True))
    wanted = b + (error * where).sum(axis=1)
    np.testing.assert_allclose(found.bias.dequantize(), wanted, atol=0.51 * found.bias.quantizer.step)


@pytest.mark.parametrize(
    ("shape", "groups", "transposed"),
    [((96, 8, 3, 3), 4, False), ((40, 300), 1, True), ((40, 2, 9, 9), 1, False)],
)
def test_layers_that_no_trellis_runs_through_are_scalar(
    shape: tuple[int, ...], groups: int, transposed: bool
) -> None:
    found, *_ = wide_rounder(shape, 8, groups, transposed)
    assert found.round(0.6, 0.08).weight.states == 0


def test_levels_beyond_a_trellis_are_scalar() -> None:
    found, *_ = wide_rounder((300, 40), 8)
    assert found.round(1e-3, 0.08).weight.states == 0
    assert found.round(0.1, 0.08).weight.states == 8


def test_unseen_weights_are_rounded_to_the_nearest() -> None:
    w = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    given = LayerRounder(w).round(0.1, 0.1)
    np.testing.assert_array_equal(given.weight.levels, np.rint(w / 0.1))
    assert given.bias is None
    with pytest.raises(InvalidArgument, match="finite"):
        LayerRounder(np.array([1.0, np.nan], np.float32))


def test_inputs_that_are_always_zero_cost_nothing_and_break_nothing() -> None:
    c = np.zeros((1, 6, 6))
    c[0, :3, :3] = np.cov(correlated(3, 50).T)
    w = np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32)
    levels = np.empty(w.shape, np.int32)
    Feedback(c, 1).round(w, 0.5, 0.0, None, 6, 1, levels, 1)
    assert np.abs(0.5 * levels - w).max() < 2
    Feedback(np.zeros((2, 3, 3)), 1).round(
        w[:4, :3].copy(), 0.5, 0.0, None, 3, 1, np.empty((4, 3), np.int32), 1
    )
