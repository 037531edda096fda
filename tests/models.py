"""Tiny ONNX models that the tests share, each with one property."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import DTypeLike, NDArray
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def _values(shape: tuple[int, ...], seed: int, dtype: DTypeLike = np.float32) -> NDArray[np.generic]:
    return (np.random.default_rng(seed).standard_normal(shape) * 0.2).astype(dtype)


def build(
    nodes: Sequence[onnx.NodeProto],
    tensors: dict[str, NDArray[np.generic]],
    inputs: dict[str, Sequence[int | str]],
    outputs: dict[str, Sequence[int | str] | None],
    opset: int = 17,
    kind: int = FLOAT,
) -> onnx.ModelProto:
    """A model from its parts; an output whose shape is None has none in the file."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(n, kind, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, kind, s) for n, s in outputs.items()],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def cnn(dtype: DTypeLike = np.float32, batch: int | str = "N") -> onnx.ModelProto:
    """Conv, BatchNormalization, Relu, Conv without bias, pooling, Gemm: 10 learned tensors, 890 values."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [
        helper.make_node("Conv", ["x", "conv1.w", "conv1.b"], ["c1"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c1", "bn.s", "bn.b", "bn.m", "bn.v"], ["n1"], "bn"),
        helper.make_node("Relu", ["n1"], ["r1"], "relu"),
        helper.make_node("Conv", ["r1", "conv2.w"], ["c2"], "conv2", strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["c2"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "fc.w", "fc.b"], ["y"], "fc", transB=1),
    ]
    tensors = {
        # Not in the order of use, to tell graph order from file order.
        "fc.w": _values((10, 8), 1, dtype),
        "fc.b": _values((10,), 2, dtype),
        "conv1.w": _values((8, 3, 3, 3), 3, dtype),
        "conv1.b": _values((8,), 4, dtype),
        "bn.s": _values((8,), 5, dtype) + np.asarray(1, dtype),
        "bn.b": _values((8,), 6, dtype),
        "bn.m": _values((8,), 7, dtype),
        "bn.v": np.abs(_values((8,), 8, dtype)) + np.asarray(0.5, dtype),
        "conv2.w": _values((8, 8, 3, 3), 9, dtype),
    }
    return build(nodes, tensors, {"x": [batch, 3, 8, 8]}, {"y": [batch, 10]}, kind=kind)


CNN_ORDER = ["conv1.w", "conv1.b", "bn.s", "bn.b", "bn.m", "bn.v", "conv2.w", "fc.w", "fc.b"]
CNN_COUNT = 8 * 27 + 8 + 4 * 8 + 8 * 72 + 80 + 10


def dense(opset: int = 17, hidden: int = 64) -> onnx.ModelProto:
    """MatMul and Add twice; the first weight is big enough to be left in the file while the graph is read."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["m1"], "mm1"),
        helper.make_node("Add", ["m1", "b1"], ["a1"], "add1"),
        helper.make_node("Relu", ["a1"], ["r1"], "relu"),
        helper.make_node("MatMul", ["r1", "w2"], ["m2"], "mm2"),
        helper.make_node("Add", ["m2", "b2"], ["y"], "add2"),
    ]
    tensors = {
        "w1": _values((16, hidden), 1),
        "b1": _values((hidden,), 2),
        "w2": _values((hidden, 4), 3),
        "b2": _values((4,), 4),
    }
    return build(nodes, tensors, {"x": ["N", 16]}, {"y": ["N", 4]}, opset)


def in_constant_nodes() -> onnx.ModelProto:
    """`dense` with every weight in a Constant node."""
    model = dense()
    nodes = [
        helper.make_node("Constant", [], [t.name], f"const_{t.name}", value=t)
        for t in model.graph.initializer
    ]
    nodes += list(model.graph.node)
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def shared_and_forwarded() -> onnx.ModelProto:
    """One weight used by two nodes, once through Identity and Transpose: counted once."""
    nodes = [
        helper.make_node("Identity", ["w"], ["w_id"], "identity"),
        helper.make_node("MatMul", ["x", "w_id"], ["m"], "first"),
        helper.make_node("Transpose", ["w"], ["w_t"], "transpose", perm=[1, 0]),
        helper.make_node("MatMul", ["m", "w_t"], ["y"], "second"),
    ]
    return build(nodes, {"w": _values((8, 8), 1)}, {"x": ["N", 8]}, {"y": ["N", 8]})


def with_settings() -> onnx.ModelProto:
    """Floats that are no weights (a factor, settings of Clip, Pad, Resize) and one that is, in PRelu."""
    nodes = [
        helper.make_node("Mul", ["x", "factor"], ["scaled"], "scale"),
        helper.make_node("Clip", ["scaled", "low", "high"], ["clipped"], "clip"),
        helper.make_node("Pad", ["clipped", "pads", "fill"], ["padded"], "pad"),
        helper.make_node("Resize", ["padded", "", "scales"], ["sized"], "resize", mode="nearest"),
        helper.make_node("PRelu", ["sized", "slope"], ["y"], "prelu"),
    ]
    tensors: dict[str, NDArray[np.generic]] = {
        "factor": np.array([1 / 255], np.float32),
        "low": np.array(0, np.float32),
        "high": np.array(6, np.float32),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
        "fill": np.array(0.5, np.float32),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "slope": np.array([0.1], np.float32),
    }
    return build(nodes, tensors, {"x": ["N", 1, 4, 4]}, {"y": ["N", 1, 12, 12]})


def foldable() -> onnx.ModelProto:
    """A shape computed from constants: 5 nodes, of which Reshape and MatMul remain."""
    nodes = [
        helper.make_node("Concat", ["head", "tail"], ["joined"], "join", axis=0),
        helper.make_node("Identity", ["joined"], ["shape"], "copy"),
        helper.make_node("Reshape", ["x", "shape"], ["flat"], "reshape"),
        helper.make_node("Identity", ["flat"], ["same"], "same"),
        helper.make_node("MatMul", ["same", "w"], ["y"], "mm"),
    ]
    tensors: dict[str, NDArray[np.generic]] = {
        "head": np.array([-1], np.int64),
        "tail": np.array([16], np.int64),
        "w": _values((16, 4), 1),
    }
    return build(nodes, tensors, {"x": ["N", 4, 4]}, {"y": ["N", 4]})


def branching() -> onnx.ModelProto:
    """An If whose branches use a weight of the main graph and one of their own."""
    value = helper.make_tensor_value_info
    then = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["then_y"], "then_mm")],
        "then",
        [],
        [value("then_y", FLOAT, None)],
    )
    other = helper.make_graph(
        [helper.make_node("MatMul", ["x", "inner"], ["else_y"], "else_mm")],
        "else",
        [],
        [value("else_y", FLOAT, None)],
        [numpy_helper.from_array(_values((16, 32), 2), "inner")],
    )
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], "sum", keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"], "greater"),
        helper.make_node("If", ["positive"], ["y"], "if", then_branch=then, else_branch=other),
    ]
    tensors = {"zero": np.array(0, np.float32), "w": _values((16, 32), 1)}
    return build(nodes, tensors, {"x": [2, 16]}, {"y": [2, 32]})


def cyclic() -> onnx.ModelProto:
    """Two nodes that need each other."""
    nodes = [
        helper.make_node("Add", ["x", "b"], ["a"], "left"),
        helper.make_node("Relu", ["a"], ["b"], "right"),
    ]
    return build(nodes, {}, {"x": [1, 4]}, {"b": [1, 4]})


def save_external(model: onnx.ModelProto, folder: Path, location: str = "weights.bin") -> Path:
    """The model with its weights in a second file; the path of the first."""
    path = folder / "external.onnx"
    onnx.save(model, path, save_as_external_data=True, location=location, size_threshold=0)
    return path
