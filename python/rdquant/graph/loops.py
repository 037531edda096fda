"""Loop and Scan over a known number of rows: their bodies one after the other, or all rows at once."""

from __future__ import annotations

import numpy as np

from ..errors import needed
from .checks import describe
from .scopes import Scope

with needed():
    import onnx
    from onnx import helper

__all__ = ["TooLong", "unrolled_loop", "without_scan"]

_MOST_NODES = 2048  # that one loop may add

_EACH = {"Abs", "Add", "Div", "Exp", "Identity", "Max", "Min", "Mul", "Neg", "Pow", "Relu", "Sqrt", "Sub"}
_REDUCE = {"ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "ReduceSumSquare"}
_TURNED = ("scan_input_axes", "scan_input_directions", "scan_output_axes", "scan_output_directions")
_AXES_ARE_INPUTS = 18  # the opset since which all reductions take their axes so


class TooLong(Exception):
    """A loop that would add too many nodes."""


def unrolled_loop(node: onnx.NodeProto, scope: Scope) -> list[onnx.NodeProto] | None:
    """The body of the Loop `node` for each trip; None where data decide on their number."""
    body = next(a.g for a in node.attribute if a.name == "body")
    given = [*node.input, "", ""]
    trips = scope.known.value(given[0]) if given[0] else None
    if (given[0] and trips is None) or body.sparse_initializer:
        return None
    holds = given[1]
    carried = list(node.input[2:])
    rows: list[list[str]] = []
    nodes: list[onnx.NodeProto] = []
    while trips is None or len(rows) < int(trips.item()):
        met = scope.known.value(holds) if holds else np.array(True)
        if met is None:
            return None
        if not met.all():
            break
        _check_length(node, len(nodes) + len(body.node))
        trip = scope.constant("trip", np.array(len(rows), np.int64))
        before = holds or scope.constant("condition", np.array(True))
        names = dict(zip((port.name for port in body.input), [trip, before, *carried], strict=True))
        nodes += scope.inline(body, names)
        after, *made = (names.get(port.name, port.name) for port in body.output)
        holds = after if holds else ""
        carried, row = made[: len(carried)], made[len(carried) :]
        rows.append(row)
    return _ended(node, scope, nodes, carried, rows, [0] * (len(body.output) - 1 - len(carried)))


def _check_length(node: onnx.NodeProto, count: int) -> None:
    if count > _MOST_NODES:
        raise TooLong(
            f"{describe(node)} was not unrolled: it would add more than {_MOST_NODES} nodes to the graph"
        )


def _ended(
    node: onnx.NodeProto,
    scope: Scope,
    nodes: list[onnx.NodeProto],
    carried: list[str],
    rows: list[list[str]],
    axes: list[int],
) -> list[onnx.NodeProto] | None:
    """`nodes` with those that give the outputs of `node`: what was carried last, and the rows of each scan joined."""
    for last, outer in zip(carried, node.output, strict=False):
        if outer:
            nodes.append(scope.node("Identity", [last], outer))
    for i, outer in enumerate(node.output[len(carried) :]):
        if not outer:
            continue
        if not rows:  # an output of no rows, whose other sizes nothing tells
            return None
        axis = scope.constant("axis", np.array([axes[i]], np.int64))
        parts = []
        for row in rows:
            parts.append(scope.fresh(f"{outer}_row"))
            nodes.append(scope.node("Unsqueeze", [row[i], axis], parts[-1]))
        nodes.append(scope.node("Concat", parts, outer, axis=axes[i]))
    return nodes


def without_scan(node: onnx.NodeProto, scope: Scope) -> list[onnx.NodeProto] | None:
    """What the Scan `node` computes: all rows at once where its body allows that, else one after the other."""
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if attributes["body"].sparse_initializer:
        return None
    mark = scope.mark()
    nodes = _Together(node, scope).nodes()
    if nodes is None:
        scope.undo(mark)
        nodes = _unrolled_scan(node, scope)
    return nodes


def _unrolled_scan(node: onnx.NodeProto, scope: Scope) -> list[onnx.NodeProto] | None:
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    body, scans = attributes["body"], attributes["num_scan_inputs"]
    states = len(node.input) - scans
    outputs = len(node.output) - states
    axes = list(attributes.get("scan_input_axes", [0] * scans))
    backwards = list(attributes.get("scan_input_directions", [0] * scans))
    ends = list(attributes.get("scan_output_axes", [0] * outputs))
    turned = list(attributes.get("scan_output_directions", [0] * outputs))
    shape = scope.known.shape(node.input[states])
    trips = None if shape is None else shape[axes[0]]
    if trips is None:
        return None
    carried = list(node.input[:states])
    rows: list[list[str]] = []
    nodes: list[onnx.NodeProto] = []
    for trip in range(trips):
        _check_length(node, len(nodes) + len(body.node) + scans)
        names = dict(zip((port.name for port in body.input), carried, strict=False))
        for i, port in enumerate(body.input[states:]):
            place = trips - 1 - trip if backwards[i] else trip
            at = scope.constant("place", np.array(place, np.int64))
            names[port.name] = scope.fresh(port.name)
            outer = node.input[states + i]
            nodes.append(scope.node("Gather", [outer, at], names[port.name], axis=axes[i]))
        nodes += scope.inline(body, names)
        made = [names.get(port.name, port.name) for port in body.output]
        carried = made[:states]
        rows.append(made[states:])
    columns = [list(c)[::-1] if turned[i] else list(c) for i, c in enumerate(zip(*rows, strict=True))]
    return _ended(node, scope, nodes, carried, [list(row) for row in zip(*columns, strict=True)], ends)


class _Together:
    """All rows of a Scan at once: its body with one more axis in front, where no row depends on another.

    So come the distances of all pairs of rows that classical estimators are exported with.
    """

    def __init__(self, node: onnx.NodeProto, scope: Scope) -> None:
        self._node = node
        self._scope = scope
        self._attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        self._body: onnx.GraphProto = self._attributes["body"]
        self._states = len(node.input) - int(self._attributes["num_scan_inputs"])
        self._ranks: dict[str, int] = {}  # as the body has them, without the axis of the rows
        self._rowwise = set(node.input[self._states :])  # values with an axis of rows
        self._made: list[onnx.NodeProto] = []

    def nodes(self) -> list[onnx.NodeProto] | None:
        """The nodes in place of the Scan; None where its body is not of this kind."""
        states, node = self._states, self._node
        if (
            any(any(self._attributes.get(name, ())) for name in _TURNED)
            or self._rowwise & set(node.input[:states])
            or not self._know_inputs()
        ):
            return None
        names = dict(zip((port.name for port in self._body.input), node.input, strict=True))
        for inner in self._scope.inline(self._body, names):
            if not self._widened(inner):
                return None
        made = [names.get(port.name, port.name) for port in self._body.output]
        same = {n.output[0]: n.input[0] for n in self._made if n.op_type == "Identity"}
        for i, name in enumerate(made):
            source = name
            while source in same:
                source = same[source]
            if (source != node.input[i]) if i < states else (name not in self._rowwise):
                return None
            if node.output[i]:
                self._made.append(self._scope.node("Identity", [name], node.output[i]))
        return self._made

    def _know_inputs(self) -> bool:
        for i, (port, outer) in enumerate(zip(self._body.input, self._node.input, strict=True)):
            shape = self._scope.known.shape(outer)
            if shape is not None:
                self._ranks[outer] = len(shape) - (i >= self._states)
            elif port.type.tensor_type.HasField("shape"):
                self._ranks[outer] = len(port.type.tensor_type.shape.dim)
            else:
                return False
        return True

    def _rank(self, name: str) -> int | None:
        if name not in self._ranks:
            shape = self._scope.known.shape(name)
            if shape is None:
                return None
            self._ranks[name] = len(shape)
        return self._ranks[name]

    def _widened(self, node: onnx.NodeProto) -> bool:
        """Adds `node` for all rows; False where that is not known to be the same."""
        if node.domain not in ("", "ai.onnx") or not node.input:
            return False
        if node.op_type in _EACH:
            return self._each(node)
        return node.op_type in _REDUCE and self._reduced(node)

    def _each(self, node: onnx.NodeProto) -> bool:
        ranks = [self._rank(name) for name in node.input]
        if any(rank is None for rank in ranks):
            return False
        most = max(rank for rank in ranks if rank is not None)
        rowwise = [name in self._rowwise for name in node.input]
        for i, rank in enumerate(ranks):
            if rank is not None and rank < most and rowwise[i]:
                axes = self._scope.constant("axes", np.arange(1, 1 + most - rank))
                wide = self._scope.fresh(node.input[i])
                self._made.append(self._scope.node("Unsqueeze", [node.input[i], axes], wide))
                node.input[i] = wide
        return self._keep(node, most, any(rowwise))

    def _reduced(self, node: onnx.NodeProto) -> bool:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        rank = self._rank(node.input[0])
        axes = attributes.get("axes")
        if len(node.input) > 1 and node.input[1]:
            axes = self._scope.known.value(node.input[1])
        rowwise = node.input[0] in self._rowwise
        if rank is None or axes is None or not len(axes):
            return False
        moved = [int(axis) % rank + rowwise for axis in axes]
        keep = int(attributes.get("keepdims", 1))
        later = self._scope.opset >= _AXES_ARE_INPUTS or node.op_type == "ReduceSum"
        del node.attribute[:]
        node.attribute.append(helper.make_attribute("keepdims", keep))
        if later:
            node.input[:] = [node.input[0], self._scope.constant("axes", np.array(moved, np.int64))]
        else:
            node.attribute.append(helper.make_attribute("axes", moved))
        return self._keep(node, rank if keep else rank - len(moved), rowwise)

    def _keep(self, node: onnx.NodeProto, rank: int, rowwise: bool) -> bool:
        self._ranks[node.output[0]] = rank
        if rowwise:
            self._rowwise.add(node.output[0])
        self._made.append(node)
        return True
