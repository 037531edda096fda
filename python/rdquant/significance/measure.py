"""One pass over the images that gives the scores of the network with one layer at a time at every width."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..calibrate import Layer
from ..data import Dataset
from ..graph import Model
from ..runtime import Session
from .parts import Cut, cuts_before, part
from .store import Store
from .widths import Rows, Unrounded

__all__ = ["chunks_of", "fill", "run_batches"]

Values = dict[str, NDArray[Any]]
Read = Callable[[Mapping[str, NDArray[Any]], slice], NDArray[np.float32]]

_CHUNK_BYTES = 1 << 29  # of values at a cut, about
_MOST_CHUNK = 4096  # images


def chunks_of(
    model: Model, layers: Sequence[Layer], data: Dataset, threads: int
) -> tuple[list[Cut], list[slice]]:
    """Where the network is cut, and the images that go through it at a time: so many that their values fit memory."""
    cuts = cuts_before(model, layers, data.get([0])[0], threads)
    size = int(
        np.clip(_CHUNK_BYTES // max(1, 2 * max(cut.bytes for cut in cuts)), data.batch_size, _MOST_CHUNK)
    )
    size -= size % data.batch_size
    return cuts, [slice(i, min(i + size, len(data))) for i in range(0, len(data), size)]


def fill(
    store: Store,
    model: Model,
    cuts: Sequence[Cut],
    chunks: Sequence[slice],
    layers: Sequence[Layer],
    rounded: Sequence[Mapping[int, Rows | Unrounded]],
    widths: Sequence[int],
    data: Dataset,
    read: Read,
    threads: int,
    done: Callable[[int], None],
) -> None:
    """Measure what `store` lacks. What lies before a cut runs once a chunk, for all layers and widths after it.

    read: scores float32 [rows, classes] from outputs for the images of a slice. done: called with the number of further
    images (times layers and widths). On KeyboardInterrupt what was measured is kept.
    """
    originals = model.weights()
    for chunk, images in enumerate(chunks):
        lacking = [
            [(i, k) for i in cut.layers for k in range(len(widths)) if not store.has(i, k, chunk)]
            for cut in cuts
        ]
        done((images.stop - images.start) * (len(layers) * len(widths) - sum(map(len, lacking))))
        last = max((n for n, jobs in enumerate(lacking) if jobs), default=-1)
        values: Values = {}
        for number in range(last + 1):
            values = _advance(model, cuts, number, values, data, images, threads)
            tail = None
            for i, k in lacking[number]:
                if tail is None:
                    tail = Session(_tail(model, cuts[number], values), threads=threads or None)
                tail.set_weights(rounded[i][widths[k]].tensors(layers[i]))
                _measure(store, tail, values, (i, k, chunk), images, data.batch_size, read)
                if (i, k) == [job for job in lacking[number] if job[0] == i][-1]:
                    names = [name for name in (layers[i].weight, layers[i].bias) if name]
                    tail.set_weights({name: originals[name] for name in names})
                done(images.stop - images.start)
            if lacking[number]:
                store.flush()


def _measure(
    store: Store,
    tail: Session,
    values: Values,
    place: tuple[int, int, int],
    images: slice,
    batch: int,
    read: Read,
) -> None:
    """The scores of one layer at one width for a chunk of images; a KeyboardInterrupt first writes what is known."""
    try:
        found = run_batches(tail, values, batch)
        scores = [read(given, slice(images.start + a, images.start + b)) for a, b, given in found]
    except KeyboardInterrupt:
        store.flush()
        raise
    store.put(*place, np.concatenate(scores))


def run_batches(
    session: Session, values: Values, batch: int
) -> Iterator[tuple[int, int, dict[str, NDArray[Any]]]]:
    """(first image, last + 1, outputs) for batches of the values at a cut."""
    count = len(next(iter(values.values())))
    for start in range(0, count, batch):
        stop = min(start + batch, count)
        yield start, stop, session.run({name: value[start:stop] for name, value in values.items()})


def _tail(model: Model, cut: Cut, values: Values) -> Model:
    return part(model, {name: value.shape for name, value in values.items()})


def _advance(
    model: Model,
    cuts: Sequence[Cut],
    number: int,
    values: Values,
    data: Dataset,
    images: slice,
    threads: int,
) -> Values:
    """The values at a cut, from those at the one before; the network's input for one that begins there."""
    cut = cuts[number]
    (port,) = model.inputs
    if cut.values == (port.name,):
        return {port.name: data.get(np.arange(images.start, images.stop))[0].astype(port.dtype, copy=False)}
    if not values:  # the first layer's cut is not the input
        values = {port.name: data.get(np.arange(images.start, images.stop))[0].astype(port.dtype, copy=False)}
    fresh = [name for name in cut.values if name not in values]
    found: Values = {name: values[name] for name in cut.values if name in values}
    if fresh:
        head = Session(part(model, {n: v.shape for n, v in values.items()}, fresh), threads=threads or None)
        count = len(next(iter(values.values())))
        for start, stop, given in run_batches(head, values, data.batch_size):
            for name in fresh:
                if name not in found:
                    found[name] = np.empty((count, *given[name].shape[1:]), given[name].dtype)
                found[name][start:stop] = given[name]
    return {name: found[name] for name in cut.values}
