"""Reverse-mode differentiation of a graph: nodes beside the forward ones that compute gradients, for any backend."""

from __future__ import annotations

from collections.abc import Collection

from ..errors import needed
from .checks import captures
from .gradient_rules import RULES
from .tape import Tape

with needed():
    import onnx

__all__ = ["MIN_GRADIENT_OPSET", "backward"]

MIN_GRADIENT_OPSET = 13
"""Of graphs that can be differentiated: operators, and what is added, mean what this opset and all later ones say."""

_STANDARD = ("", "ai.onnx")


def backward(tape: Tape, of: str, seed: str, wanted: Collection[str]) -> dict[str, str]:
    """Adds the gradients of Σ seed·of to a graph: their names by those of the values, for the `wanted` that have one.

    seed: a value of the shape of `of`. Absent are values that `of` does not depend on, and those that reach it, among
    other ways, through a node without a rule or a value without a shape.
    """
    before = _upstream(tape, wanted)
    pieces: dict[str, list[str]] = {of: [seed]}  # of the gradient of each value, from its readers
    blocked: set[str] = set()
    for node in reversed(tape.nodes):
        inside = captures(node)
        if not any(out in pieces or out in blocked for out in node.output):
            continue
        blocked |= inside & before
        stopped = bool(inside) or any(out in blocked for out in node.output)
        given = [_sum(tape, pieces[out]) if out in pieces else None for out in node.output]
        for index, name in enumerate(node.input):
            if name not in before:
                continue
            piece = None if stopped else _piece(tape, node, given, index)
            if piece is None:
                blocked.add(name)
            else:
                pieces.setdefault(name, []).append(piece)
    return {name: _sum(tape, pieces[name]) for name in wanted if name in pieces and name not in blocked}


def _upstream(tape: Tape, wanted: Collection[str]) -> set[str]:
    """Values that are wanted, or depend on one that is."""
    found = set(wanted)
    for node in tape.nodes:
        if found & (set(node.input) | captures(node)):
            found |= set(node.output)
    return found


def _sum(tape: Tape, pieces: list[str]) -> str:
    while len(pieces) > 1:
        pieces[:2] = [tape.emit("Add", pieces[0], pieces[1])]
    return pieces[0]


def _piece(tape: Tape, node: onnx.NodeProto, given: list[str | None], index: int) -> str | None:
    rule = RULES.get(node.op_type) if node.domain in _STANDARD else None
    passed = [node.input[index], *(out for out, g in zip(node.output, given, strict=True) if g is not None)]
    return rule(tape, node, given, index) if rule and all(name in tape.shapes for name in passed) else None
