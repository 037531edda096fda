"""Steps for a price, and trials that close in on a limit."""

from __future__ import annotations

import numpy as np
import pytest

from rdquant.compression.allocation import Curve, damage_at, price_of, price_of_bits, steps_at
from rdquant.compression.bracket import Bracket, Labelled, Trial, closed_in


def test_steps_spend_bits_where_they_save_most() -> None:
    steps = np.array([0.1, 0.2, 0.4])
    bits = 1000 * (3 - np.log2(steps / 0.1))
    curves = {
        "dull": Curve(1000, steps, bits, 0.01 * steps**2),
        "keen": Curve(1000, steps, bits, 0.64 * steps**2),
    }
    chosen = steps_at(curves, 1e-6)
    # Equal slopes: damage ∝ k·Δ², bits ∝ −log Δ, so Δ ∝ 1/√k.
    assert chosen["dull"] / chosen["keen"] == pytest.approx(8, rel=0.1)
    assert steps_at(curves, 4e-6)["keen"] == pytest.approx(2 * chosen["keen"], rel=0.1)


def test_prices_are_found_by_bits_and_by_damage() -> None:
    steps = np.array([0.1, 0.2, 0.4])
    curves = {
        name: Curve(1000, steps, 1000 * (4 - np.log2(steps / 0.1)), times * steps**2)
        for name, times in (("dull", 0.01), ("keen", 0.64))
    }
    for bits in (2.0, 3.5):
        chosen = steps_at(curves, price_of_bits(curves, bits))
        found = sum(float(c.at(np.array([chosen[n]]))[0][0]) for n, c in curves.items())
        assert found / 2000 == pytest.approx(bits, abs=0.07)
    for damage in (1e-4, 1e-2):
        chosen = steps_at(curves, price_of(curves, damage))
        assert damage_at(curves, chosen) == pytest.approx(damage, rel=0.2)


@pytest.mark.parametrize("power", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("limit", [1e-6, 0.02, 30.0])
def test_trials_close_in_on_a_limit_from_afar(power: float, limit: float) -> None:
    tried: list[float] = []

    def used(price: float) -> float:
        tried.append(price)
        return (price / limit) ** power

    found = closed_in(0.02, used)
    assert found in tried
    assert found == max(p for p in tried if p <= limit)
    if power >= 1:  # where damage grows more slowly, the trials may not suffice
        assert 0.95 <= (found / limit) ** power <= 1


def test_the_next_trial_lies_between_those_on_either_side_of_the_limit() -> None:
    bracket = Bracket()
    bracket.add(1.0, 0.5)
    assert bracket.between() is None
    bracket.add(3.0, 4.0)
    assert bracket.between() == pytest.approx(1.0 + 2 * np.log(0.975 / 0.5) / np.log(4 / 0.5))
    bracket.add(1.1, 0.999)  # nearly there: still a tenth of the way on
    assert bracket.between() == pytest.approx(1.1 + 0.19)
    bracket.add(3.5, 0.9)  # more damage, less loss: nothing lies between
    assert bracket.between() is None


def test_labels_that_refuse_by_chance_are_asked_again_a_little_finer() -> None:
    labels = Labelled()
    assert labels.after(2.0, Trial(0.1, 1.3, 0.9)) == pytest.approx(1.92)
    assert labels.after(1.92, Trial(0.1, 1.1, 0.8)) == pytest.approx(1.84)
    assert labels.after(1.84, Trial(0.1, 0.9, 0.8)) == pytest.approx(1.88)
    assert labels.after(1.88, Trial(0.1, 0.9, 0.8)) is None, "next to what was refused"
    # Beyond chance: half as much damage; then back, as long as the last refusal is far.
    labels = Labelled()
    assert labels.after(1.0, Trial(0.1, 3.0, 2.0)) == pytest.approx(1.0 - np.log(2.0))
    assert labels.after(0.3, Trial(0.1, 0.8, 0.7)) == pytest.approx(0.65)
    assert labels.after(0.65, Trial(0.1, 2.2, 1.9)) == pytest.approx(0.475)
    assert labels.after(0.475, Trial(0.1, 1.1, 0.9)) == pytest.approx(0.3875)
    assert labels.after(0.36, Trial(0.1, 1.1, 0.9)) is None, "next to what has passed"
    # Little by little, but not for ever.
    labels, at = Labelled(), [0.0]
    while len(at) < 10 and (following := labels.after(at[-1], Trial(0.1, 1.3, 0.9))) is not None:
        at.append(following)
    assert -np.diff(at) == pytest.approx([0.08, 0.08, 0.08, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56])
    # Where a smaller one has passed, what is finer need not be tried.
    labels = Labelled()
    assert labels.after(2.0, Trial(0.1, 1.3, 0.9)) == pytest.approx(1.92)
    assert labels.after(1.92, Trial(0.1, 1.3, 0.9, True)) is None
    # What passes first may be far from the limit.
    labels = Labelled()
    assert labels.after(1.0, Trial(0.1, 0.6, 0.5)) == pytest.approx(1.0 + np.log(0.975 / 0.5))
    assert labels.after(1.6, Trial(0.1, 0.98, 0.97)) is None
    # Without labels both shares are one.
    bracket = Bracket()
    assert bracket.after(0.0, Trial(0.1, 0.96, 0.96)) is None
    assert bracket.after(0.0, Trial(0.1, 0.5, 0.5)) == pytest.approx(np.log(0.975 / 0.5))
    assert bracket.after(1.0, Trial(0.1, 2.0, 2.0)) == bracket.between()
