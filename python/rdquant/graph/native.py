"""A Model as the engine's Graph: nodes and attributes copied, tensors viewed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core.graph import Graph
from .._core.program import operators
from ..errors import Unsupported, needed
from .checks import describe
from .model import Model
from .ports import ELEMENT_TYPES

with needed():
    import onnx
    import onnx.inliner
    import onnx.shape_inference
    from onnx import AttributeProto, TensorProto, numpy_helper

__all__ = ["build_graph", "native_graph"]


def native_graph(model: Model) -> Graph:
    """The graph of `model` for the C++ engine, which views the model's own arrays.

    Raises Unsupported for subgraphs and for element types beyond integers, booleans and float16/32/64.
    """
    try:
        return build_graph(model.name, model.skeleton, model.tensors())
    except Unsupported as error:
        note = model.summary().get("loop_note")
        raise Unsupported(f"{error} ({note})") if note else error from None


def build_graph(
    name: str, skeleton: onnx.ModelProto, tensors: Mapping[str, tuple[int, NDArray[Any]]]
) -> Graph:
    """The graph for the C++ engine, from one of any opset.

    Args:
        name: of the model, for messages.
        skeleton: the graph.
        tensors: ONNX element type and array, of any dtype and shape (its bytes count), of the initializers whose data are
            not in the graph.

    Raises Unsupported as `native_graph` does.
    """
    skeleton = _expanded(skeleton)
    opsets = {o.domain: o.version for o in skeleton.opset_import}
    graph = Graph(name, opsets.get("", opsets.get("ai.onnx", 1)))
    for tensor in skeleton.graph.initializer:
        if tensor.name in tensors:
            kind, array = tensors[tensor.name]
        else:
            kind, array = tensor.data_type, np.ascontiguousarray(numpy_helper.to_array(tensor))
        dtype = _kind(kind, f"tensor {tensor.name!r}")
        graph.add_initializer(tensor.name, array, dtype, list(tensor.dims))
    for port in skeleton.graph.input:
        _add_input(graph, port)
    for node in skeleton.graph.node:
        graph.add_node(
            node.op_type,
            "" if node.domain == "ai.onnx" else node.domain,
            node.name,
            list(node.input),
            list(node.output),
            {a.name: _value(a, node) for a in node.attribute},
        )
    for output in skeleton.graph.output:
        graph.add_output(output.name)
    return graph


@cache
def _own_operators() -> frozenset[str]:
    return frozenset(operators())


def _expanded(skeleton: onnx.ModelProto) -> onnx.ModelProto:
    """`skeleton` with what ONNX defines by other operators, and the engine lacks, in terms of these."""
    lacking = {n.op_type for n in skeleton.graph.node if n.domain in ("", "ai.onnx")} - _own_operators()
    if not any(map(_has_function, lacking)):
        return skeleton
    kept = [("", op) for op in _own_operators()]
    typed = onnx.ModelProto()
    typed.CopyFrom(skeleton)
    for node in typed.graph.node:
        if node.op_type in lacking:
            _complete(node)
    for tensor in skeleton.graph.initializer:  # the inliner looks for types of values here alone
        info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        typed.graph.value_info.append(info)
    try:
        typed = onnx.shape_inference.infer_shapes(typed)
        # It looks for the type of an input that is left out, too.
        typed.graph.value_info.append(onnx.helper.make_tensor_value_info("", TensorProto.FLOAT, None))
        return onnx.inliner.inline_selected_functions(typed, kept, exclude=True, inline_schema_functions=True)
    except (
        Exception
    ):  # RuntimeErrors of many kinds, TypeError of an older onnx: the operators stay, and are named
        return skeleton


def _complete(node: onnx.NodeProto) -> None:
    """Gives `node` the defaults of attributes that it leaves out, which the inliner forgets."""
    given = {a.name for a in node.attribute}
    try:
        known = onnx.defs.get_schema(node.op_type).attributes
    except onnx.defs.SchemaError:
        return
    defaults = [a.default_value for name, a in known.items() if name not in given]
    node.attribute.extend(a for a in defaults if a.type != AttributeProto.UNDEFINED)


def _has_function(op: str) -> bool:
    try:
        schema = onnx.defs.get_schema(op)
    except onnx.defs.SchemaError:
        return False
    return bool(schema.has_function or schema.has_context_dependent_function)


def _kind(number: int, what: str) -> str:
    kind = ELEMENT_TYPES.get(number)
    if kind is None:
        known = number in TensorProto.DataType.values()
        shown = TensorProto.DataType.Name(number) if known else number
        raise Unsupported(f"{what} has element type {shown}, which is not supported")
    return kind


def _add_input(graph: Graph, port: onnx.ValueInfoProto) -> None:
    if port.type.WhichOneof("value") != "tensor_type":
        raise Unsupported(
            f"input {port.name!r} is a {port.type.WhichOneof('value')}; only tensors are supported"
        )
    tensor = port.type.tensor_type
    sizes = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
    graph.add_input(port.name, _kind(tensor.elem_type, f"input {port.name!r}"), sizes)


def _value(attribute: onnx.AttributeProto, node: onnx.NodeProto) -> Any:
    if attribute.type == AttributeProto.TENSOR:
        _kind(attribute.t.data_type, f"{describe(node)}: attribute {attribute.name!r}")
        return np.ascontiguousarray(numpy_helper.to_array(attribute.t)).reshape(attribute.t.dims)
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.type == AttributeProto.STRING:
        return _text(value)
    if attribute.type == AttributeProto.STRINGS:
        return [_text(v) for v in value]
    if attribute.type in (AttributeProto.INT, AttributeProto.FLOAT):
        return value
    if attribute.type in (AttributeProto.INTS, AttributeProto.FLOATS):
        return list(value)
    kind = AttributeProto.AttributeType.Name(attribute.type)
    if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
        raise Unsupported(
            f"{describe(node)}: the operator is not supported: {attribute.name!r} is a graph within"
        )
    raise Unsupported(f"{describe(node)}: attribute {attribute.name!r} of kind {kind} is not supported")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
