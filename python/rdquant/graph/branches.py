"""If nodes whose condition is known: the branch that is taken, in place of the node."""

from __future__ import annotations

from ..errors import needed
from .checks import subgraphs

with needed():
    import onnx
    from onnx import numpy_helper

__all__ = ["take_known_branches"]


def take_known_branches(graph: onnx.GraphProto) -> bool:
    """Puts the branches that are taken in place of If nodes with constant conditions; whether there were any."""
    known = {t.name: t for t in graph.initializer if not t.external_data}
    taken = {name for node in graph.node for name in (*node.input, *node.output)} | set(known)
    taken |= {port.name for port in graph.input}
    nodes: list[onnx.NodeProto] = []
    found = False
    for node in graph.node:
        condition = known.get(node.input[0]) if node.op_type == "If" and node.input else None
        if condition is None:
            nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
            continue
        found = True
        wanted = "then_branch" if bool(numpy_helper.to_array(condition).all()) else "else_branch"
        branch = next(a.g for a in node.attribute if a.name == wanted)
        nodes += _unfolded(graph, branch, list(node.output), taken)
    if found:
        del graph.node[:]
        graph.node.extend(nodes)
    return found


def _unfolded(
    graph: onnx.GraphProto, branch: onnx.GraphProto, outputs: list[str], taken: set[str]
) -> list[onnx.NodeProto]:
    """The nodes of `branch` giving `outputs`, with names that nothing else in `graph` has."""
    own = [name for node in branch.node for name in node.output if name] + [
        t.name for t in branch.initializer
    ]
    names: dict[str, str] = {}
    for name in own:
        new = name
        while new in taken:
            new += "_"
        names[name] = new
        taken.add(new)
    for tensor in branch.initializer:
        graph.initializer.add().CopyFrom(tensor)
        graph.initializer[-1].name = names[tensor.name]
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in branch.node]
    for node in nodes:
        _rename(node, names)
    given = [names.get(port.name, port.name) for port in branch.output]
    ends = zip(given, outputs, strict=True)
    return nodes + [onnx.helper.make_node("Identity", [inner], [outer]) for inner, outer in ends if outer]


def _rename(node: onnx.NodeProto, names: dict[str, str]) -> None:
    node.input[:] = [names.get(name, name) for name in node.input]
    node.output[:] = [names.get(name, name) for name in node.output]
    for inner in subgraphs(node):
        own = {name for child in inner.node for name in child.output} | {t.name for t in inner.initializer}
        visible = {old: new for old, new in names.items() if old not in own}
        for child in inner.node:
            _rename(child, visible)
        for port in inner.output:
            port.name = visible.get(port.name, port.name)
