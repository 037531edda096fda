"""Recurrent layers: the weights that meet their inputs, and those that meet their states."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..calibrate import Layer
from ..errors import needed
from ..graph import Model

with needed():
    import onnx

__all__ = ["RECURRENT", "Recurrent", "recurrent_of"]

RECURRENT = frozenset(("GRU", "LSTM", "RNN"))


@dataclass(frozen=True, repr=False)
class Recurrent(Layer):
    """A recurrent node by its weight W [directions, gates, inputs], or by R, where the states are the inputs.

    A row of its matrix is a gate's weights in both directions, so that scales are those of axis 1, as DequantizeLinear
    wants them.

    Attributes:
        states: the node by R, where that is a weight of its own.
    """

    states: Recurrent | None = None

    @property
    def rows(self) -> int:
        """Gates of one direction."""
        return self.shape[1]

    def matrix(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """`tensor`, of the weight's shape and any dtype, as a contiguous [rows, inputs] of that dtype."""
        return np.ascontiguousarray(tensor.swapaxes(0, 1).reshape(self.rows, self.inputs))

    def tensor(self, matrix: NDArray[Any]) -> NDArray[Any]:
        """`matrix`, [rows, inputs] of any dtype, in the weight's shape; contiguous."""
        directions, rows, inputs = self.shape
        return np.ascontiguousarray(matrix.reshape(rows, directions, inputs).swapaxes(0, 1))


def recurrent_of(model: Model) -> list[Recurrent]:
    """The recurrent layers of `model` in graph order; left out: weights that several nodes use, or that are computed."""
    graph = model.skeleton.graph

    def by(node: onnx.NodeProto, i: int, states: Recurrent | None) -> Recurrent | None:
        name = node.input[i]
        if uses[name] != 1 or len(shapes.get(name, ())) != 3:
            return None
        return Recurrent(name, None, node.input[0], node.name, shapes[name], "recurrence", states=states)

    shapes = {p.name: p.shape for p in model.parameters if p.role == "weight"}
    uses = Counter(name for node in graph.node for name in node.input)
    nodes = (n for n in graph.node if n.op_type in RECURRENT and n.domain in ("", "ai.onnx"))
    found = (by(node, 1, by(node, 2, None)) for node in nodes if node.input[0] not in shapes)
    return [layer for layer in found if layer is not None]
