"""A sequential test on paired predictions, for stopping a point as soon as it is known to lose too much.

d = (float model right) − (quantized model right) ∈ {−1, 0, 1}, with the sum D over all N images; the point is within
the tolerance if D ≤ allowed. The visits begin in random order and go on with the images nearest to a change of mind,
those whose true class is least ahead of, or behind, its rivals in the float model's scores. Three arguments end them:

1. Certainty: what is left can win back at most the images on which the float model is wrong.
2. Betting, in the random part (Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting",
   2023, section 5). Given the past, the mean of the next d is at most m = (allowed − Σd)/(images left), so the capital
   ∏(1 + λ(d − m)) with 0 ≤ λ ≤ 1/(1 + m) is a supermartingale: by Ville's inequality it ever exceeds 1/α with
   probability at most α. It is shared between constant fractions of the greatest λ, which needs no guess of the loss.
3. Drift: quantization moves an image's lead (its true class' score less the best rival's) by a random amount, whose
   root mean square σ is seen on the visited images. An unseen image that the float model gets wrong by a lead −g is
   won back with a probability of at most exp(−√2·g/(1.25·σ)): twice the tail of a Laplace distribution (heavier than
   the Gaussian of many small errors) with a quarter on top of its scale. The number of such images is then at most
   Poisson with the sum of these as its mean, and its 1 − α quantile is all that can be won back.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import needed

__all__ = ["PairedTest", "visiting_order"]

_FRACTIONS = np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9])
_LEAST_SEEN = 64  # images before the drift is believed
_MARGIN = 1.25


def visiting_order(leads: ArrayLike, randomly: int, seed: int) -> NDArray[np.int64]:
    """All images, `randomly` many in random order, then those with the smallest |lead| first.

    `leads`: float [metrics, n], the float model's; an image counts by its smallest.
    """
    nearest = np.abs(np.atleast_2d(np.asarray(leads, np.float64))).min(axis=0)
    shuffled = np.random.default_rng(seed).permutation(len(nearest))
    rest = shuffled[randomly:]
    return np.concatenate([shuffled[:randomly], rest[np.argsort(nearest[rest], kind="stable")]])


class PairedTest:
    """Whether the quantized model is wrong on more than `allowed` images beyond those the float model is wrong on.

    Args:
        right: bool [n], float model right, in the order of the visits.
        leads: float [n], its leads, positive where it is right.
        allowed: tolerated sum of d, at least 0.
        randomly: visits in random order, from the first on.
        alpha: error probability of arguments 2 and 3, each.
    """

    def __init__(
        self, right: ArrayLike, leads: ArrayLike, allowed: int, randomly: int, alpha: float = 1e-4
    ) -> None:
        self._right: NDArray[np.bool_] = np.asarray(right, bool)
        self._leads: NDArray[np.float64] = np.asarray(leads, np.float64)
        self._allowed = allowed
        self._randomly = randomly
        self._alpha = alpha
        self._log_capital = np.zeros(len(_FRACTIONS))
        self._seen = 0
        self._lost = 0
        self._squares = 0.0
        self.failed = False

    @property
    def lost(self) -> int:
        """Σd so far."""
        return self._lost

    def update(self, right: ArrayLike, leads: ArrayLike) -> bool:
        """Takes what the quantized model does on the next images; returns `failed`, which stays once true."""
        got, moved = np.asarray(right, bool), np.asarray(leads, np.float64)
        begin = self._seen
        for d in self._right[begin : begin + len(got)].astype(int) - got.astype(int):
            self._bet(int(d))
        self._squares += float(np.square(moved - self._leads[begin : self._seen]).sum())
        self.failed = self.failed or self._lost - self._winnable() > self._allowed
        return self.failed

    def _bet(self, d: int) -> None:
        if self._seen < self._randomly:
            mean = (self._allowed - self._lost) / (len(self._right) - self._seen)
            if -1.0 < mean < 1.0:
                stakes = _FRACTIONS / (1.0 + mean)
                self._log_capital += np.log1p(stakes * (d - mean))
                peak = float(self._log_capital.max())
                total = peak + float(np.log(np.mean(np.exp(self._log_capital - peak))))
                self.failed = self.failed or total >= -np.log(self._alpha)
        self._seen += 1
        self._lost += d

    def _winnable(self) -> int:
        """Images that the rest can win back at most, by certainty or by drift."""
        behind = np.abs(self._leads[self._seen :][~self._right[self._seen :]])
        scale = _MARGIN * np.sqrt(self._squares / max(1, self._seen))
        if self._seen < _LEAST_SEEN or not 0.0 < scale < np.inf:
            return len(behind)
        return min(
            len(behind), _poisson_quantile(float(np.exp(-np.sqrt(2) * behind / scale).sum()), self._alpha)
        )


def _poisson_quantile(mean: float, alpha: float) -> int:
    """The least n with P(Poisson(mean) > n) ≤ alpha."""
    with needed():
        from scipy.stats import poisson

    return int(poisson.isf(alpha, mean)) if mean > 0 else 0
