"""Values inside a network while data run through it, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidArgument
from ..graph import Model, TensorInfo
from ..runtime import Session

__all__ = ["stream"]

_BATCH_BYTES = 1 << 26  # of values that leave the network at a time, about
_MOST_ROWS = 32


def stream(
    model: Model,
    images: Iterable[NDArray[np.float32]],
    names: Sequence[str],
    backend: str = "auto",
    threads: int | None = None,
) -> Iterator[dict[str, NDArray[Any]]]:
    """The values `names` for a network's inputs, a few images at a time: memory does not depend on their number.

    Nodes that none of them depends on do not run.

    Args:
        model: a network with one input.
        images: batches [n, …] of it, numbers, of any size.
        names: values of its graph: outputs of nodes, or the input itself.
        backend, threads: as for `rdquant.Session`.

    Yields dicts of arrays [m, …] by name in the values' dtypes, rows in the order of the images.

    Raises InvalidArgument for a network with several inputs, an unknown name, or images that do not fit.
    """
    if len(model.inputs) != 1:
        raise InvalidArgument(
            f"calibration: expected a network with one input, {model.name} has {len(model.inputs)}"
        )
    (port,) = model.inputs
    inner = [name for name in dict.fromkeys(names) if name != port.name]
    session = Session(model.with_outputs(inner), backend=backend, threads=threads) if inner else None
    # a graph that fixes its batch takes no other, where a value's shape does not say what belongs to which
    fixed = port.shape[0] if port.shape and isinstance(port.shape[0], int) else None
    size = _bytes_of_one(session.outputs, port) if session is not None else 0
    rows = fixed or (1 if size is None else _rows(size))  # unknown: one image shows it
    for batch in images:
        start = 0
        while start < len(batch):
            feed = batch[start : start + rows].astype(port.dtype, copy=False)
            start += len(feed)
            taken = _run(session, port.name, feed, fixed or len(feed)) if session is not None else {}
            if size is None and fixed is None:
                size = sum(value.nbytes for value in taken.values()) // len(feed)
                rows = _rows(size)
            if port.name in names:
                taken[port.name] = feed
            yield taken


def _run(session: Session, name: str, images: NDArray[Any], rows: int) -> dict[str, NDArray[Any]]:
    """What the session makes of the images, the last of which is repeated up to `rows`."""
    count = len(images)
    if count == rows:
        return session.run({name: images})
    taken = session.run({name: np.concatenate([images, np.repeat(images[-1:], rows - count, axis=0)])})
    # values that hold as much of each image lose what the repeated ones made
    whole = {
        key: len(value) // rows if value.ndim and len(value) % rows == 0 else 0
        for key, value in taken.items()
    }
    return {key: value[: whole[key] * count] if whole[key] else value for key, value in taken.items()}


def _bytes_of_one(values: Sequence[TensorInfo], images: TensorInfo) -> int | None:
    """Bytes that values take for one image; None where their shapes leave that open."""
    total = 0
    for value in values:
        sizes = [size for size in value.shape[1:] if isinstance(size, int)]
        if value.shape[:1] != images.shape[:1] or len(sizes) != len(value.shape) - 1:
            return None
        total += value.dtype.itemsize * prod(sizes)
    return total


def _rows(size: int) -> int:
    return int(np.clip(_BATCH_BYTES // max(1, size), 1, _MOST_ROWS))
