"""What single output channels cost: curvature of the divergence at the outputs of layers, from gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..calibrate import Layer, sensitivities
from ..data import Dataset
from ..graph import Model
from .classes import Group

__all__ = ["channel_weights", "fisher_name", "last_stage"]

_IMAGES = 1000  # that gradients are taken on, of a group, at most


def last_stage(layers: Sequence[Layer]) -> list[int]:
    """Positions of the last of `layers`, which hold half of the weights: where channels differ in whom they serve."""
    sizes = np.array([int(np.prod(layer.shape)) for layer in layers])
    after = np.cumsum(sizes[::-1])[::-1] - sizes
    return [i for i in range(len(layers)) if after[i] < sizes.sum() / 2]


def fisher_name(layer: int, group: Group | None) -> str:
    """What `channel_weights` calls the weights of a layer for a group of classes; None: all."""
    return f"fisher/{'all' if group is None else ','.join(map(str, group))}/{layer}"


def channel_weights(
    model: Model,
    layers: Sequence[Layer],
    fit: Dataset,
    data: Dataset,
    groups: Sequence[Group | None],
    threads: int,
    done: Callable[[], None],
) -> dict[str, NDArray[np.float64]]:
    """float64 [rows] for every layer: diagonal of the second moments of gradients at its outputs, by `fisher_name`.

    fit: images of all classes, for the group None. data: those of other `groups` are taken from them. Layers without a
    gradient are left out.
    """
    parts: dict[Group | None, Dataset] = {}
    for critical in groups:
        if critical is None:
            parts[None] = fit
            continue
        own = np.flatnonzero(np.isin(data.labels, critical))
        parts[critical] = data.take(own[:: max(1, -(-len(own) // _IMAGES))])
    found: dict[str, NDArray[np.float64]] = {}
    for group, images in parts.items():
        moments = sensitivities(model, (x for x, _ in images), layers, threads=threads or None)
        for i, layer in enumerate(layers):
            if layer.weight in moments:
                diagonal = np.einsum("gii->gi", moments[layer.weight].moments).reshape(-1)
                found[fisher_name(i, group)] = np.asarray(diagonal, np.float64)
        done()
    return found
