"""A model's graph as quantization sees it: who makes a value, who reads it, what a node does to levels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np

from ..calibrate import Layer, layers_of
from ..errors import Unsupported, needed
from ..graph import Model
from .obstacles import of_levels, unchanging
from .recurrent import Recurrent, recurrent_of

with needed():
    import onnx
    from onnx import numpy_helper

__all__ = ["ACTIVATIONS", "MOVERS", "OTHERS", "Network", "reads"]

MOVERS = frozenset(
    {
        "DepthToSpace",
        "Dropout",
        "Flatten",
        "Identity",
        "MaxPool",
        "Reshape",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
"""What they give are levels of their first input, in other places (Resize to the nearest too)."""

ACTIVATIONS = frozenset(("Relu", "Clip"))
"""The layer or sum before them takes them in: between both there are no levels."""

OTHERS = frozenset(
    {
        "Add",
        "AveragePool",
        "Concat",
        "GlobalAveragePool",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "Mul",
        "Resize",
        "Sigmoid",
        "Tanh",
    }
)
"""Operators that compute with levels, beside convolutions and products with weights."""

_BOTH = frozenset(("Add", "Mul"))  # read levels twice


def warn_of_levels(model: Model) -> None:
    """Quantizing what is quantized measures its loss against a network that has lost something itself."""
    found = of_levels(model.skeleton.graph.node)
    if found is not None:
        warnings.warn(
            f"{model.name} is quantized already, at least in part ({found}): its losses add up, and those reported "
            "now are against it. Quantize the float network instead",
            stacklevel=3,
        )


class Network:
    """`model`'s nodes in order, with what leads from one to another.

    Attributes:
        model: the network.
        nodes: of its main graph.
        layers: index of a node → layer, for convolutions and products with a weight of their own that read what data
            change, in order.
        recurrent: index of a node → layer, for RNN, GRU and LSTM alike, in order.
        input, outputs: names of the network's input and outputs.
        constants: small tensors that no data change, such as the bounds of clips.

    Raises Unsupported for a network whose inputs are not one float32 tensor, or that has an opset below 13.
    """

    def __init__(self, model: Model) -> None:
        skeleton = model.skeleton
        opset = next((o.version for o in skeleton.opset_import if o.domain in ("", "ai.onnx")), 0)
        if opset < 13:
            raise Unsupported(
                f"{model.name}: opset {opset}: quantization needs 13 or later (scales per channel)"
            )
        if len(model.inputs) != 1 or model.inputs[0].dtype != "float32":
            found = ", ".join(f"{i.name} ({i.dtype})" for i in model.inputs)
            raise Unsupported(f"{model.name}: quantization needs one input of float32, found {found}")
        self.model = model
        self.input = model.inputs[0].name
        self.nodes = list(skeleton.graph.node)
        self.constants = [t for t in skeleton.graph.initializer if not t.external_data]
        self.outputs = {o.name for o in skeleton.graph.output}
        self._maker = {out: i for i, node in enumerate(self.nodes) for out in node.output if out}
        self._users: dict[str, list[int]] = {}
        for i, node in enumerate(self.nodes):
            for name in reads(node):
                self._users.setdefault(name, []).append(i)
        fixed = unchanging(skeleton.graph, model.parts()[1])
        by_weight = {layer.weight: layer for layer in layers_of(model, volumes=True)}
        self.layers: dict[int, Layer] = {
            i: by_weight[node.input[1]]
            for i, node in enumerate(self.nodes)
            if len(node.input) > 1 and node.input[1] in by_weight and node.input[0] not in fixed
        }
        cells = {layer.weight: layer for layer in recurrent_of(model)}
        self.recurrent: dict[int, Recurrent] = {
            i: cells[node.input[1]]
            for i, node in enumerate(self.nodes)
            if len(node.input) > 1 and node.input[1] in cells and node.input[0] not in fixed
        }

    def maker(self, value: str) -> int | None:
        """Index of the node that makes `value`; None for the input and constants."""
        return self._maker.get(value)

    def users(self, value: str) -> list[int]:
        """Indices of the nodes that read `value`, once for each."""
        return self._users.get(value, [])

    def kind(self, i: int) -> str:
        """ "layer", "recurrence", "mover", "activation", "other", or "" for a node that knows no levels."""
        node = self.nodes[i]
        if i in self.layers:
            return "layer"
        if i in self.recurrent:
            return "recurrence"
        if node.domain not in ("", "ai.onnx"):
            return ""
        if node.op_type in MOVERS or (node.op_type == "Resize" and _is_nearest(node)):
            # A second output of Dropout or MaxPool (mask, indices) is not a level.
            single = node.op_type == "Split" or sum(bool(o) for o in node.output) == 1
            return "mover" if single else ""
        if node.op_type in ACTIVATIONS:
            return "activation"
        return "other" if node.op_type in OTHERS else ""

    def data(self, i: int) -> list[str]:
        """What node `i` reads that levels can stand for; weights and settings are not among it."""
        node = self.nodes[i]
        if i in self.layers:
            return [self.layers[i].input]
        if i in self.recurrent:
            return [self.recurrent[i].input]
        count = {"Concat": len(node.input)}.get(node.op_type, 2 if node.op_type in _BOTH else 1)
        return list(dict.fromkeys(node.input[:count]))

    def given(self, i: int) -> list[str]:
        """What node `i` makes."""
        return [name for name in self.nodes[i].output if name]

    def next_activation(self, value: str) -> int | None:
        """The Relu or Clip that alone reads `value`; None where there is none."""
        users = self.users(value)
        alone = len(users) == 1 and value not in self.outputs
        return users[0] if alone and self.kind(users[0]) == "activation" else None

    def bounds(self, i: int) -> tuple[float, float]:
        """Between which numbers the Relu or Clip `i` leaves a value as it is; infinite where that is not known."""
        node = self.nodes[i]
        if node.op_type == "Relu":
            return 0.0, np.inf
        known = {t.name: t for t in self.constants}
        found = [-np.inf, np.inf]
        for k, name in enumerate(node.input[1:3]):
            if name in known:
                found[k] = float(numpy_helper.to_array(known[name]).reshape(-1)[0])
        return found[0], found[1]

    def label(self, i: int) -> str:
        """What messages and reports call node `i`."""
        return self.nodes[i].name or self.nodes[i].output[0]


def _is_nearest(node: onnx.NodeProto) -> bool:
    return all(a.s == b"nearest" for a in node.attribute if a.name == "mode")


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads, graphs inside it included."""
    yield from dict.fromkeys(name for name in node.input if name)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from reads(inner)
            yield from (out.name for out in graph.output)
