"""Control flow that constants and shapes decide on: what is run, in place of If, Loop and Scan."""

from __future__ import annotations

from ..errors import needed
from .loops import TooLong, unrolled_loop, without_scan
from .scopes import Scope

with needed():
    import onnx

__all__ = ["settle_control_flow"]

_CONTROL = {"If", "Loop", "Scan"}


def settle_control_flow(model: onnx.ModelProto, notes: dict[str, str]) -> bool:
    """Puts what is run in place of the nodes of control flow that are decided; whether there were any.

    The main graph only: bodies within bodies come up when the outer one is settled. Notes say which loops are too
    long for it.
    """
    graph = model.graph
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if opset < 13 or not any(_is_control(node) for node in graph.node):
        return False
    scope = Scope(graph, opset)
    nodes: list[onnx.NodeProto] = []
    found = False
    for node in graph.node:
        instead = _settled(node, scope, notes) if _is_control(node) else None
        found = found or instead is not None
        nodes += instead if instead is not None else [onnx.NodeProto.FromString(node.SerializeToString())]
    if found:
        del graph.node[:]
        graph.node.extend(nodes)
    return found


def _is_control(node: onnx.NodeProto) -> bool:
    return node.op_type in _CONTROL and node.domain in ("", "ai.onnx")


def _settled(node: onnx.NodeProto, scope: Scope, notes: dict[str, str]) -> list[onnx.NodeProto] | None:
    """The nodes in place of `node`; None where data decide, or where there would be too many."""
    mark = scope.mark()
    settle = {"If": _taken_branch, "Loop": unrolled_loop, "Scan": without_scan}[node.op_type]
    try:
        nodes = settle(node, scope)
    except TooLong as error:
        notes.setdefault("loop_note", str(error))
        nodes = None
    if nodes is None:
        scope.undo(mark)
    return nodes


def _taken_branch(node: onnx.NodeProto, scope: Scope) -> list[onnx.NodeProto] | None:
    condition = scope.known.value(node.input[0])
    if condition is None:
        return None
    wanted = "then_branch" if bool(condition.all()) else "else_branch"
    branch = next(a.g for a in node.attribute if a.name == wanted)
    if branch.sparse_initializer:
        return None
    scope.release(node)
    names: dict[str, str] = {}
    nodes = scope.inline(branch, names)
    for port, outer in zip(branch.output, node.output, strict=True):
        if outer:
            nodes.append(scope.node("Identity", [names.get(port.name, port.name)], outer))
    return nodes
