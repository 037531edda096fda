"""What the foldings share: who reads a value, and graphs without some of their nodes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import needed
from ...graph import Model
from ...graph.model import rebuilt
from ...graph.tensors import Stored, parameters_of
from ...graph.writer import referring
from ..network import reads

with needed():
    import onnx

__all__ = ["Readers", "readers_of", "remade", "skip", "stored_as", "uses_of", "without"]

Readers = dict[str, list[onnx.NodeProto]]


def uses_of(graph: onnx.GraphProto) -> Counter[str]:
    """How often nodes read each value, at least once where only graphs inside them do, and whether it is an output."""
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(name for node in graph.node for name in reads(node) if name not in node.input)
    uses.update(o.name for o in graph.output)
    return uses


def readers_of(graph: onnx.GraphProto) -> Readers:
    """The nodes that read each value, themselves or in graphs inside them."""
    readers: Readers = defaultdict(list)
    for node in graph.node:
        for name in reads(node):
            readers[name].append(node)
    return readers


def skip(node: onnx.NodeProto, value: str, readers: Readers) -> None:
    """Lets all that read the output of `node` read `value` instead."""
    for reader in readers[node.output[0]]:
        reader.input[:] = [value if name == node.output[0] else name for name in reader.input]
        readers[value].append(reader)


def stored_as(values: NDArray[Any], data_type: int) -> Stored:
    """Numbers as a model holds them. data_type: ONNX's number of their dtype."""
    return Stored(data_type, values.shape, np.ascontiguousarray(values).reshape(-1).view(np.uint8))


def without(
    model: Model,
    skeleton: onnx.ModelProto,
    gone: Collection[onnx.NodeProto],
    changed: Mapping[str, Stored] | None = None,
) -> Model:
    """`model` with the graph of `skeleton` but nodes that are `gone`, and with other tensors; itself where none is gone."""
    if not gone:
        return model
    for node in gone:
        skeleton.graph.node.remove(node)
    return remade(model, skeleton, {**model.parts()[1], **(changed or {})})


def remade(model: Model, skeleton: onnx.ModelProto, tensors: dict[str, Stored]) -> Model:
    """`model` with another graph, and those of `tensors` that it uses; taken over unchecked."""
    used = {name for node in skeleton.graph.node for name in node.input}
    used.update(o.name for o in skeleton.graph.output)
    tensors = {name: tensor for name, tensor in tensors.items() if name in used}
    complete = referring(skeleton, tensors, "weights")
    return rebuilt(model, skeleton, tensors, parameters_of(complete, tensors, model.name))
