"""Int8 models made by other tools: operators on levels, and what ONNX Runtime's quantizer makes."""

from __future__ import annotations

import io
import itertools
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import rdquant as rdq
import test_microsoft
from networks import Net
from rdquant._core import program
from rdquant.runtime.engine import engine_backends

onnxruntime = pytest.importorskip("onnxruntime")

Array = NDArray[Any]
BACKENDS = [name for name, reason in engine_backends().items() if not reason]
RANDOM = np.random.default_rng(0)


def levels_model(op: str, inputs: Sequence[Array | None], domain: str, **attributes: Any) -> onnx.ModelProto:
    """One node; its first input (of levels, or floats to quantize) is fed, the others are constants."""
    names = [f"i{k}" if value is not None else "" for k, value in enumerate(inputs)]
    fed = names[2 if op == "QLinearConcat" else 0]
    tensors = {n: v for n, v in zip(names, inputs, strict=True) if v is not None}
    x = tensors.pop(fed)
    node = helper.make_node(op, names, ["y"], "node", domain=domain, **attributes)
    floats = op == "DequantizeLinear" or (op == "QGemm" and len(inputs) < 8)
    s8 = op != "QuantizeLinear" and x.dtype == np.int8
    kind = TensorProto.FLOAT if floats else TensorProto.INT8 if s8 else TensorProto.UINT8
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info(fed, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(v, n) for n, v in tensors.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    model.graph.output[0].type.tensor_type.shape.SetInParent()
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    return model


def levels(*shape: int, dtype: Any = np.uint8) -> Array:
    limits = np.iinfo(dtype)
    return RANDOM.integers(limits.min, limits.max + 1, shape).astype(dtype)


def scale(value: float | Sequence[float]) -> Array:
    return np.asarray(value, np.float32)


def grid(step: float, zero: int, dtype: Any = np.uint8) -> list[Array]:
    return [scale(step), np.asarray(zero, dtype)]


IMAGE = (2, 4, 6, 6)
MS = "com.microsoft"
X = [levels(*IMAGE), *grid(0.02, 120)]
SIGNED = [levels(*IMAGE, dtype=np.int8), *grid(0.03, -5, np.int8)]
CASES: dict[str, tuple[str, list[Array | None], str, dict[str, Any]]] = {
    "conv": (
        "QLinearConv",
        [
            *X,
            levels(6, 4, 3, 3, dtype=np.int8),
            scale(RANDOM.uniform(1e-3, 5e-3, 6).tolist()),
            np.zeros(6, np.int8),
            *grid(0.1, 128),
            RANDOM.integers(-9000, 9000, 6).astype(np.int32),
        ],
        "",
        {"pads": [1] * 4},
    ),
    "conv of groups, u8 weights": (
        "QLinearConv",
        [*X, levels(6, 2, 3, 3), *grid(0.002, 131), *grid(0.05, 90)],
        "",
        {"group": 2, "strides": [2, 2]},
    ),
    "product": (
        "QLinearMatMul",
        [
            levels(3, 7),
            *grid(0.02, 100),
            levels(7, 5, dtype=np.int8),
            *grid(0.01, 0, np.int8),
            *grid(0.1, 128),
        ],
        "",
        {},
    ),
    "gemm": (
        "QGemm",
        [
            levels(3, 7),
            *grid(0.02, 100),
            levels(5, 7, dtype=np.int8),
            scale(RANDOM.uniform(5e-3, 1e-2, 5).tolist()),
            np.zeros(5, np.int8),
            RANDOM.integers(-900, 900, 5).astype(np.int32),
            *grid(0.1, 128),
        ],
        MS,
        {"transB": 1, "alpha": 0.75},
    ),
    "gemm to floats": (
        "QGemm",
        [levels(3, 7), *grid(0.02, 100), levels(7, 5, dtype=np.int8), *grid(0.01, 0, np.int8)],
        MS,
        {},
    ),
    "add": ("QLinearAdd", [*X, levels(4, 1, 1), *grid(0.01, 3), *grid(0.03, 130)], MS, {}),
    "add of s8": (
        "QLinearAdd",
        [*SIGNED, levels(*IMAGE, dtype=np.int8), *grid(0.01, 3, np.int8), *grid(0.0431, -2, np.int8)],
        MS,
        {},
    ),
    "mul": ("QLinearMul", [*X, levels(*IMAGE), *grid(0.01, 3), *grid(0.03, 130)], MS, {}),
    "sigmoid": ("QLinearSigmoid", [*X, *grid(1 / 256, 0)], MS, {}),
    "sigmoid of s8": ("QLinearSigmoid", [*SIGNED, *grid(1 / 256, -128, np.int8)], MS, {}),
    "leaky relu": ("QLinearLeakyRelu", [*X, *grid(0.015, 20)], MS, {"alpha": 0.1}),
    "global pool": ("QLinearGlobalAveragePool", [*X, *grid(0.005, 128)], MS, {}),
    "pool": (
        "QLinearAveragePool",
        [*X, *grid(0.0213, 128)],
        MS,
        {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [2, 2]},
    ),
    "concat": (
        "QLinearConcat",
        [*grid(0.03, 110), *X, levels(2, 3, 6, 6), *grid(0.04, 7)],
        MS,
        {"axis": 1},
    ),
    "softmax": ("QLinearSoftmax", [levels(3, 10), *grid(0.05, 128), *grid(1 / 256, 0)], MS, {"opset": 13}),
    "quantize": (
        "QuantizeLinear",
        [RANDOM.standard_normal(IMAGE).astype(np.float32), *grid(0.02, 120)],
        MS,
        {},
    ),
    "dequantize": ("DequantizeLinear", X, MS, {}),
}


def close(found: Array, expected: Array, share: float = 0.02) -> None:
    """Levels one apart at most, on few values; floats within rounding."""
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    if found.dtype == np.float32:
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        return
    apart = np.abs(found.astype(int) - expected.astype(int))
    assert apart.max(initial=0) <= 1
    assert np.mean(apart > 0) <= share
    assert np.ptp(expected.astype(int)) > 20, "a case in which little happens"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES)
def test_operators_on_levels(case: str, backend: str) -> None:
    op, inputs, domain, attributes = CASES[case]
    model = levels_model(op, inputs, domain, **attributes)
    x = inputs[2 if op == "QLinearConcat" else 0]
    assert x is not None
    fed = model.graph.input[0].name
    peer = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    loaded = rdq.load(model)
    assert not loaded.weights(), "scales are no weights"
    close(rdq.Session(loaded, backend=backend).run({fed: x})["y"], peer.run(None, {fed: x})[0])


def test_all_of_them_are_tried() -> None:
    ours = {name for name in program.operators() if name.startswith(MS)}
    levels = {f"{MS}.{op}" for op, _, domain, _ in CASES.values() if domain == MS}
    assert levels | {f"{MS}.{op}" for op in test_microsoft.TRIED} == ours


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "message"),
    [
        ("QLinearSigmoid", [*X, scale(0.1)], {}, "without zero points"),
        ("QLinearGlobalAveragePool", [*X, *grid(0.1, 0)], {"channels_last": 1}, "channels_last"),
        ("QLinearSoftmax", [*X, *grid(0.1, 0)], {"opset": 12}, "opset < 13"),
        ("QLinearWhere", [*X], {}, "not supported"),
    ],
)
def test_what_is_refused_is_named(
    op: str, inputs: list[Array], attributes: dict[str, Any], message: str
) -> None:
    model = rdq.load(levels_model(op, inputs, MS, **attributes))
    with pytest.raises(rdq.Unsupported, match=f"{op} node 'node'.*{message}"):
        rdq.Session(model, backend="reference").run({"i0": X[0]})


# --- exact sums ----------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("weights", [np.uint8, np.int8])
@pytest.mark.parametrize("data", [np.uint8, np.int8])
def test_sums_of_products_are_exact(data: Any, weights: Any, backend: str) -> None:
    x, w = levels(2, 6, 9, 9, dtype=data), levels(4, 3, 3, 3, dtype=weights)
    zero, zeros = levels(dtype=data), levels(4, dtype=weights)
    a, b, columns = levels(3, 300, dtype=data), levels(300, 5, dtype=weights), levels(5, dtype=weights)
    rows = levels(3, dtype=data)
    nodes = [
        helper.make_node("ConvInteger", ["x", "w", "zero", "zeros"], ["y"], "conv", group=2, pads=[1] * 4),
        helper.make_node("MatMulInteger", ["a", "b", "rows", "columns"], ["p"], "product"),
        helper.make_node("MatMulInteger", ["a", "b"], ["q"], "plain"),
    ]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(data))
    constants = {"w": w, "zero": zero, "zeros": zeros, "b": b, "columns": columns, "rows": rows}
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(n, kind, v.shape) for n, v in (("x", x), ("a", a))],
        [
            helper.make_tensor_value_info(n, TensorProto.INT32, s)
            for n, s in (("y", (2, 4, 9, 9)), ("p", (3, 5)), ("q", (3, 5)))
        ],
        [numpy_helper.from_array(v, n) for n, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    found = rdq.Session(rdq.load(model), backend=backend).run({"x": x, "a": a})
    padded = np.pad(x.astype(np.int64) - int(zero), ((0, 0), (0, 0), (1, 1), (1, 1)))
    patches = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    kernels = w.astype(np.int64) - zeros.astype(np.int64).reshape(-1, 1, 1, 1)
    halves = [
        np.einsum("nchwij,kcij->nkhw", patches[:, 3 * g : 3 * g + 3], kernels[2 * g : 2 * g + 2])
        for g in (0, 1)
    ]
    np.testing.assert_array_equal(found["y"], np.concatenate(halves, 1))
    wide = a.astype(np.int64), b.astype(np.int64)
    left, right = wide[0] - rows.astype(np.int64)[:, None], wide[1] - columns.astype(np.int64)
    np.testing.assert_array_equal(found["p"], left @ right)
    np.testing.assert_array_equal(found["q"], wide[0] @ wide[1])


# --- what ONNX Runtime's quantizer makes -----------------------------------------------------------


def network() -> onnx.ModelProto:
    """Convolutions (one for each channel apart), a sum, a concatenation, pools, sigmoid, a product."""
    net = Net(3)
    stem = net.call("Relu", net.conv("x", 8, 3))
    apart = net.call("Relu", net.conv(stem, 8, 8, group=8))
    total = net.call("Add", net.conv(apart, 8, 8, size=1), stem)
    left, right = net.call("LeakyRelu", net.conv(total, 6, 8), alpha=0.1), net.conv(total, 4, 8, size=1)
    gated = net.call("Mul", right, net.call("Sigmoid", right))
    joined = net.call("Concat", left, gated, axis=1)
    pooled = net.call("AveragePool", joined, kernel_shape=[2, 2], strides=[2, 2])
    last = net.call("MaxPool", net.conv(pooled, 12, 10), kernel_shape=[2, 2], strides=[2, 2])
    flat = net.call("Flatten", net.call("GlobalAveragePool", last))
    y = net.call("Gemm", flat, net.noise(5, 12), net.noise(5), transB=1)
    return onnx.shape_inference.infer_shapes(net.model(y, (1, 3, 16, 16), opset=13))


class _Reader:
    """Calibration images as ONNX Runtime wants them."""

    def __init__(self, feeds: Iterator[dict[str, Array]]) -> None:
        self._feeds = feeds

    def get_next(self) -> dict[str, Array] | None:
        return next(self._feeds, None)


def quantized(model: onnx.ModelProto, folder: Path, images: Array | None, **options: Any) -> Path:
    """By ONNX Runtime: statically where there are images, else dynamically."""
    from onnxruntime import quantization

    before, after = folder / "float.onnx", folder / "int8.onnx"
    onnx.save(model, before)
    name = model.graph.input[0].name
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if images is None:
                quantization.quantize_dynamic(before, after, **options)
            else:
                reader = _Reader({name: x[None]} for x in images)
                quantization.quantize_static(before, after, reader, **options)
    finally:
        logging.disable(logging.NOTSET)
    return after


def _static(form: str, activations: str, weights: str, **options: Any) -> Callable[..., Path]:
    def make(model: onnx.ModelProto, folder: Path, images: Array) -> Path:
        from onnxruntime.quantization import QuantFormat, QuantType

        kinds = {
            "quant_format": QuantFormat[form],
            "activation_type": QuantType[activations],
            "weight_type": QuantType[weights],
        }
        return quantized(model, folder, images, **kinds, **options)

    return make


def _dynamic(weights: str, **options: Any) -> Callable[..., Path]:
    def make(model: onnx.ModelProto, folder: Path, images: Array) -> Path:
        from onnxruntime.quantization import QuantType

        return quantized(model, folder, None, weight_type=QuantType[weights], **options)

    return make


MADE = {
    "QOperator u8 s8": _static("QOperator", "QUInt8", "QInt8"),
    "QOperator u8 u8": _static("QOperator", "QUInt8", "QUInt8"),
    "QOperator s8 s8": _static("QOperator", "QInt8", "QInt8"),
    "QOperator per channel": _static("QOperator", "QUInt8", "QInt8", per_channel=True),
    "QOperator reduced": _static("QOperator", "QUInt8", "QInt8", per_channel=True, reduce_range=True),
    "QDQ u8 s8 per channel": _static("QDQ", "QUInt8", "QInt8", per_channel=True),
    "QDQ s8 s8": _static("QDQ", "QInt8", "QInt8"),
    "dynamic s8": _dynamic("QInt8"),
    "dynamic u8": _dynamic("QUInt8"),
    "dynamic s8 per channel": _dynamic("QInt8", per_channel=True),
}


def compare(path: Path, images: Array, backend: str, noise: float) -> None:
    """Our answers against ONNX Runtime's: error energy at most `noise` of the answers' spread, the same first class."""
    peer = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = peer.get_inputs()[0].name
    expected = np.concatenate([peer.run(None, {name: x[None]})[0] for x in images])
    session = rdq.Session(path, backend=backend)
    assert session.backend == backend
    found = np.concatenate([next(iter(session.run({name: x[None]}).values())) for x in images])
    error = found.astype(np.float64) - expected
    assert np.mean(error**2) <= noise * np.var(expected)
    best = expected[np.arange(len(images)), found.argmax(1)]
    assert (best >= expected.max(1) - 0.05 * expected.std()).all(), (
        "no class but one that ties within a level"
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("made", MADE)
def test_models_of_onnxruntimes_quantizer(made: str, backend: str, tmp_path: Path) -> None:
    images = np.random.default_rng(1).standard_normal((12, 3, 16, 16)).astype(np.float32)
    path = MADE[made](network(), tmp_path, images[:8])
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    wanted = {"dynamic": "ConvInteger", "QOperator": "QLinearConv", "QDQ": "DequantizeLinear"}
    assert wanted[made.split()[0]] in kinds
    compare(path, images, backend, 1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("made", ["QOperator per channel", "dynamic s8 per channel"])
def test_a_trained_network_quantized_by_onnxruntime(
    shared_data: Path, made: str, backend: str, tmp_path: Path
) -> None:
    file = np.load(shared_data / "cifar10-jpeg.npz")
    offsets, data = file["test_offsets"], file["test_jpeg"].tobytes()
    files = [io.BytesIO(data[a:b]) for a, b in itertools.pairwise(offsets[:31].tolist())]
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    images = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    images = np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)
    model = rdq.load(shared_data / "models" / "cifar10_resnet20.onnx").proto
    path = MADE[made](model, tmp_path, images[:16])
    compare(path, images, backend, 1e-3)
