"""Expansions before sums and products, which broadcast by themselves: a gate for each channel need not be as large as the
image that it multiplies (`expand_as` of efficient channel attention)."""

from __future__ import annotations

from ...errors import needed
from ...graph import Model
from .rewiring import readers_of, skip, without

with needed():
    import onnx

__all__ = ["without_expands"]

_BROADCAST = frozenset(("Add", "Div", "Mul", "Sub"))
Dims = tuple[int | str, ...]


def without_expands(model: Model) -> Model:
    """The same function without Expand where sums and products with values of the same shape alone read it; the model itself
    where there are none."""
    skeleton = onnx.ModelProto.FromString(model.parts()[0])
    graph = skeleton.graph
    known = {v.name: dims for v in (*graph.input, *graph.value_info) if (dims := _dims(v)) is not None}
    readers = readers_of(graph)
    shapes = {n.output[0]: {n.input[0]} for n in graph.node if n.op_type == "Shape" and not n.attribute}
    outputs = {o.name for o in graph.output}
    gone = []
    for node in graph.node:
        if node.op_type != "Expand" or node.output[0] in outputs:
            continue
        wide = known.get(node.output[0])
        alike = {name for name, dims in known.items() if dims == wide} | shapes.get(node.input[1], set())
        if not all(_broadcasts(reader, node.output[0], alike) for reader in readers[node.output[0]]):
            continue
        skip(node, node.input[0], readers)
        gone.append(node)
    return without(model, skeleton, gone)


def _broadcasts(node: onnx.NodeProto, value: str, alike: set[str]) -> bool:
    """Whether `node` gives the same where `value` is not expanded to the shape of those that are `alike`."""
    others = [name for name in node.input if name != value]
    return node.op_type in _BROADCAST and len(others) == 1 and others[0] in alike


def _dims(value: onnx.ValueInfoProto) -> Dims | None:
    """Sizes, or the names of those that inputs decide on; None where one is unknown."""
    if not value.type.tensor_type.HasField("shape"):
        return None
    dims = [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
    return tuple(dims) if all(dims) else None
