"""The part of a network behind a value: what runs when only layers behind it have changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..calibrate import stream
from ..errors import needed
from ..graph import Model
from .balance import source
from .network import Network, reads

with needed():
    import onnx

__all__ = ["Tails"]

Images = Callable[[], Iterable[NDArray[np.float32]]]
_MOST = 1 << 27  # bytes of the values that are held


class Tails:
    """The values of a network, on some images, through which alone everything behind them depends on its input.

    images: gives batches of the input, the same ones each time; count: how many images those are. firsts: index of the
    first node that changes, for each change of which a tail will be wanted.
    """

    def __init__(
        self, network: Network, images: Images, count: int, firsts: Iterable[int], threads: int | None
    ) -> None:
        self._network = network
        self._places = _waists(network)
        wanted = list(dict.fromkeys(v for v in map(self._before, firsts) if v is not None))
        self._held: dict[str, list[NDArray[np.float32]]] = {}
        if not wanted:
            return
        # The first image shows what the values take; of too many, some do for those behind them as well.
        first = _first_image(network.model, images, wanted, threads)
        wanted = [
            v for v in wanted if first[v].shape[:1] == (1,)
        ]  # a row for each image, no sequence's steps
        sizes = {v: x.nbytes for v, x in first.items()}
        while wanted and count * sum(sizes[v] for v in wanted) > _MOST:
            wanted = wanted[1::2]
        self._places = [(i, v) for i, v in self._places if v in wanted]
        self._held = {value: [] for value in wanted}
        for batch in stream(network.model, images(), wanted, threads=threads) if wanted else ():
            for value in wanted:
                self._held[value].append(batch[value])

    def behind(self, first: int, changed: Model) -> tuple[Model, Images | None]:
        """`changed`, which differs from the network from node `first` on only, without what is before it, and what the
        rest reads; itself and None where there is nothing to leave out.
        """
        value = self._before(first)
        if value is None or value not in self._held:
            return changed, None
        skeleton = _tail(changed, value, self._held[value][0].shape)
        return changed.with_graph(skeleton), lambda: iter(self._held[value])

    def _before(self, first: int) -> str | None:
        return next((value for i, value in reversed(self._places) if i < first), None)


def _waists(network: Network) -> list[tuple[int, str]]:
    """(index of the node, value) of every value that is all that later nodes read of what the input gave."""
    last = {name: i for i, node in enumerate(network.nodes) for name in reads(node)}
    last |= dict.fromkeys(network.outputs, len(network.nodes))
    data, live, found = {network.input}, {network.input}, []
    for i, node in enumerate(network.nodes):
        if not data.isdisjoint(set(reads(node))):
            data.update(network.given(i))
            live.update(network.given(i))
        live = {value for value in live if last.get(value, -1) > i}
        if len(live) == 1 and live <= set(node.output) and not live & network.outputs:
            found.append((i, next(iter(live))))
    return found


def _first_image(
    model: Model, images: Images, values: Sequence[str], threads: int | None
) -> dict[str, NDArray[np.float32]]:
    first = next(iter(images()))[:1]
    return next(iter(stream(model, [first], values, threads=threads)))


def _tail(model: Model, value: str, shape: tuple[int, ...]) -> onnx.ModelProto:
    """The graph of `model` with `value`, before it becomes levels, as its input."""
    given = source(model, value)
    skeleton = onnx.ModelProto()
    skeleton.CopyFrom(model.skeleton)
    graph = skeleton.graph
    needed, kept = {o.name for o in graph.output}, []
    for node in reversed(graph.node):
        if not needed.isdisjoint(set(node.output) - {given}):
            needed.update(reads(node))
            kept.append(node)
    count = graph.input[0].type.tensor_type.shape.dim[0]
    port = onnx.helper.make_tensor_value_info(given, onnx.TensorProto.FLOAT, shape)
    port.type.tensor_type.shape.dim[0].CopyFrom(count)
    others = [info for info in graph.value_info if info.name != given]
    tensors = [tensor for tensor in graph.initializer if tensor.name in needed]
    for field, items in (
        (graph.node, kept[::-1]),
        (graph.input, [port]),
        (graph.value_info, others),
        (graph.initializer, tensors),
    ):
        items = [type(item).FromString(item.SerializeToString()) for item in items]
        del field[:]
        field.extend(items)
    return skeleton
