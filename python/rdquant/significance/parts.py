"""A network cut in two before a layer: what comes before runs once, whatever happens to the layer's weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._tables import Brief
from ..calibrate import Layer
from ..calibrate.gradients import value_shapes
from ..errors import needed
from ..graph import Model

with needed():
    import onnx

__all__ = ["Cut", "cuts_before", "part"]

_MOST_VALUES = 4  # live at a cut: a residual block has two
Shape = tuple[int | None, ...]


@dataclass(frozen=True, repr=False)
class Cut(Brief):
    """A place between nodes of a graph.

    Attributes:
        values: all that the nodes after it need of those before it; the network's input for the first cut.
        layers: positions, among the layers that were given, of those that are first met after it.
        bytes: of the values, for one image.
    """

    values: tuple[str, ...]
    layers: tuple[int, ...]
    bytes: int


def cuts_before(model: Model, layers: Sequence[Layer], image: NDArray[np.float32], threads: int) -> list[Cut]:
    """The latest cut before each of `layers`, in graph order; layers that share one are together.

    image: [1, …], one input of the network, which shows the shapes of values. A cut has at most four values, float32
    with images along their first axis; where there is none, a layer's cut is the network's input.
    """
    graph = model.skeleton.graph
    port = model.inputs[0].name
    first = (port,)
    nested = any(a.HasField("g") or a.graphs for node in graph.node for a in node.attribute)
    shapes = {} if nested else {port: (None, *image.shape[1:]), **value_shapes(model, image, threads or None)}
    place = {name: i for i, node in enumerate(graph.node) for name in node.input[1:2]}
    live = _live(graph, port)
    found: dict[tuple[str, ...], list[int]] = {}
    for index, layer in enumerate(layers):
        before = [values for values in live[: place[layer.weight] + 1] if _fits(values, shapes)]
        found.setdefault(before[-1] if before else first, []).append(index)
    sizes = {name: 4 * int(np.prod([d or 1 for d in shape[1:]])) for name, shape in shapes.items()}
    return [
        Cut(values, tuple(own), sum(sizes.get(name, image.nbytes) for name in values))
        for values, own in found.items()
    ]


def _live(graph: onnx.GraphProto, port: str) -> list[tuple[str, ...]]:
    """For every node, the values that it and the nodes after it need of those before it, constants left out."""
    moving = {port}
    for node in graph.node:
        if moving & set(node.input):
            moving.update(name for name in node.output if name)
    needed = {o.name for o in graph.output}
    after: list[tuple[str, ...]] = []
    order = [port, *(name for node in graph.node for name in node.output)]
    position = {name: i for i, name in enumerate(order)}
    for node in reversed(graph.node):
        needed = (needed - set(node.output)) | (set(node.input) & moving)
        after.append(tuple(sorted(needed & moving, key=position.__getitem__)))
    return after[::-1]


def _fits(values: tuple[str, ...], shapes: Mapping[str, Shape]) -> bool:
    known = [shapes[name] for name in values if name in shapes]
    return 0 < len(values) <= _MOST_VALUES and len(known) == len(values) and all(len(s) > 1 for s in known)


def part(model: Model, inputs: Mapping[str, tuple[int, ...]], outputs: Iterable[str] | None = None) -> Model:
    """The nodes of `model` that lead from values to values, as a model of their own.

    inputs: by a value's name its shape for one image, [1, …]. outputs: names; None: the model's own.
    """
    skeleton = onnx.ModelProto.FromString(model.parts()[0])
    graph = skeleton.graph
    if outputs is not None:
        known = {value.name: value for value in (*graph.value_info, *graph.output)}
        kept = [known.get(name) or _port(name, None) for name in outputs]
        del graph.output[:]
        graph.output.extend(kept)
    own = {port.name: port for port in graph.input}
    needed = {o.name for o in graph.output}
    nodes = []
    for node in reversed(graph.node):
        if needed & set(node.output) - set(inputs):
            nodes.append(node)
            needed |= set(node.input)
    batch = model.inputs[0].shape[0] if model.inputs[0].shape else None
    ports = [own.get(name) or _port(name, (batch, *shape[1:])) for name, shape in inputs.items()]
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in reversed(nodes)]
    for field, values in (
        ("node", nodes),
        ("input", [onnx.ValueInfoProto.FromString(p.SerializeToString()) for p in ports]),
    ):
        del getattr(graph, field)[:]
        getattr(graph, field).extend(values)
    del graph.value_info[:]
    return model.with_graph(skeleton)


def _port(name: str, shape: tuple[int | str | None, ...] | None) -> onnx.ValueInfoProto:
    dims = None if shape is None else [d if isinstance(d, int) else "N" for d in shape]
    if dims is None:
        blank = onnx.helper.make_empty_tensor_value_info(name)
        blank.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        return blank
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, dims)
