"""Entropies against their definition, and the thesis' figures."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rdquant as rdq
from rdquant import InvalidArgument
from rdquant._core import entropy as core
from rdquant.entropy import compression_ratio, reduction

levels = st.lists(st.one_of(st.integers(-5, 5), st.integers(-(2**31), 2**31 - 1)), max_size=300)


def defined(symbols: list) -> float:
    """−Σ p log2 p."""
    n = len(symbols)
    return sum(-c / n * math.log2(c / n) for c in Counter(symbols).values())


@given(levels.filter(len))
def test_entropy_is_its_definition(symbols: list[int]) -> None:
    assert rdq.entropy(np.array(symbols, np.int32)) == pytest.approx(defined(symbols), abs=1e-9)


@given(levels, st.integers(0, 300))
def test_counts_are_the_same_in_pieces_and_merged(symbols: list[int], cut: int) -> None:
    array = np.array(symbols, np.int32)
    pieces, left, right = core.Counter(), core.Counter(), core.Counter()
    for piece in np.array_split(array, 5):
        pieces.add(np.ascontiguousarray(piece))
    left.add(array[:cut].copy())
    right.add(array[cut:].copy())
    left.merge(right)
    expected = sorted(Counter(symbols).items())
    for counter in (pieces, left):
        counts = counter.finish()
        assert list(zip(counts.values.tolist(), counts.counts.tolist(), strict=True)) == expected
        assert counts.total == len(symbols)
        assert counts.distinct == len(expected)


@pytest.mark.parametrize("spread", [1, 3, 100, 5000, 10**6, 2**31 - 1])
def test_large_counts_against_numpy(spread: int) -> None:
    array = np.random.default_rng(0).integers(-spread, spread, 300_000, endpoint=False).astype(np.int32)
    counter = core.Counter(array.size)
    for piece in np.array_split(array, 7):
        counter.add(np.ascontiguousarray(piece))
    values, counts = np.unique(array, return_counts=True)
    at_once, on_two = core.Counter(array.size), core.Counter(array.size)
    at_once.add(array)
    on_two.add(array, 2)
    for found in (counter.finish(), at_once.finish(), on_two.finish()):
        np.testing.assert_array_equal(found.values, values)
        np.testing.assert_array_equal(found.counts, counts)


def test_extremes() -> None:
    with pytest.raises(rdq.InvalidArgument, match="at least one level"):
        rdq.entropy(np.zeros(0, np.int32))
    assert rdq.entropy(np.full(1000, 7)) == 0.0
    assert rdq.entropy(np.arange(1024)) == pytest.approx(10.0)
    assert rdq.entropy(5) == 0.0
    assert compression_ratio(0.0) == math.inf
    assert compression_ratio(4.0) == 8.0
    assert reduction(4.0) == 0.875


def test_entropy_by_tensor_and_channel() -> None:
    a, b = np.array([[0, 0, 1, 1], [5, 5, 5, 5]]), np.array([3, 3])
    tensors = {"a": a, "b": b}
    assert rdq.entropy(tensors) == pytest.approx(defined([*a.ravel().tolist(), 3, 3]))
    assert rdq.entropy(tensors, by="tensor") == pytest.approx(8 / 10 * defined(a.ravel().tolist()))
    assert rdq.entropy(tensors, by="channel") == pytest.approx(4 / 10 * 1.0)
    assert rdq.entropy(a, by="channel", axis=1) == pytest.approx(1.0)


@given(st.lists(st.integers(-2, 2), min_size=24, max_size=24), st.integers(-3, 2))
def test_conditional_entropy_is_its_definition(symbols: list[int], axis: int) -> None:
    array = np.array(symbols, np.int32).reshape(2, 3, 4)
    moved = np.moveaxis(array, axis, 0)
    before, after = moved[:-1].ravel().tolist(), moved[1:].ravel().tolist()
    expected = defined(list(zip(before, after, strict=True))) - defined(before)
    assert rdq.conditional_entropy(array, axis) == pytest.approx(max(0.0, expected), abs=1e-9)
    assert rdq.entropy(array, context=axis) == pytest.approx(max(0.0, expected), abs=1e-9)


def test_a_predictable_sequence_costs_nothing_given_its_past() -> None:
    assert rdq.conditional_entropy(np.arange(100) % 4) == pytest.approx(0.0, abs=1e-9)
    assert rdq.entropy(np.arange(100) % 4) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda: rdq.entropy([0.5]), "integers"),
        (lambda: rdq.entropy([2**40]), "int32"),
        (lambda: rdq.entropy([1], by="row"), "'tensor' or 'channel'"),
        (lambda: rdq.entropy([1], by="tensor", context=0), "cannot be given together"),
        (lambda: rdq.conditional_entropy([1, 2], 1), "no axis 1"),
        (lambda: rdq.entropy([1, 2], by="channel", axis=3), "no axis 3"),
    ],
)
def test_wrong_arguments_are_explained(call, what: str) -> None:
    with pytest.raises(InvalidArgument, match=what):
        call()


def test_float_entropy_counts_distinct_values() -> None:
    assert rdq.float_entropy({"a": np.float32([0.5, 0.5]), "b": np.float64([0.25, 1.0])}) == pytest.approx(
        1.5
    )
    assert rdq.float_entropy(np.float32(1.0)) == 0.0
    with pytest.raises(InvalidArgument, match="names"):
        rdq.float_entropy({"names": np.array(["a"])})


def test_squeezenet_rates_of_the_thesis(shared_data) -> None:
    weights = rdq.load(shared_data / "models" / "squeezenet1.1-7.onnx").weights()
    assert sum(w.size for w in weights.values()) == 1_235_496
    assert rdq.float_entropy(weights) == pytest.approx(20.222, abs=0.001)
    rate = rdq.rate(weights, rdq.Midtread.from_levels(bits=8, range=1.0))
    assert rate.entropy == pytest.approx(4.679, abs=0.001)
    assert int(rate.entropy * 100) / 100 == 4.67  # as printed: cut, not rounded
    assert rate.cr == pytest.approx(6.85, abs=0.015)
