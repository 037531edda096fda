"""Grids of 8 bits, what is observed of values, and how far levels reach."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rdquant import InvalidArgument
from rdquant.ptq import METHODS, grid_of, range_of
from rdquant.ptq.observed import Observed

Array = NDArray[Any]
FINITE = st.floats(-1e6, 1e6, width=32)


# --- grids ---------------------------------------------------------------------------------------


@given(low=FINITE, high=FINITE, kind=st.sampled_from(["u8", "s8"]), symmetric=st.booleans())
def test_zero_is_a_level_and_the_range_is_covered(
    low: float, high: float, kind: str, symmetric: bool
) -> None:
    low, high = min(low, high), max(low, high)
    grid = grid_of(low, high, kind, symmetric)
    assert grid.values(grid.levels(np.float32(0))) == 0
    first, last = grid.range
    extent = max(high, 0.0) - min(low, 0.0)
    if extent > 1e-25:
        assert first <= min(low, 0) + 0.51 * grid.scale + 1e-6 * extent
        assert last >= max(high, 0) - 0.51 * grid.scale - 1e-6 * extent
        values = np.linspace(max(first, min(low, 0)), min(last, max(high, 0)), 101, dtype=np.float32)
        error = np.abs(grid.values(grid.levels(values)) - values)
        assert error.max() <= 0.5 * grid.scale + 1e-6 * extent


def test_levels_end_where_a_clip_ends() -> None:
    for high in np.random.default_rng(0).uniform(0.1, 10, 100).astype(np.float32):
        grid = grid_of(0.0, float(high))
        assert np.float32(grid.scale) * np.float32(255) <= high


@pytest.mark.parametrize(("low", "high"), [(1.0, -1.0), (np.nan, 1.0), (0.0, np.inf)])
def test_ranges_must_be_ranges(low: float, high: float) -> None:
    with pytest.raises(InvalidArgument, match=r"low|high"):
        grid_of(low, high)


# --- what is observed ----------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.floats(-1e4, 1e4), st.floats(1e-6, 1e4), st.integers(1, 60)), min_size=1, max_size=8
    )
)
def test_a_histogram_that_widens_counts_what_one_that_knew_would(
    parts: list[tuple[float, float, int]],
) -> None:
    random = np.random.default_rng(0)
    portions = [
        (mean + spread * random.standard_normal((1, n))).astype(np.float32) for mean, spread, n in parts
    ]
    seen = Observed("v")
    for portion in portions:
        seen.add(portion)
    values = np.concatenate([p.reshape(-1) for p in portions])
    assert (seen.low, seen.high) == (values.min(), values.max())
    middles, counts = seen.bins()
    assert counts.sum() == values.size
    assert counts.size <= 4096
    width = 2.0**seen._exponent
    wanted = np.bincount(np.floor(values.astype(np.float64) / width).astype(np.int64) - seen._first)
    np.testing.assert_array_equal(counts[: wanted.size], wanted)
    assert not counts[wanted.size :].any()
    assert middles.min() >= seen.low
    assert middles.max() <= seen.high
    if values.min() < values.max():
        assert width <= 8 * (seen.high - seen.low) / 4096 + 2.0**-80 or counts.size >= 1024


def test_extremes_of_channels_and_averages() -> None:
    x = np.random.default_rng(0).standard_normal((7, 3, 4, 5)).astype(np.float32)
    seen = Observed("v")
    seen.add(x[:3])
    seen.add(x[3:])
    np.testing.assert_array_equal(seen.channel_low, x.min(axis=(0, 2, 3)))
    np.testing.assert_array_equal(seen.channel_high, x.max(axis=(0, 2, 3)))
    np.testing.assert_allclose(seen.average, (x.min(axis=(1, 2, 3)).mean(), x.max(axis=(1, 2, 3)).mean()))
    assert seen.images == 7
    with pytest.raises(InvalidArgument, match="'v': it becomes NaN"):
        seen.add(np.full((1, 3, 4, 5), np.nan, np.float32))


def test_memory_does_not_grow_with_the_images() -> None:
    seen = Observed("v")
    random = np.random.default_rng(0)
    for i in range(200):
        seen.add((random.standard_normal((1, 2, 300, 300)) * (1 + i)).astype(np.float32))
    assert seen.bins()[1].size <= 4096
    assert seen.bins()[1].sum() <= 200 * (1 << 14)


# --- ranges --------------------------------------------------------------------------------------


def observed(values: Array) -> Observed:
    seen = Observed("v")
    for part in np.array_split(values.astype(np.float32), 4):
        seen.add(part.reshape(1, -1))
    return seen


def squared_error(values: Array, low: float, high: float) -> float:
    """Mean squared error; that of clipped values counts four times."""
    grid = grid_of(low, high)
    error = np.square(grid.values(grid.levels(values)) - values, dtype=np.float64)
    return float((error * np.where((values < low) | (values > high), 4.0, 1.0)).mean())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["normal", "relu", "outlier", "zero"])
def test_ranges_lie_within_the_extremes(method: str, kind: str) -> None:
    x = np.random.default_rng(0).standard_normal(20000).astype(np.float32)
    x = {"normal": x, "relu": np.maximum(x, 0), "outlier": np.append(x, 80.0), "zero": 0 * x}[kind]
    low, high = range_of(observed(x), method, 99.9)
    assert min(x.min(), 0) <= low <= 0 <= high <= max(x.max(), 0)
    if kind == "relu":
        assert low == 0


def test_the_least_squared_error_is_that_of_a_search_over_the_values_themselves() -> None:
    x = np.random.default_rng(0).laplace(size=40000).astype(np.float32)
    low, high = range_of(observed(x), "mse")
    best = min(
        squared_error(x, a, b) for a in np.linspace(x.min(), 0, 40) for b in np.linspace(x.max(), 0.1, 40)
    )
    assert squared_error(x, low, high) <= 1.02 * best
    assert squared_error(x, low, high) < 0.98 * squared_error(x, float(x.min()), float(x.max()))


def test_percentiles_are_numpys() -> None:
    x = np.random.default_rng(1).standard_normal(50000).astype(np.float32)
    low, high = range_of(observed(x), "percentile", 99.0)
    np.testing.assert_allclose([low, high], np.percentile(x, [0.5, 99.5]), atol=0.01)
    assert range_of(observed(x[:100]), "percentile", 99.99) == (x[:100].min(), x[:100].max())


def test_divergence_clips_a_lonely_outlier() -> None:
    x = np.append(np.random.default_rng(0).standard_normal(20000), 200).astype(np.float32)
    low, high = range_of(observed(x), "kl")
    assert high < 100
    assert low <= -2


def test_arguments_are_checked() -> None:
    with pytest.raises(InvalidArgument, match="ranges: expected one of"):
        range_of(observed(np.ones(3)), "max")
    with pytest.raises(InvalidArgument, match="percentile"):
        range_of(observed(np.ones(3)), "percentile", 20)
