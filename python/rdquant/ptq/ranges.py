"""How much of a value's range its levels cover."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidArgument
from .curves import Curve
from .grids import grid_of
from .observed import Observed

__all__ = ["METHODS", "range_of"]

METHODS = ("minmax", "average", "percentile", "mse", "kl")
"""All that was seen; averages of the images' extremes; all but a few values; the least squared error, of which that of
clipped values counts four times, because it has one sign and adds up where errors of rounding cancel out; the least
Kullback–Leibler divergence of the histograms (Migacz, "8-bit inference with TensorRT", 2017)."""

_SHARES = np.linspace(1.0, 0.1, 91)  # of the extremes that are tried
_LEVELS = 256
_TINY = 1e-9
_CLIPPED = 4.0  # times an error of clipping counts as one of rounding

Floats = NDArray[np.float64]
Cost = Callable[[float, float], float]


def range_of(
    observed: Observed,
    method: str,
    percentile: float = 99.999,
    symmetric: bool = False,
    curve: Curve | None = None,
) -> tuple[float, float]:
    """(low, high) that levels shall reach from and to, low ≤ 0 ≤ high; what lies outside is clipped.

    Args:
        observed: what was seen of the value.
        method: one of `METHODS`.
        percentile: share of the values, in percent, that "percentile" keeps: as many are left out at either end, at an end
            where they have the other sign than most none.
        symmetric: the range will be made symmetric, which "mse" and "kl" take into account.
        curve: the function through which alone the value is read: "mse" takes the error of what it makes of the value, so
            that SiLU's input need not reach far below 0.

    Raises InvalidArgument for an unknown method or a percentile outside 50..100.
    """
    if method not in METHODS:
        raise InvalidArgument(f"ranges: expected one of {METHODS}, got {method!r}")
    if not 50 <= percentile <= 100:
        raise InvalidArgument(f"percentile: expected 50..100, got {percentile}")
    low, high = min(observed.low, 0.0), max(observed.high, 0.0)
    if method == "minmax" or low == high:
        return low, high
    if method == "average":
        return min(observed.average[0], 0.0), max(observed.average[1], 0.0)
    middles, counts = observed.bins()
    weights = counts.astype(np.float64)
    if method == "percentile":
        return _percentile(middles, weights, low, high, percentile)
    if method == "mse":
        wanted = middles if curve is None else curve(middles)
        return _search(
            low, high, lambda a, b: _squared_error(middles, wanted, weights, a, b, symmetric, curve)
        )
    return _search(low, high, lambda a, b: _divergence(middles, weights, a, b, symmetric))


def _percentile(
    middles: Floats, weights: Floats, low: float, high: float, percentile: float
) -> tuple[float, float]:
    tail = (1 - percentile / 100) / 2 * weights.sum()
    sums = np.cumsum(weights)
    first = middles[min(np.searchsorted(sums, tail, "right"), middles.size - 1)]
    last = middles[min(np.searchsorted(sums, sums[-1] - tail), middles.size - 1)]
    if tail < 1:  # less than one value: nothing is left out
        return low, high
    return min(float(first), 0.0), max(float(last), 0.0)


def _search(low: float, high: float, cost: Cost) -> tuple[float, float]:
    """The shares of both extremes of least cost, one after the other, twice."""
    for _ in range(2 if low < 0 < high else 1):
        if high > 0:
            high = min((high * float(s) for s in _SHARES), key=lambda h: cost(low, h))
        if low < 0:
            low = min((low * float(s) for s in _SHARES), key=lambda v: cost(v, high))
    return low, high


def _levels(values: Floats, low: float, high: float, symmetric: bool) -> tuple[NDArray[np.int64], Floats]:
    """Levels of `values`, and what they stand for."""
    grid = grid_of(low, high, "u8", symmetric)
    first, last = grid.bounds
    levels = np.clip(np.rint(values / grid.scale) + grid.zero, first, last)
    return levels.astype(np.int64), (levels - grid.zero) * grid.scale


def _squared_error(
    middles: Floats,
    wanted: Floats,
    weights: Floats,
    low: float,
    high: float,
    symmetric: bool,
    curve: Curve | None,
) -> float:
    _, restored = _levels(middles, low, high, symmetric)
    found = restored if curve is None else curve(restored)
    clipped = (middles < low) | (middles > high)
    return float((weights * np.where(clipped, _CLIPPED, 1.0)) @ np.square(wanted - found))


def _divergence(middles: Floats, weights: Floats, low: float, high: float, symmetric: bool) -> float:
    """KL(P‖Q): P the histogram with what is clipped in its outermost bins, Q the same seen through the levels, whose
    counts spread evenly over the bins that are not empty.
    """
    levels, _ = _levels(middles, low, high, symmetric)
    inside = (middles >= low) & (middles <= high)
    if not inside.any():
        return np.inf
    seen = np.where(inside, weights, 0.0)
    p = seen.copy()
    places = np.flatnonzero(inside)
    p[places[0]] += weights[: places[0]].sum()
    p[places[-1]] += weights[places[-1] + 1 :].sum()
    filled = (seen > 0).astype(np.float64)
    total = np.bincount(levels, seen, _LEVELS)
    bins = np.bincount(levels, filled, _LEVELS)
    q = np.where(filled > 0, (total / np.maximum(bins, 1))[levels], 0.0)
    p, q = p / max(p.sum(), _TINY), q / max(q.sum(), _TINY)
    some = p > 0
    return float(p[some] @ np.log(p[some] / np.maximum(q[some], _TINY)))
