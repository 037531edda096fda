"""Gradients of graphs, against central differences in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import models
import rdquant as rdq
from random_networks import RandomNetwork
from rdquant.calibrate.gradients import value_shapes
from rdquant.graph.gradient import backward
from rdquant.graph.tape import Tape

Array = NDArray[Any]
STEP = 1e-6


def doubled(model: onnx.ModelProto) -> rdq.Session:
    """The same network in float64."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            wide = numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
    for port in (*copy.graph.input, *copy.graph.output):
        port.type.tensor_type.elem_type = TensorProto.DOUBLE
    for cast in (n for n in copy.graph.node if n.op_type == "Cast"):
        cast.attribute[0].i = TensorProto.DOUBLE
    del copy.graph.value_info[:]
    return rdq.Session(rdq.load(copy), backend="reference")


def gradient(model: rdq.Model, x: Array, seeds: Array, of: str) -> Array | None:
    """Of Σ seeds·of to the model's input; None where there is none."""
    port = model.inputs[0].name
    tape = Tape(model, value_shapes(model, x[:1]))
    seed = tape.input(tape.shapes[of])
    names = backward(tape, of, seed, [port])
    if port not in names:
        return None
    graph = tape.finished({names[port]: tape.shapes[port]})
    return rdq.Session(graph).run({port: x, seed: seeds})[names[port]]


def check(model: onnx.ModelProto, x: Array, of: str | None = None, tolerance: float = 1e-5) -> None:
    """The gradient of a weighted sum of an output, against central differences in float64 in a few directions."""
    random = np.random.default_rng(7)
    loaded, session = rdq.load(model), doubled(model)
    port, name = loaded.inputs[0].name, of or loaded.outputs[0].name
    wide = x.astype(np.float32).astype(np.float64)
    seeds = random.standard_normal(session.run({port: wide})[name].shape).astype(np.float32)
    found = gradient(loaded, x.astype(np.float32), seeds, name)
    assert found is not None
    assert found.shape == x.shape
    for _ in range(12):
        way = random.standard_normal(x.shape) * (random.random(x.shape) < 0.2)
        ends = [session.run({port: wide + sign * STEP * way})[name] for sign in (1, -1)]
        wanted = float((seeds * (ends[0] - ends[1])).sum() / (2 * STEP))
        scale = float(np.linalg.norm(found) * np.linalg.norm(way)) + 1e-3
        assert float((found * way).sum()) == pytest.approx(wanted, abs=tolerance * scale)


def node(kind: str, *tensors: Array, into: int = 0, opset: int = 17, rank: int = 4, **known: Any) -> Any:
    """A network of one node; `tensors`: its inputs but the image, which is the one at `into`."""
    names = [f"t{i}" for i in range(len(tensors))]
    nodes = [helper.make_node(kind, [*names[:into], "x", *names[into:]], ["y"], kind, **known)]
    given = dict(zip(names, map(np.asarray, tensors), strict=True))
    shape = [4, 7, 6][: rank - 1]
    return models.build(nodes, given, {"x": ["N", *shape]}, {"y": [f"d{i}" for i in range(8)][:4]}, opset)


def weights(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def spaced(*shape: int) -> Array:
    """Values from −4 to 4 in random order, none like another, none near a whole number."""
    count = int(np.prod(shape))
    values = (np.arange(count) - (count - 1) / 2) * (8 / count)
    values += 1e-3 * np.where(np.abs(values - np.rint(values)) < 1e-3, 2, 0)
    return np.random.default_rng(3).permutation(values).reshape(shape)


CONVOLUTIONS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "plain": ((5, 4, 3, 3), {}),
    "padded": ((5, 4, 3, 3), {"pads": [1, 1, 1, 1]}),
    "pads differ": ((5, 4, 3, 2), {"pads": [2, 0, 1, 1]}),
    "strided": ((5, 4, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "strides differ": ((5, 4, 3, 2), {"strides": [2, 3]}),
    "stride beyond the kernel": ((5, 4, 1, 2), {"strides": [3, 3]}),
    "even kernel, strided": ((5, 4, 4, 2), {"strides": [2, 2], "pads": [1, 0, 2, 1]}),
    "dilated": ((5, 4, 3, 2), {"dilations": [2, 3], "pads": [2, 1, 0, 1]}),
    "dilated and strided": ((5, 4, 2, 2), {"dilations": [3, 2], "strides": [2, 3], "pads": [1, 1, 1, 1]}),
    "same upper": ((5, 4, 4, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "same lower": ((5, 4, 4, 2), {"auto_pad": "SAME_LOWER"}),
    "valid": ((5, 4, 3, 3), {"auto_pad": "VALID"}),
    "grouped": ((6, 2, 3, 3), {"group": 2, "pads": [1, 1, 1, 1]}),
    "grouped and strided": ((6, 2, 3, 3), {"group": 2, "strides": [2, 1]}),
    "depthwise": ((4, 1, 3, 3), {"group": 4, "pads": [1, 1, 1, 1]}),
    "depthwise and strided": ((4, 1, 5, 3), {"group": 4, "strides": [2, 2], "pads": [2, 1, 2, 1]}),
    "windows in the padding": ((5, 4, 1, 1), {"pads": [1, 1, 2, 1]}),
    "pads beyond the kernel": ((5, 4, 2, 2), {"pads": [3, 2, 0, 0], "strides": [2, 1]}),
    "one axis": ((5, 4, 3), {"pads": [1, 0], "strides": [2]}),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolutions(case: str) -> None:
    shape, known = CONVOLUTIONS[case]
    x = weights(3, 4, 7, 6, seed=1) if len(shape) == 4 else weights(3, 4, 7, seed=1)
    model = models.build(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"], "conv", **known)],
        {"w": weights(*shape), "b": weights(shape[0])},
        {"x": ["N", *x.shape[1:]]},
        {"y": ["N", "c", "h", "w"][: x.ndim]},
    )
    check(model, x)


POOLS: dict[str, tuple[str, dict[str, Any]]] = {
    "maximum": ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "maximum, padded": ("MaxPool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    "maximum, overlapping": ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2]}),
    "maximum, ceiling": ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    "maximum, same": ("MaxPool", {"kernel_shape": [2, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "maximum, dilated": ("MaxPool", {"kernel_shape": [2, 3], "strides": [1, 2], "dilations": [3, 2]}),
    "average": ("AveragePool", {"kernel_shape": [2, 3], "strides": [2, 3]}),
    "average, padded": ("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 1], "pads": [1, 0, 1, 1]}),
    "average, pads count": (
        "AveragePool",
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 0, 1, 1], "count_include_pad": 1},
    ),
    "average, ceiling": (
        "AveragePool",
        {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "pads": [0, 1, 0, 1]},
    ),
    "average, same": ("AveragePool", {"kernel_shape": [2, 4], "auto_pad": "SAME_LOWER"}),
    "global average": ("GlobalAveragePool", {}),
    "global maximum": ("GlobalMaxPool", {}),
}


@pytest.mark.parametrize("case", POOLS)
def test_pools(case: str) -> None:
    kind, known = POOLS[case]
    check(node(kind, **known), spaced(3, 4, 7, 6))


def test_equal_maxima_share_a_gradient() -> None:
    model = rdq.load(node("MaxPool", kernel_shape=[2, 2], strides=[2, 2], pads=[1, 0, 0, 0]))
    found = gradient(model, np.zeros((2, 4, 7, 6), np.float32), np.ones((2, 4, 4, 3), np.float32), "y")
    assert found is not None
    np.testing.assert_array_equal(
        found[:, :, 0], np.full((2, 4, 6), 0.5)
    )  # the window's other half is padding
    np.testing.assert_array_equal(found[:, :, 1:], np.full((2, 4, 6, 6), 0.25))


FUNCTIONS: dict[str, Any] = {
    "relu": node("Relu"),
    "leaky relu": node("LeakyRelu", alpha=0.3),
    "prelu": node("PRelu", weights(4, 1, 1)),
    "clip": node("Clip", np.float32(-1), np.float32(2)),
    "clip below": node("Clip", np.float32(0.3)),
    "clip nothing": node("Clip"),
    "clip far away": node("Clip", np.float32(0), np.finfo(np.float32).max),
    "hard sigmoid": node("HardSigmoid", alpha=0.3, beta=0.6),
    "hard swish": node("HardSwish"),
    "sigmoid": node("Sigmoid"),
    "tanh": node("Tanh"),
    "elu": node("Elu", alpha=0.7),
    "softplus": node("Softplus"),
    "mish": node("Mish", opset=18),
    "erf": node("Erf"),
    "gelu": node("Gelu", opset=20),
    "exp": node("Exp"),
    "neg": node("Neg"),
    "cube": node("Pow", np.float32(3)),
    "identity": node("Identity"),
    "dropout": node("Dropout", np.float32(0.5)),
    "normalisation": node(
        "BatchNormalization", weights(4), weights(4), weights(4), np.abs(weights(4)) + 0.5, epsilon=0.1
    ),
    "add": node("Add", weights(4, 1, 1)),
    "subtract": node("Sub", weights(7, 1)),
    "subtract from": node("Sub", weights(4, 1, 6), into=1),
    "multiply": node("Mul", weights(4, 1, 1)),
    "divide": node("Div", weights(4, 1, 1)),
    "divide by": node("Div", weights(4, 7, 6), into=1),
    "softmax": node("Softmax", axis=2),
    "layer normalisation": node("LayerNormalization", weights(6), weights(6), epsilon=0.01),
    "layer normalisation of two axes": node("LayerNormalization", weights(7, 6), axis=2),
    "gather": node("Gather", np.array(-2), axis=2),
    "gather, axis kept": node("Gather", np.array([1]), axis=3),
    "pad": node("Pad", np.array([0, 1, 2, 0, 0, 0, 1, 3]), np.float32(2)),
    "pad and crop": node("Pad", np.array([0, -1, 2, -2, 0, 1, 0, 3])),
    "pad named axes": node("Pad", np.array([1, 2, 0, 1]), np.float32(0), np.array([-1, 1]), opset=18),
    "slice": node("Slice", np.array([1, -5]), np.array([3, 99]), np.array([1, 3])),
    "slice in steps": node("Slice", np.array([0, 1]), np.array([99, 99]), np.array([2, 3]), np.array([3, 2])),
    "mean": node("ReduceMean", axes=[2, 3], keepdims=1),
    "mean without axes": node("ReduceMean", axes=[-1, 1], keepdims=0),
    "mean, axes given": node("ReduceMean", np.array([2]), opset=18, keepdims=0),
    "sum": node("ReduceSum", np.array([1, 3])),
    "transpose": node("Transpose", perm=[0, 2, 3, 1]),
    "flatten": node("Flatten"),
    "reshape": node("Reshape", np.array([0, 2, -1])),
    "unsqueeze": node("Unsqueeze", np.array([1])),
    "matrix product": node("MatMul", weights(6, 5)),
    "product with matrices": node("MatMul", weights(4, 6, 5)),
    "product from the left": node("MatMul", weights(4, 5, 7), into=1),
}


@pytest.mark.parametrize("case", FUNCTIONS)
def test_functions(case: str) -> None:
    check(FUNCTIONS[case], spaced(3, 4, 7, 6))


def test_square_root() -> None:
    check(node("Sqrt"), np.abs(spaced(2, 4, 7, 6)) + 0.5)


@pytest.mark.parametrize("known", [{}, {"transB": 1, "alpha": 0.5}], ids=["plain", "transposed"])
def test_gemm(known: dict[str, Any]) -> None:
    matrix = weights(5, 7) if known else weights(7, 5)
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], "gemm", **known)]
    check(
        models.build(nodes, {"w": matrix, "b": weights(5)}, {"x": ["N", 7]}, {"y": ["N", 5]}), weights(3, 7)
    )


GRAPHS: dict[str, list[onnx.NodeProto]] = {
    "gate": [  # squeeze and excitation, by which every channel is multiplied
        helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        helper.make_node("Conv", ["p", "w"], ["c"]),
        helper.make_node("Sigmoid", ["c"], ["s"]),
        helper.make_node("Mul", ["x", "s"], ["y"]),
    ],
    "quotient of two": [
        helper.make_node("Exp", ["x"], ["e"]),
        helper.make_node("ReduceSum", ["e", "one"], ["s"]),
        helper.make_node("Div", ["e", "s"], ["y"]),
    ],
    "the same twice": [
        helper.make_node("Mul", ["x", "x"], ["m"]),
        helper.make_node("Add", ["m", "m"], ["a"]),
        helper.make_node("Sum", ["a", "x", "m"], ["y"]),
    ],
    "concatenation": [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Concat", ["x", "r", "x"], ["c"], axis=-3),
        helper.make_node("Split", ["c", "parts"], ["s", "t"], axis=1),
        helper.make_node("Tanh", ["t"], ["y"]),  # nothing reads the other part
    ],
    "attention": [
        helper.make_node("Reshape", ["x", "flat"], ["f"]),
        helper.make_node("Transpose", ["f"], ["t"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["f", "t"], ["y"]),
    ],
    "expansion": [
        helper.make_node("GlobalMaxPool", ["x"], ["p"]),
        helper.make_node("Expand", ["p", "sizes"], ["e"]),
        helper.make_node("Cast", ["e"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "f"], ["y"]),
    ],
    "squeeze": [
        helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        helper.make_node("Squeeze", ["p", "last"], ["y"]),
    ],
}


@pytest.mark.parametrize("case", GRAPHS)
def test_graphs(case: str) -> None:
    tensors = {
        "w": weights(4, 4, 1, 1),
        "one": np.array([1]),
        "parts": np.array([5, 7]),
        "flat": np.array([0, 4, -1]),
        "last": np.array([2, 3]),
        "sizes": np.array([1, 4, 7, 6]),
    }
    nodes = GRAPHS[case]
    used = {name for n in nodes for name in n.input}
    given = {name: value for name, value in tensors.items() if name in used}
    ports = {"y": [f"d{i}" for i in range({"attention": 3, "squeeze": 2}.get(case, 4))]}
    check(models.build(nodes, given, {"x": ["N", 4, 7, 6]}, ports), spaced(3, 4, 7, 6))


@pytest.mark.parametrize("seed", range(25))
def test_random_networks(seed: int) -> None:
    model = RandomNetwork(seed).model()
    reached = {"x"}
    for n in model.graph.node:
        if reached & set(n.input):
            reached |= set(n.output)
    for output in model.graph.output:
        assert output.name in reached
    check(model, weights(2, 8, 9, 9, seed=seed + 100), tolerance=2e-5)


@pytest.mark.parametrize(
    ("name", "side"), [("mnist-8", 28), ("cifar10_resnet20", 32), ("squeezenet1.1-7", 63)]
)
def test_real_networks(shared_data: Path, name: str, side: int) -> None:
    model = onnx.load(shared_data / "models" / f"{name}.onnx")
    channels = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    check(model, weights(1, channels, side, side, seed=5), tolerance=2e-4)
