"""Values inside a network while data run through it, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidArgument
from ..graph import Model
from ..runtime import Session

__all__ = ["stream"]

_BATCH_BYTES = 1 << 26  # of values that leave the network at a time, about


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
    rows = 1  # the first image alone tells what one takes
    for batch in images:
        start = 0
        while start < len(batch):
            feed = batch[start : start + rows].astype(port.dtype, copy=False)
            start += len(feed)
            taken = session.run({port.name: feed}) if session is not None else {}
            size = sum(value.nbytes for value in taken.values()) // len(feed)
            # a graph that fixes one image takes no more, where a value's shape does not say what belongs to which
            most = 1 if port.shape and port.shape[0] == 1 else 32
            rows = int(np.clip(_BATCH_BYTES // max(1, size), 1, most))
            if port.name in names:
                taken[port.name] = feed
            yield taken
