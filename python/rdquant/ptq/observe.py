"""Ranges of a network's inner values, streamed: memory does not grow with the number of images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..calibrate import portions as cut
from ..calibrate import stream
from ..errors import InvalidArgument
from ..graph import Model
from .observed import Observed

__all__ = ["observe", "portions"]

Images = Callable[[], Iterable[NDArray[np.float32]]]
_PORTION_BYTES = 3 << 24  # of values that leave the network for one image in one pass


def portions(model: Model, values: Sequence[str]) -> Iterator[list[str]]:
    """`values` in portions that take about 50 MB an image, as far as shapes are known: each needs a pass of its own."""
    graph = model.skeleton.graph
    sizes = {
        info.name: 4 * math.prod(max(1, d.dim_value) for d in info.type.tensor_type.shape.dim)
        for info in (*graph.value_info, *graph.input, *graph.output)
    }
    return cut(dict.fromkeys(values), lambda value: sizes.get(value, 0), _PORTION_BYTES)


def observe(
    model: Model,
    images: Images,
    values: Sequence[str],
    threads: int | None = None,
    done: Callable[[int], None] | None = None,
) -> dict[str, Observed]:
    """What `values` of `model` are like on the images, by name.

    images: gives batches of the input, the same ones each time: there is a pass for each portion of the values. done:
    called with the number of further images that a pass has seen.

    Raises InvalidArgument where there are no images, or a value becomes NaN or infinite.
    """
    found = {value: Observed(value) for value in values}
    for portion in portions(model, values):
        for batch in stream(model, images(), portion, threads=threads):
            for value in portion:
                found[value].add(batch[value])
            if done is not None:
                done(len(batch[portion[0]]))
    if any(seen.images == 0 for seen in found.values()):
        raise InvalidArgument("calibration: expected at least one image, got none")
    return found
