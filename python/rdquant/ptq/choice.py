"""What a network's levels are chosen by: a grid for each value, and whether equalization pays."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from .curves import curve_of
from .damage import Judge
from .equalize import equalized
from .export import write
from .grids import Grid, grid_of
from .network import Network
from .observe import observe
from .observed import Observed
from .options import Options
from .placement import Placement
from .ranges import range_of

__all__ = ["choose_grid", "pays"]

Images = Callable[[], Iterable[NDArray[np.float32]]]
_WORTH = 0.9  # of what the outputs lose without equalization, that it must not exceed


def choose_grid(network: Network, value: str, observed: Observed, options: Options) -> Grid:
    """The levels of `value`, whose values `observed` describes."""
    curved = curve_of(network, value)
    curve = curved[0] if curved is not None else None
    low, high = range_of(observed, options.ranges, options.percentile, options.symmetric, curve)
    return grid_of(low, high, options.activations, options.symmetric)


def pays(network: Network, placement: Placement, halves: tuple[Images, Images], options: Options) -> bool:
    """Whether levels of activations cost a tenth less once channels are equalized, on images that nobody looked at.

    Weights keep their numbers here: to the nearest level they would drown what activations gain. Extremes are taken of
    the first half and the loss of the second, for a channel that few images use may be scaled far beyond the clip that
    follows it: the images that it was scaled by would not show that.
    """
    seen, unseen = halves
    judge = Judge(network.model, unseen, options.threads)

    def loss(found: Network, known: dict[str, Observed]) -> float:
        grids = {value: choose_grid(found, value, known[value], options) for value in placement.values}
        return judge.damage(write(found, placement, grids, {})).score

    roots = list(placement.roots)
    known = observe(network.model, seen, roots, options.threads)
    model, count = equalized(network, known, roots, options.equalize)
    if count == 0:
        return False
    scaled = Network(model)
    before = loss(network, known)
    return loss(scaled, observe(model, seen, roots, options.threads)) < _WORTH * before
