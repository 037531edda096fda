"""The products with which recurrent layers meet their inputs: all steps at once, before the recurrence."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..calibrate import Layer
from ..graph import Model

__all__ = ["RECURRENT", "Recurrent", "recurrent_of"]

RECURRENT = frozenset(("GRU", "LSTM", "RNN"))


@dataclass(frozen=True, repr=False)
class Recurrent(Layer):
    """A recurrent node by its weight W [directions, gates, inputs].

    A row of its matrix is a gate's weights in both directions, so that scales are those of axis 1, as DequantizeLinear
    wants them.
    """

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
    shapes = {p.name: p.shape for p in model.parameters if p.role == "weight"}
    uses = Counter(name for node in graph.node for name in node.input)
    return [
        Recurrent(node.input[1], None, node.input[0], node.name, shapes[node.input[1]], "recurrence")
        for node in graph.node
        if node.op_type in RECURRENT
        and node.domain in ("", "ai.onnx")
        and node.input[0] not in shapes
        and uses[node.input[1]] == 1
        and len(shapes.get(node.input[1], ())) == 3
    ]
