"""Closing in on a limit by trials, each of which gives the share of it that is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

__all__ = ["TRIALS", "Bracket", "Labelled", "Trial", "closed_in"]

TRIALS = 9  # prices that are tried
_NEAR = 0.95  # a trial this near below the limit ends the search
_AIM = float(np.log(0.975))  # share that trials are aimed at, in logarithms
_FARTHEST = float(np.log(2.0))  # from one trial to the next where it is not between two
_FINER = 0.08  # the same at least, from one that labels have refused
_PATIENCE = 4  # refusals in which it grows no farther; then it doubles
_CLOSE = 0.06  # between what labels passed and refused: 0.04 bits per weight


class Trial(NamedTuple):
    """What a candidate has shown: its divergence, the share of the tolerance that it uses, the share that leaves
    chance out, so that it grows evenly with the damage, and whether a smaller candidate has been tolerated.
    """

    kl: float
    used: float
    even: float
    beaten: bool = False


class Bracket:
    """The nearest trials on both sides of the limit, as (log of price or damage, log of the share used).

    On log-log paper the share is nearly a straight line.
    """

    def __init__(self) -> None:
        self.low: tuple[float, float] | None = None  # log share ≤ 0
        self.high: tuple[float, float] | None = None

    def after(self, at: float, trial: Trial) -> float | None:
        """Where to try next, given what was found at `at`; None where that will do."""
        if _NEAR <= trial.used <= 1:
            return None
        log_share = self.add(at, trial.used)
        within = self.between()
        return at + float(np.clip(_AIM - log_share, -_FARTHEST, _FARTHEST)) if within is None else within

    def add(self, at: float, share: float) -> float:
        """A trial; returns the log of its share."""
        point = (at, float(np.log(max(share, 1e-3))))
        if share <= 1:
            self.low = point if self.low is None or at > self.low[0] else self.low
        else:
            self.high = point if self.high is None or at < self.high[0] else self.high
        return point[1]

    def between(self) -> float | None:
        """Where to try next; None where the limit is not yet between two trials."""
        if self.low is None or self.high is None or self.low[0] >= self.high[0]:
            return None
        width = self.high[0] - self.low[0]
        slope = (self.high[1] - self.low[1]) / width
        guess = self.low[0] + (_AIM - self.low[1]) / max(slope, 1e-3)
        return float(np.clip(guess, self.low[0] + 0.1 * width, self.high[0] - 0.1 * width))


class Labelled:
    """The same where labels decide, which by chance may refuse what is tolerated, and the other way round.

    From what they refuse it goes finer, little by little unless too much is lost beyond chance, until they let one pass
    or a smaller candidate has passed; then between the two, while these are far from each other.
    """

    def __init__(self) -> None:
        self._passed, self._refused = -np.inf, np.inf  # the coarsest, the finest
        self._refusals = 0

    def after(self, at: float, trial: Trial) -> float | None:
        """Where to try next, given what was found at `at`; None where that will do."""
        if trial.used > 1 and trial.beaten:  # what is finer is larger still
            return None
        if trial.used > 1:
            self._refused = min(at, self._refused)
            self._refusals += 1
        else:
            self._passed = max(at, self._passed)
        if np.isfinite(self._refused - self._passed):
            far = self._refused - self._passed > _CLOSE
            return (self._passed + self._refused) / 2 if far else None
        way = _AIM - float(np.log(max(trial.even, 1e-3)))
        if trial.used > 1:
            finer = _FINER * 2.0 ** max(0, self._refusals - _PATIENCE)
            return at - max(finer, min(-way, _FARTHEST))
        return at + min(way, _FARTHEST) if trial.even < _NEAR else None


def closed_in(start: float, used: Callable[[float], float]) -> float | None:
    """The largest price found that uses no more than the tolerance; None where none does."""
    bracket = Bracket()
    at = float(np.log(start))
    for _ in range(TRIALS):
        share = used(float(np.exp(at)))
        log_share = bracket.add(at, share)
        if _NEAR <= share <= 1:
            break
        within = bracket.between()
        if within is not None:
            at = within
        else:  # damage grows about as the price does
            at -= float(np.clip(log_share, -2.0, 2.0)) + (0.3 if bracket.high is not None else -0.1)
    return None if bracket.low is None else float(np.exp(bracket.low[0]))
