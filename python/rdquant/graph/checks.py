"""Structural checks of a model before any surgery: clear errors that name file, node and field.

They come first because ONNX's own checker reports a cycle, an undefined name and a mere disorder with one
message.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from ..errors import CorruptFile, InvalidArgument, Unsupported, needed
from .ports import suggestion

with needed():
    import onnx
    import onnx.defs

__all__ = ["captures", "check_model", "check_text", "describe", "sort_nodes", "subgraphs"]

_STANDARD = {"", "ai.onnx"}
_MOST_SIZE = 1 << 31
_AXES = 1 << 15
# Attributes whose values onnx's shape inference uses unchecked as places in lists of sizes.
_INDICES = {"axis": range(-_AXES, _AXES), "batch_dims": range(_AXES)}
# Domains whose operators are left for the backend to judge; a model's own functions come on top.
_BACKEND_DOMAINS = ("com.microsoft", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview")


def describe(node: onnx.NodeProto) -> str:
    """A node as error messages call it."""
    name = node.name or f"without a name, output {next(iter(node.output), '')!r}"
    return f"{node.op_type} node {name!r}" if node.name else f"{node.op_type} node {name}"


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs in the attributes of `node` (If, Loop, Scan)."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs


def captures(node: onnx.NodeProto) -> set[str]:
    """Names that the subgraphs of `node` take from the graphs around it."""
    found: set[str] = set()
    for graph in subgraphs(node):
        inner = {i.name for i in graph.input} | {t.name for t in graph.initializer}
        inner |= {t.values.name for t in graph.sparse_initializer}
        inner |= {out for n in graph.node for out in n.output}
        used = {name for n in graph.node for name in n.input if name} | {o.name for o in graph.output}
        for n in graph.node:
            used |= captures(n)
        found |= used - inner
    return found


def check_text(message: Any, name: str) -> None:
    """Raise CorruptFile unless every string of a protobuf is UTF-8: one that is not is read as bytes."""
    for field, value in message.ListFields():
        if field.type not in (field.TYPE_STRING, field.TYPE_MESSAGE):
            continue
        for item in (value,) if isinstance(value, (str, bytes)) or hasattr(value, "ListFields") else value:
            if isinstance(item, bytes):
                raise CorruptFile(f"{name}: field {field.full_name}: {item[:40]!r} is not UTF-8 text")
            if not isinstance(item, str):
                check_text(item, name)


def check_model(model: onnx.ModelProto, name: str) -> None:
    """Raise CorruptFile, Unsupported or InvalidArgument for a model that cannot be right.

    Checked: presence of a graph, versions, operators, duplicate and undefined names.
    """
    if not model.HasField("graph") or not (model.graph.node or model.graph.output):
        raise CorruptFile(f"{name}: it holds no graph (field 'graph'): not an ONNX model")
    if model.ir_version > onnx.IR_VERSION:
        raise Unsupported(
            f"{name}: ir_version is {model.ir_version}, the installed onnx knows up to {onnx.IR_VERSION}; "
            "a newer onnx may read it"
        )
    for value in model.graph.input:
        if not value.type.WhichOneof("value") or (
            value.type.HasField("tensor_type") and not value.type.tensor_type.elem_type
        ):
            raise CorruptFile(f"{name}: field input: {value.name!r} has no element type")
    _check_opsets(model, name)
    _check_graph(model, model.graph, set(), name)


def _opset(model: onnx.ModelProto) -> int | None:
    return next((o.version for o in model.opset_import if o.domain in _STANDARD), None)


def _check_opsets(model: onnx.ModelProto, name: str) -> None:
    if not model.opset_import:
        raise CorruptFile(f"{name}: field 'opset_import' is empty; a model must say which operators it uses")
    versions: dict[str, int] = {}
    for o in model.opset_import:  # some exporters say one twice
        if versions.setdefault(o.domain, o.version) != o.version:
            raise CorruptFile(
                f"{name}: field 'opset_import' has domain {o.domain!r} with versions {versions[o.domain]} and {o.version}"
            )
    version, newest = _opset(model), onnx.defs.onnx_opset_version()
    if version is not None and version > newest:
        raise Unsupported(
            f"{name}: opset_import asks for opset {version}, the installed onnx knows up to {newest}; "
            "export the model for an older opset or update onnx"
        )
    if version is not None and version < 1:
        raise CorruptFile(f"{name}: opset_import asks for opset {version}; the first is 1")


def _check_operator(model: onnx.ModelProto, node: onnx.NodeProto, name: str) -> None:
    own = {(f.domain, f.name) for f in model.functions}
    if (node.domain, node.op_type) in own:
        return
    imported = {o.domain: o.version for o in model.opset_import}
    if node.domain in _STANDARD:
        version = _opset(model)
        if version is None:
            raise CorruptFile(
                f"{name}: {describe(node)} uses the standard domain, which opset_import does not list"
            )
        try:
            onnx.defs.get_schema(node.op_type, version, "")
        except onnx.defs.SchemaError:
            raise Unsupported(
                f"{name}: {describe(node)}, field op_type: opset {version} has no operator {node.op_type!r}"
            ) from None
        return
    if node.domain not in imported:
        raise CorruptFile(
            f"{name}: {describe(node)}, field domain: {node.domain!r} is not listed in opset_import "
            f"({sorted(imported)})"
        )
    if not node.domain.startswith(_BACKEND_DOMAINS):
        raise Unsupported(
            f"{name}: {describe(node)}, field domain: {node.domain!r} is unknown; allowed are the standard "
            f"domain, {', '.join(_BACKEND_DOMAINS)} and functions that the model itself defines"
        )


def _check_graph(model: onnx.ModelProto, graph: onnx.GraphProto, outer: set[str], name: str) -> None:
    where = name if graph is model.graph else f"{name}: subgraph {graph.name!r}"
    initializers = [t.name for t in graph.initializer] + [t.values.name for t in graph.sparse_initializer]
    _unique(initializers, f"{where}: field initializer")
    _unique([i.name for i in graph.input], f"{where}: field input")
    _unique([o.name for o in graph.output], f"{where}: field output")
    defined = set(initializers) | {i.name for i in graph.input}
    _read_sizes(graph, where)
    for node in graph.node:
        _check_operator(model, node, where)
        _check_indices(node, graph, where)
        for output in node.output:
            if output and output in defined:
                raise CorruptFile(f"{where}: {describe(node)}, field output: {output!r} is defined twice")
            defined.add(output)
    defined |= outer
    for node in graph.node:
        for field, names in (("input", set(node.input)), ("attribute (a subgraph)", captures(node))):
            for missing in sorted(names - defined - {""}):
                raise CorruptFile(
                    f"{where}: {describe(node)}, field {field}: {missing!r} is defined nowhere"
                    f"{suggestion(missing, defined)}"
                )
        for sub in subgraphs(node):
            _check_graph(model, sub, defined, where)
    for output in graph.output:
        if output.name not in defined:
            raise CorruptFile(
                f"{where}: field output: no node makes {output.name!r}{suggestion(output.name, defined)}"
            )


def _check_indices(node: onnx.NodeProto, graph: onnx.GraphProto, where: str) -> None:
    """CorruptFile where onnx's shape inference would leave its lists of sizes, or fill memory with one."""
    for attribute in node.attribute:
        allowed = _INDICES.get(attribute.name)
        if attribute.type == onnx.AttributeProto.INT and allowed is not None and attribute.i not in allowed:
            raise CorruptFile(
                f"{where}: {describe(node)}, field {attribute.name}: {attribute.i} counts no axes; "
                f"allowed are {allowed.start} to {allowed.stop - 1}"
            )
        if node.op_type == "Split" and attribute.name == "num_outputs" and attribute.i != len(node.output):
            raise CorruptFile(
                f"{where}: {describe(node)}, field num_outputs is {attribute.i}, but it has {len(node.output)} outputs"
            )
    if node.op_type == "Slice":
        for port in graph.input:
            dims = port.type.tensor_type.shape.dim
            if port.name in node.input[1:] and any(d.dim_value >= _AXES for d in dims):
                raise CorruptFile(
                    f"{where}: {describe(node)}, field input: {port.name!r} has {dims[0].dim_value} entries, "
                    f"one per axis; {_AXES - 1} are the most allowed"
                )


def _read_sizes(graph: onnx.GraphProto, where: str) -> None:
    """Opens negative sizes, which some exporters write for open ones; CorruptFile for those beyond 2^31."""
    for field in ("input", "output", "value_info"):
        for port in getattr(graph, field):
            for dim in port.type.tensor_type.shape.dim:
                if dim.dim_value < 0:
                    dim.Clear()
                if dim.dim_value > _MOST_SIZE:
                    raise CorruptFile(
                        f"{where}: field {field}: {port.name!r} has a size of {dim.dim_value}; "
                        "2^31 is the most allowed"
                    )


def _unique(names: list[str], what: str) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise CorruptFile(f"{what}: {name!r} is defined {count} times")


def sort_nodes(graph: onnx.GraphProto, name: str) -> None:
    """Put the nodes into an order in which every value is made before it is used, changing as little as
    possible.

    Raises InvalidArgument naming the nodes of a cycle.
    """
    maker = {out: i for i, node in enumerate(graph.node) for out in node.output if out}
    needs = [{maker[n] for n in set(node.input) | captures(node) if n in maker} for node in graph.node]
    order: list[int] = []
    state = [0] * len(needs)  # 0 untouched, 1 on the way, 2 placed
    for root in range(len(needs)):
        way = [(root, iter(sorted(needs[root])))] if state[root] == 0 else []
        state[root] = max(state[root], 1)
        while way:
            at, rest = way[-1]
            following = next((n for n in rest if state[n] != 2), None)
            if following is None:
                state[at] = 2
                order.append(at)
                way.pop()
            elif state[following] == 1:
                ring = [i for i, _ in way]
                ring = ring[ring.index(following) :]
                names = " → ".join(describe(graph.node[i]) for i in [*reversed(ring), ring[-1]][:8])
                raise InvalidArgument(f"{name}: the graph has a cycle: {names}")
            else:
                state[following] = 1
                way.append((following, iter(sorted(needs[following]))))
    if order != sorted(order):
        nodes = [onnx.NodeProto.FromString(graph.node[i].SerializeToString()) for i in order]
        del graph.node[:]
        graph.node.extend(nodes)
