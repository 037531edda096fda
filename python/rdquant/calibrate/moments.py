"""First and second moments of the inputs of a network's layers, streamed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from .._core.calibrate import Covariance
from ..errors import InvalidArgument
from ..graph import Model
from .layers import Layer
from .tap import stream

__all__ = ["covariances"]


def covariances(
    model: Model,
    images: Iterable[NDArray[np.float32]],
    layers: Sequence[Layer],
    positions: int = 512,
    backend: str = "auto",
    threads: int | None = None,
    done: Callable[[int], None] | None = None,
) -> dict[str, Covariance]:
    """Moments of what each layer's weights multiply, by the name of the weight; layers of one geometry share them.

    Args:
        model: a network with one input, in float.
        images: batches of that input, [n, …]; no labels.
        layers: some of `layers_of(model, volumes=True)`.
        positions: of a convolution's outputs that are sampled in each image, at most.
        backend, threads: as for `rdquant.Session`.
        done: called with the number of further images after every few.

    Memory: a square matrix of doubles per group of a layer, whatever the number of images.

    Raises InvalidArgument where there are no images, or they do not fit.
    """
    sharing: dict[tuple[object, ...], Layer] = {}
    for layer in layers:
        sharing.setdefault(layer.geometry, layer)
    found: dict[tuple[object, ...], Covariance] = {}
    names = [layer.input for layer in sharing.values()]
    seen = 0
    for values in stream(model, images, names, backend, threads):
        for key, layer in sharing.items():
            x = layer.images(values[layer.input])
            if key not in found:
                found[key] = Covariance(
                    x.shape[1],
                    layer.groups,
                    layer.kernel,
                    layer.strides,
                    layer.dilations,
                    layer.padding(*x.shape[2:]),
                    max(1, positions * len(values[layer.input]) // max(1, len(x))),
                )
            found[key].add(x, threads or 0)
        seen += len(next(iter(values.values()))) if values else 0
        if done is not None:
            done(seen)
    if layers and not found:
        raise InvalidArgument("calibration: expected at least one image, got none")
    return {layer.weight: found[layer.geometry] for layer in layers}
