"""Rates: one pass must give what quantize, entropy and dequantize give one after the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import rdquant as rdq
from rdquant import Codebook, Deadzone, InvalidArgument, Midtread, Minifloat, MuLaw

rng = np.random.default_rng(0)
WEIGHTS = {
    "conv": rng.laplace(size=(64, 32, 3, 3)).astype(np.float32) * 0.1,
    "bias": rng.normal(size=64).astype(np.float32),
    "empty": np.zeros((0, 3), np.float32),
    "scalar": np.float32(0.3),
}
QUANTIZERS = [
    Midtread(0.01),
    Deadzone(0.02, 0.7),
    MuLaw(255, 6),
    Minifloat(8, 4, 3),
    Codebook((-0.2, 0.0, 0.1)),
]


@pytest.mark.parametrize("quantizer", QUANTIZERS, ids=lambda q: q.label)
def test_rate_is_what_the_steps_give(quantizer: rdq.Quantizer) -> None:
    levels = {name: quantizer.quantize(w) for name, w in WEIGHTS.items()}
    restored, rate = rdq.requantize(WEIGHTS, quantizer)
    for name, tensor in restored.items():
        np.testing.assert_array_equal(tensor, quantizer.dequantize(levels[name]))
    assert rate.entropy == rdq.entropy(levels)
    assert rate == rdq.rate(WEIGHTS, quantizer)
    error = sum(np.square(WEIGHTS[n].astype(np.float64) - restored[n]).sum() for n in WEIGHTS)
    energy = sum(np.square(np.float64(w)).sum() for w in WEIGHTS.values())
    assert rate.count == sum(w.size for w in WEIGHTS.values())
    assert rate.mse == pytest.approx(error / rate.count)
    assert rate.sqnr_db == pytest.approx(10 * np.log10(energy / error), abs=1e-4)
    assert rate.entropy_tables > rate.entropy
    alone = rdq.rate(WEIGHTS, quantizer, distortion=False)
    assert np.isnan([alone.mse, alone.sqnr_db]).all()
    assert replace(alone, mse=rate.mse, sqnr_db=rate.sqnr_db) == rate
    by_tensor = rdq.rate(WEIGHTS, quantizer, by="tensor")
    assert by_tensor.entropy == pytest.approx(rdq.entropy(levels, by="tensor"))
    assert by_tensor.entropy <= rate.entropy


def test_a_quantizer_a_tensor_and_a_channel() -> None:
    def chosen(name: str, tensor: np.ndarray) -> rdq.Quantizer:
        return Midtread.from_levels(4, "max", 0 if name == "conv" else None, tensor)

    restored, rate = rdq.requantize(WEIGHTS, chosen, by="tensor")
    by_hand = Midtread.from_levels(4, "max", 0, WEIGHTS["conv"])
    np.testing.assert_array_equal(restored["conv"], by_hand.dequantize(by_hand.quantize(WEIGHTS["conv"])))
    side_bits = 32 * (64 + 1 + 1 + 1)  # steps
    assert rate.entropy_tables * rate.count >= rate.entropy * rate.count + side_bits


def test_degenerate_weights() -> None:
    zeros = rdq.rate(np.zeros(100), Midtread(0.1))
    assert (zeros.entropy, zeros.mse, zeros.cr, zeros.re) == (0.0, 0.0, np.inf, 1.0)
    assert zeros.sqnr_db == np.inf
    nothing = rdq.rate({}, Midtread(0.1))
    assert (nothing.entropy, nothing.count) == (0.0, 0)


@pytest.mark.parametrize("axis", [None, 0])
def test_threads_do_not_change_a_rate(axis: int | None) -> None:
    weights = rng.laplace(size=(3, 150_001)).astype(np.float32)
    quantizer = Midtread.from_levels(8, "max", axis, weights)
    rates = [rdq.rate(weights, quantizer, distortion=False, threads=n) for n in (1, 2, 5, 0)]
    assert {r.entropy for r in rates} == {rdq.entropy(quantizer.quantize(weights))}


@pytest.mark.parametrize("distortion", [True, False])
def test_a_bad_weight_is_named_with_its_tensor(distortion: bool) -> None:
    weights = {"good": np.ones(4, np.float32), "conv1.weight": np.ones((40, 1000), np.float32)}
    weights["conv1.weight"][39, 7] = np.nan
    with pytest.raises(InvalidArgument, match=r"tensor 'conv1.weight': value at index 39007 is NaN"):
        rdq.rate(weights, Midtread(0.1), distortion=distortion)


def test_a_quantizer_that_does_not_fit_is_named_with_the_tensor() -> None:
    with pytest.raises(InvalidArgument, match="tensor 'w': quantizer with 2 channels"):
        rdq.rate({"w": np.zeros((3, 3))}, Midtread((1.0, 2.0), axis=0))
    with pytest.raises(InvalidArgument, match="by: expected None or 'tensor', got 'layer'"):
        rdq.rate(np.zeros(3), Midtread(1.0), by="layer")
