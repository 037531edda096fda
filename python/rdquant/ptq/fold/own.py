"""Weights of their own for layers that share them, or whose weights the graph computes from others."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import needed
from ...graph import Model
from ...graph.tensors import Stored
from ..obstacles import of_levels
from ..recurrent import RECURRENT
from .rewiring import remade, stored_as

with needed():
    import onnx
    from onnx import TensorProto, helper

__all__ = ["merged", "with_own_weights"]

_SMALL = 1024  # bytes that are not worth a second reader
_WEIGHTED = ("Conv", "Gemm", "MatMul")
_PLACES = dict.fromkeys(_WEIGHTED, 2) | dict.fromkeys(
    RECURRENT, 3
)  # weights lie among inputs from 1 up to these


def with_own_weights(model: Model) -> Model:
    """The same function, in which each convolution and product with a constant factor reads a weight that no other node
    does; the model itself where all do. `merged` undoes what has stayed equal.

    Weights that are computed from constants (weight normalization) are stored as they come out.
    """
    graph, stored = model.parts()
    skeleton = onnx.ModelProto.FromString(graph)
    tensors = dict(stored)
    changed = _store_computed(skeleton, tensors)
    changed = _separate(skeleton.graph, tensors) or changed
    return remade(model, skeleton, tensors) if changed else model


def merged(model: Model) -> Model:
    """`model` with one of large tensors that hold the same; the model itself where all differ."""
    graph, stored = model.parts()
    alike: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    first: dict[str, str] = {}
    for name, tensor in stored.items():
        if tensor.data.nbytes < _SMALL:
            continue
        known = alike[tensor.data_type, tensor.dims]
        same = next((other for other in known if np.array_equal(stored[other].data, tensor.data)), None)
        if same is None:
            known.append(name)
        else:
            first[name] = same
    if not first:
        return model
    skeleton = onnx.ModelProto.FromString(graph)
    for node in skeleton.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = first.get(name, name)
    kept = {o.name for o in skeleton.graph.output}
    return remade(model, skeleton, {n: t for n, t in stored.items() if n not in first or n in kept})


def _store_computed(skeleton: onnx.ModelProto, tensors: dict[str, Stored]) -> bool:
    """Turns weights that nodes make of constants into constants."""
    graph = skeleton.graph
    makers = {name: node for node in graph.node for name in node.output}
    constant = set(tensors) | {t.name for t in graph.initializer}
    levels = of_levels(graph.node) is not None  # a layer of levels is not quantized again
    for node in graph.node:
        plain = not any(a.type in (a.GRAPH, a.GRAPHS) for a in node.attribute)
        plain = plain and not (levels and node.op_type == "DequantizeLinear")
        if plain and all(name in constant for name in node.input if name):
            constant.update(node.output)
    layers = (n for n in graph.node if n.op_type in _PLACES and n.input[0] not in constant)
    wanted = {name for n in layers for name in n.input[1 : _PLACES[n.op_type]]}
    wanted = {name for name in wanted if name in constant and name in makers}
    if not wanted:
        return False
    for name, values in _computed(skeleton, tensors, sorted(wanted)).items():
        tensors[name] = stored_as(values, helper.np_dtype_to_tensor_dtype(values.dtype))
    used = {o.name for o in graph.output}
    kept = []
    for node in reversed(graph.node):
        if set(node.output) <= wanted or not used & set(node.output):
            continue
        used.update(node.input)
        kept.append(node)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in reversed(kept)]
    del graph.node[:]
    graph.node.extend(nodes)
    return True


def _computed(
    skeleton: onnx.ModelProto, tensors: dict[str, Stored], names: list[str]
) -> dict[str, NDArray[Any]]:
    with needed():
        from onnx.reference import ReferenceEvaluator  # where it is used: few models compute their weights
        from onnx.reference.op_run import OpRun

    needs, nodes = set(names), []
    for node in reversed(skeleton.graph.node):  # makers come before readers
        if needs & set(node.output):
            needs.update(node.input)
            nodes.append(node)
    fixed = {name for node in nodes for name in node.input}
    constants = [t for t in skeleton.graph.initializer if t.name in fixed]
    constants += [
        onnx.TensorProto(name=n, data_type=t.data_type, dims=t.dims, raw_data=t.data.tobytes())
        for n, t in tensors.items()
        if n in fixed
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
    graph = helper.make_graph(nodes[::-1], "weights", [], outputs, constants)
    part = helper.make_model(graph, opset_imports=list(skeleton.opset_import))

    class DequantizeLinear(OpRun):  # type: ignore[misc]
        """That of opset 13, which the evaluator lacks."""

        op_domain = ""

        def _run(self, x: Any, scale: Any, zero: Any = None, axis: int = 1, **_: Any) -> tuple[NDArray[Any]]:
            shape = [1] * x.ndim
            if scale.size > 1:
                shape[axis] = -1
            levels = x.astype(np.int32) - (0 if zero is None else zero.astype(np.int32).reshape(shape))
            return ((levels * scale.reshape(shape)).astype(scale.dtype),)

    version = next(o.version for o in skeleton.opset_import if o.domain in ("", "ai.onnx"))
    older = [DequantizeLinear] if version < 19 else []
    evaluator = ReferenceEvaluator(part, new_ops=older)
    return dict(zip(names, evaluator.run(None, {}), strict=True))


def _separate(graph: onnx.GraphProto, tensors: dict[str, Stored]) -> bool:
    """Gives each layer but the first of those that share a weight, or a bias, one of its own."""
    uses = Counter(name for node in graph.node for name in node.input if name in tensors)
    taken = {*tensors, *(name for node in graph.node for name in (*node.input, *node.output))}
    changed = False
    for node in graph.node:
        if node.op_type not in _PLACES or node.input[0] in tensors:
            continue
        for i in range(1, 3 if node.op_type in RECURRENT else len(node.input)):
            name = node.input[i]
            if uses[name] < 2:
                continue
            number = 2
            while (own := f"{name}.{number}") in taken:
                number += 1
            taken.add(own)
            uses[name] -= 1
            node.input[i], tensors[own] = own, tensors[name]
            changed = True
    return changed
