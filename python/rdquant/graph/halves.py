"""Models in float16 and bfloat16 as models in float32, and back at their inputs and outputs."""

from __future__ import annotations

import numpy as np

from ..errors import needed
from .checks import subgraphs
from .model import Model, rebuilt
from .tensors import Stored, parameters_of
from .writer import referring

with needed():
    import onnx
    from onnx import TensorProto, helper, numpy_helper

__all__ = ["has_halves", "widened", "with_ports_of"]

_HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
_TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype", "softmax_precision", "stash_type")


def has_halves(model: Model) -> bool:
    """Whether a tensor, an input, an output or a conversion of `model` is float16 or bfloat16."""
    graph, tensors = model.parts()
    skeleton = onnx.ModelProto.FromString(graph)
    kinds = [t.data_type for t in tensors.values()] + [t.data_type for t in skeleton.graph.initializer]
    kinds += [p.type.tensor_type.elem_type for p in (*skeleton.graph.input, *skeleton.graph.output)]
    kinds += [a.i for n in skeleton.graph.node for a in n.attribute if n.op_type == "Cast" and a.name == "to"]
    return any(kind in _HALVES for kind in kinds)


def widened(model: Model) -> Model:
    """`model` with float32 in place of float16 and bfloat16; itself where it has none.

    Weights keep their values; what is computed from them is no longer rounded to half precision. Conversions that only
    change the storage go.
    """
    if not has_halves(model):
        return model
    graph, tensors = model.parts()
    skeleton = onnx.ModelProto.FromString(graph)
    _widen_graph(skeleton.graph)
    wide = {name: _widened_tensor(stored) for name, stored in tensors.items()}
    _drop_conversions(skeleton.graph, {name for name, stored in tensors.items() if stored.is_float})
    parameters = parameters_of(referring(skeleton, wide, "weights"), wide, model.source)
    return rebuilt(model, skeleton, wide, parameters)


def with_ports_of(model: Model, original: Model) -> Model:
    """`model`, which `widened` made of `original`, with the element types of its inputs and outputs."""
    skeleton = onnx.ModelProto.FromString(model.parts()[0])
    graph = skeleton.graph
    before = _cast_ports(graph, graph.input, original.skeleton.graph.input, inputs=True)
    after = _cast_ports(graph, graph.output, original.skeleton.graph.output, inputs=False)
    nodes = [*before, *graph.node, *after]
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    return model.with_graph(skeleton)


def _widen_graph(graph: onnx.GraphProto) -> None:
    for tensor in graph.initializer:
        _widen_proto(tensor)
    for port in (*graph.input, *graph.output, *graph.value_info):
        if port.type.tensor_type.elem_type in _HALVES:
            port.type.tensor_type.elem_type = TensorProto.FLOAT
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name in _TYPE_ATTRIBUTES and attribute.i in _HALVES:
                attribute.i = TensorProto.FLOAT
            elif attribute.type == onnx.AttributeProto.TENSOR:
                _widen_proto(attribute.t)
        for inner in subgraphs(node):
            _widen_graph(inner)


def _widen_proto(tensor: onnx.TensorProto) -> None:
    if tensor.data_type in _HALVES:
        values = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _widened_tensor(stored: Stored) -> Stored:
    if stored.data_type not in _HALVES:
        return stored
    values = np.ascontiguousarray(stored.array(), np.float32)
    return Stored(TensorProto.FLOAT, stored.dims, values.reshape(-1).view(np.uint8))


def _drop_conversions(graph: onnx.GraphProto, floats: set[str]) -> None:
    """Takes out Cast nodes from float32 to float32, as far as the types are known."""
    single = floats | {t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    ports = (*graph.input, *graph.value_info, *graph.output)
    single |= {p.name for p in ports if p.type.tensor_type.elem_type == TensorProto.FLOAT}
    outputs = {o.name for o in graph.output}
    same: dict[str, str] = {}
    nodes = []
    for node in graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
        to = next((a.i for a in node.attribute if a.name == "to"), None)
        if node.op_type == "Cast" and to == TensorProto.FLOAT:
            single.add(node.output[0])
            if (
                node.input[0] in single
                and node.output[0] not in outputs
                and not _inside(graph, node.output[0])
            ):
                same[node.output[0]] = node.input[0]
                continue
        nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
    del graph.node[:]
    graph.node.extend(nodes)


def _inside(graph: onnx.GraphProto, name: str) -> bool:
    """Whether a graph within a node reads the value `name`."""
    inner = [sub for node in graph.node for sub in subgraphs(node)]
    return any(name in node.input or _inside(sub, name) for sub in inner for node in sub.node)


def _cast_ports(
    graph: onnx.GraphProto, ports: list[onnx.ValueInfoProto], wanted: list[onnx.ValueInfoProto], inputs: bool
) -> list[onnx.NodeProto]:
    """Gives `ports` of `graph` the wanted types; the nodes that convert between them and what they were."""
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    nodes = []
    for port, like in zip(ports, wanted, strict=True):
        kind, old = like.type.tensor_type.elem_type, port.type.tensor_type.elem_type
        if kind == old:
            continue
        inner = f"{port.name}_float32"
        while inner in taken:
            inner += "_"
        taken.add(inner)
        for node in graph.node:
            _rename(node, port.name, inner)
        ends = (port.name, inner) if inputs else (inner, port.name)
        nodes.append(helper.make_node("Cast", [ends[0]], [ends[1]], to=old if inputs else kind))
        port.type.tensor_type.elem_type = kind
    return nodes


def _rename(node: onnx.NodeProto, old: str, new: str) -> None:
    node.input[:] = [new if name == old else name for name in node.input]
    node.output[:] = [new if name == old else name for name in node.output]
    for inner in subgraphs(node):
        for child in inner.node:
            _rename(child, old, new)
