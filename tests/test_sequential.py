"""When a sweep may stop: the sequential test on paired predictions, and the search that relies on it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdquant.sweep.search import ascending
from rdquant.sweep.sequential import PairedTest, visiting_order


def population(rng: np.random.Generator, count: int, drift: float, bias: float = 0.0) -> np.ndarray:
    """Leads of the float model and of a quantized one, [2, count]; `drift` is the standard deviation between them."""
    leads = rng.normal(1.0, 2.0, count)
    return np.stack([leads, leads + rng.laplace(bias, drift / np.sqrt(2), count)])


def run_test(leads: np.ndarray, allowed: int, randomly: int, seed: int, alpha: float = 1e-4) -> int | None:
    """Images seen when the test failed the point, None if it never did."""
    order = visiting_order(leads[:1], randomly, seed)
    base, moved = leads[:, order]
    test = PairedTest(base > 0, base, allowed, randomly, alpha)
    for begin in range(0, len(base), 8):
        some = slice(begin, begin + 8)
        if test.update(moved[some] > 0, moved[some]):
            return min(begin + 8, len(base))
    return None


def lost(leads: np.ndarray) -> int:
    """Images lost on balance."""
    return int((leads[0] > 0).sum()) - int((leads[1] > 0).sum())


@pytest.mark.parametrize("randomly", [64, 500])
@pytest.mark.parametrize("drift", [0.05, 0.3, 1.0, 3.0])
def test_a_point_just_within_the_tolerance_is_not_failed(drift: float, randomly: int) -> None:
    rng = np.random.default_rng(0)
    for seed in range(60):
        leads = population(rng, 500, drift)
        allowed = max(0, lost(leads))  # exactly what this point loses
        assert run_test(leads, allowed, randomly, seed) is None


def test_betting_alone_errs_as_seldom_as_it_promises() -> None:
    rng = np.random.default_rng(0)
    failed = 0
    for seed in range(300):
        leads = population(rng, 400, 2.0, bias=-0.3)
        wild = leads * np.array([[1.0], [1e6]])  # a drift that promises nothing
        failed += run_test(wild, max(0, lost(leads)), 400, seed, alpha=0.05) is not None
    assert failed <= 300 * 0.05 + 3 * np.sqrt(300 * 0.05 * 0.95)


@pytest.mark.parametrize(("drift", "bias", "most"), [(3.0, -8.0, 48), (1.5, -1.5, 300), (0.2, -0.3, 400)])
def test_a_point_far_beyond_it_is_failed_early(drift: float, bias: float, most: int) -> None:
    rng = np.random.default_rng(1)
    seen = []
    for seed in range(20):
        leads = population(rng, 1000, drift, bias)
        assert lost(leads) > 12
        seen.append(run_test(leads, 2, 64, seed))
    assert all(s is not None for s in seen)
    assert np.median(seen) <= most


@given(
    st.lists(st.tuples(*[st.floats(-3, 3)] * 2), min_size=1, max_size=60),
    st.integers(0, 10),
    st.integers(0, 60),
)
def test_every_point_beyond_the_tolerance_is_failed_by_the_end(
    pairs: list, allowed: int, randomly: int
) -> None:
    leads = np.array(pairs).T
    test = PairedTest(leads[0] > 0, leads[0], allowed, randomly, alpha=1e-12)
    failed = test.update(leads[1] > 0, leads[1])
    assert test.lost == lost(leads)
    assert failed >= (lost(leads) > allowed)


def test_the_visits_are_a_permutation_with_the_fragile_images_first() -> None:
    leads = np.random.default_rng(2).normal(size=(2, 300))
    order = visiting_order(leads, 40, seed=1)
    assert sorted(order) == list(range(300))
    assert np.all(np.diff(np.abs(leads[:, order[40:]]).min(axis=0)) >= 0)
    assert not np.array_equal(order[:40], visiting_order(leads, 40, seed=2)[:40])


def test_ascending_stops_at_the_first_point_within() -> None:
    rate = {
        name: type("R", (), {"entropy": e})() for name, e in (("c", 3.0), ("a", 1.0), ("b", 2.0), ("d", 4.0))
    }
    names = [type("P", (), {"bits": None, "name": n})() for n in "cabd"]
    search = ascending(names, {p: rate[p.name] for p in names})
    visited = [next(search).name, search.send(False).name]
    with pytest.raises(StopIteration):
        search.send(True)
    assert visited == ["a", "b"]
