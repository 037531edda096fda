"""Moments and histograms: the part of rdquant.stats that reads the values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import as_floats, tensors_of
from .._core import stats as _core
from ..errors import InvalidArgument, count, described, number, threads_of

Moments = _core.Moments
"""count, zeros, min, max, mean, variance (of the population), std, skewness, kurtosis (excess), mean_abs.

`a.merge(b)` makes `a` the moments of all values of both. Averages over no values are NaN; skewness and
kurtosis of equal values are 0."""


def named_values(values: Any) -> list[tuple[str, Any]]:
    """(what to call it in a message, C-contiguous array) for an array, a mapping of tensors or a model."""
    tensors = tensors_of(values)
    if isinstance(values, np.ndarray) or list(tensors) == ["values"]:
        return [("values", as_floats(tensors["values"]))]
    return [(f"tensor '{name}'", as_floats(t, f"tensor '{name}'")) for name, t in tensors.items()]


def moments(values: Any, threads: int | None = 1) -> Moments:
    """Moments of an array, or of all tensors of a mapping or model together, in one pass.

    Args:
        values: float32 or float64 of any shape (other real dtypes become float32), a mapping of such, or a model: a
            `Model`, or what `rdquant.load` takes.
        threads: up to this many threads; None or 0: all cores; the result does not depend on it.

    Raises InvalidArgument for no values at all, and for NaN and infinity, naming tensor and flat index.
    """
    found = _core.moments(named_values(values), threads_of(threads))
    if found.count == 0:
        raise InvalidArgument("values: expected at least one number, got none")
    return found


class Histogram:
    """Counts over `bins` bins of equal width from `low` to `high`; values may come in any number of portions.

    Bin i holds edges[i] <= x < edges[i + 1], the last bin also its upper edge (as NumPy). Values outside
    are counted in `below` and `above`. Counts are int64; histograms of the same bins merge exactly.

    low < high, finite, in the values' unit; bins 1..16777216; else InvalidArgument.
    """

    def __init__(self, low: float, high: float, bins: int = 100) -> None:
        self._core = _core.Histogram(
            number("low", low), number("high", high), count("bins", bins, 1, 1 << 24)
        )

    @classmethod
    def of(
        cls,
        values: Any,
        bins: int | str = 100,
        range: tuple[float, float] | None = None,
        threads: int | None = 1,
    ) -> Histogram:
        """Histogram of values.

        Args:
            values: as for `moments`; NaN, infinity and no values at all raise InvalidArgument.
            bins: a number, or a rule of NumPy's: "sqrt", "sturges", "rice", "scott", "fd" (at most 65536 bins).
            range: by default the values' own (of equal values: half a unit either side).
            threads: up to this many threads; None or 0: all cores.
        """
        named, used = named_values(values), threads_of(threads)
        m = _core.moments(named, used)
        if m.count == 0:
            raise InvalidArgument("values: expected at least one, got none")
        low, high = range_of(m) if range is None else interval_of(range)
        result = cls(low, high, number_of_bins(bins, named, m, (low, high)))
        result._core.add(named, used)
        return result

    @classmethod
    def _wrap(cls, core: _core.Histogram) -> Histogram:
        result = cls.__new__(cls)
        result._core = core
        return result

    def add(self, values: Any, threads: int | None = 1) -> Histogram:
        """Counts more values, returns itself.

        values: as for `moments`; NaN and infinity raise InvalidArgument and add nothing. threads: up to this many threads; None
        or 0: all cores.
        """
        self._core.add(named_values(values), threads_of(threads))
        return self

    def merge(self, other: Histogram) -> Histogram:
        """Adds the counts of `other`, which has the same range and bins (else InvalidArgument), returns itself."""
        if not isinstance(other, Histogram):
            raise InvalidArgument(f"other: expected a Histogram, got {described(other)}")
        self._core.merge(other._core)
        return self

    @property
    def low(self) -> float:
        """Lower edge of the first bin, in the values' unit."""
        return self._core.low

    @property
    def high(self) -> float:
        """Upper edge of the last bin, in the values' unit."""
        return self._core.high

    @property
    def bins(self) -> int:
        """Number of bins."""
        return self._core.bins

    @property
    def below(self) -> int:
        """Values below the range."""
        return self._core.below

    @property
    def above(self) -> int:
        """Values above the range."""
        return self._core.above

    @property
    def counts(self) -> NDArray[np.int64]:
        """int64 [bins]"""
        return self._core.counts

    @property
    def edges(self) -> NDArray[np.float64]:
        """float64 [bins + 1]"""
        return self._core.edges

    @property
    def density(self) -> NDArray[np.float64]:
        """float64 [bins], per unit of the values; integrates to 1 over the range; all 0 if it is empty."""
        return self._core.density

    def __repr__(self) -> str:
        inside = int(self.counts.sum())
        return f"Histogram({self.low:g}..{self.high:g}, bins={self.bins}, inside={inside})"


def range_of(m: Moments) -> tuple[float, float]:
    return (m.min, m.max) if m.min < m.max else (m.min - 0.5, m.max + 0.5)


def interval_of(range: Any) -> tuple[float, float]:
    """(low, high), two finite numbers, the lower first; InvalidArgument for anything else."""
    if not isinstance(range, (tuple, list, np.ndarray)) or np.ndim(range) == 0 or len(range) != 2:
        raise InvalidArgument(f"range: expected (low, high), got {described(range)}")
    low, high = number("range", range[0]), number("range", range[1])
    if low >= high:
        raise InvalidArgument(f"range: expected (low, high), the lower first, got {described(range)}")
    return low, high


def number_of_bins(
    bins: int | str, named: list[tuple[str, Any]], m: Moments, range: tuple[float, float]
) -> int:
    if not isinstance(bins, str):
        return count("bins", bins, 1, 1 << 24)
    n, width = m.count, range[1] - range[0]
    if bins == "fd":
        fine = _core.Histogram(m.min, m.max, 65536) if m.min < m.max else None
        if fine is None:
            return 1
        fine.add(named)
        low, high = np.interp([0.25, 0.75], np.cumsum(fine.counts) / n, fine.edges[1:])
        bin_width = 2 * (high - low) / n ** (1 / 3)
    else:
        widths = {
            "sqrt": width / math.sqrt(n),
            "sturges": width / (math.log2(n) + 1),
            "rice": width / (2 * n ** (1 / 3)),
            "scott": (24 * math.sqrt(math.pi) / n) ** (1 / 3) * m.std,
        }
        if bins not in widths:
            raise InvalidArgument(f"bins: expected a number or one of fd, {', '.join(widths)}, got {bins!r}")
        bin_width = widths[bins]
    return min(65536, max(1, math.ceil(width / bin_width))) if bin_width > 0 else 1
