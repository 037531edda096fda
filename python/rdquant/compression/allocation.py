"""Which step for which tensor: bits against measured damage to the outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Curve", "damage_at", "price_of", "price_of_bits", "steps_at"]

_FINE = 2.0 ** (1 / 16)  # ratio of neighbouring steps that are tried
_REACH = 16.0  # beyond the steps that were measured, either way
_FINER = 128  # of these steps that are tried below that: levels of some 16 bits, for the smallest losses
_LEAST_DAMAGE = 1e-9  # nats; what is below is rounding of float32


@dataclass(frozen=True)
class Curve:
    """What one tensor alone costs and does at a few steps, rising.

    Attributes:
        size: number of weights.
        steps: float64 [n], n ≥ 2.
        bits: measured size, float64 [n].
        damage: KL divergence of the outputs, nats, float64 [n].
    """

    size: int
    steps: NDArray[np.float64]
    bits: NDArray[np.float64]
    damage: NDArray[np.float64]

    def at(self, steps: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(bits, damage) at any steps: straight lines in log Δ, log damage; beyond the measured ones, a bit per weight
        and four times the damage for a step twice as large, as at high rates.
        """
        x, known = np.log2(steps), np.log2(self.steps)
        damage = np.log2(np.maximum.accumulate(np.maximum(self.damage, _LEAST_DAMAGE)))
        bits = np.interp(x, known, self.bits)
        below, above = np.maximum(0, known[0] - x), np.maximum(0, x - known[-1])
        slope = (self.bits[-2] - self.bits[-1]) / (known[-1] - known[-2])
        bits = np.maximum(0.0, bits + self.size * below - np.minimum(slope, self.size) * above)
        return bits, np.exp2(np.interp(x, known, damage) + 2 * (above - below))


def steps_at(curves: Mapping[str, Curve], price: float) -> dict[str, float]:
    """For every tensor the step with the least bits + damage/price; a larger price means fewer bits.

    price: nats a bit. Damage of tensors adds up where it is small (each is a square in the error), so that one price
    for all tensors gives the fewest bits for their sum.
    """
    chosen = {}
    for name, curve in curves.items():
        count = int(np.ceil(np.log(curve.steps[-1] / curve.steps[0] * _REACH**2) / np.log(_FINE)))
        steps = curve.steps[0] / _REACH * _FINE ** np.arange(-_FINER, count + 1)
        bits, damage = curve.at(steps)
        chosen[name] = float(steps[np.argmin(bits + damage / price)])
    return chosen


def bits_at(curves: Mapping[str, Curve], steps: Mapping[str, float]) -> float:
    """Size of all tensors at these steps."""
    return sum(float(c.at(np.array([steps[n]]))[0][0]) for n, c in curves.items())


def damage_at(curves: Mapping[str, Curve], steps: Mapping[str, float]) -> float:
    """Damage of all tensors at these steps together, nats."""
    return sum(float(c.at(np.array([steps[n]]))[1][0]) for n, c in curves.items())


def price_of_bits(curves: Mapping[str, Curve], bits: float) -> float:
    """The price at which a weight costs about so many bits."""
    most = bits * sum(c.size for c in curves.values())
    return _bisected(lambda price: bits_at(curves, steps_at(curves, price)) <= most)


def price_of(curves: Mapping[str, Curve], damage: float) -> float:
    """The price at which all tensors together do about so much damage, nats."""
    return _bisected(lambda price: damage_at(curves, steps_at(curves, price)) >= damage)


def _bisected(reached: Callable[[float], bool]) -> float:
    """The price from which on `reached` holds."""
    low, high = 1e-15, 1e3
    for _ in range(60):
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if reached(middle) else (middle, high)
    return low
