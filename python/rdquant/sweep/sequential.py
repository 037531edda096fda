"""A sequential test on paired predictions, for stopping a point as soon as it is known to lose too much.

Images are visited in random order. d = (float model right) − (quantized model right) ∈ {−1, 0, 1} is drawn without
replacement from N values with the unknown sum D; the point is within the tolerance if D ≤ allowed. Against that
hypothesis the test bets (Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", 2023,
section 5): given the past, the mean of the next d is at most m = (allowed − Σd)/(images left), so the capital
∏(1 + λ(d − m)) with 0 ≤ λ ≤ 1/(1 + m) is a supermartingale, and by Ville's inequality it ever exceeds 1/α with
probability at most α. The capital is shared between several constant fractions of the greatest λ, which needs no
guess of the loss in advance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["PairedTest"]

_FRACTIONS = np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9])


class PairedTest:
    """Whether the quantized model is wrong on more than `allowed` images beyond those the float model is wrong on.

    Args:
        baseline: bool [n], float model right, in the order of the visits.
        allowed: tolerated sum of d, at least 0.
        alpha: greatest probability of calling a point within the tolerance a failure, at any time.
    """

    def __init__(self, baseline: ArrayLike, allowed: int, alpha: float = 1e-4) -> None:
        self._baseline: NDArray[np.bool_] = np.asarray(baseline, bool)
        self._allowed = allowed
        self._threshold = -np.log(alpha)
        self._log_capital = np.zeros(len(_FRACTIONS))
        self._seen = 0
        self._lost = 0
        self.failed = False

    @property
    def lost(self) -> int:
        """Σd so far."""
        return self._lost

    def update(self, right: ArrayLike) -> bool:
        """Takes whether the quantized model is right on the next images; returns `failed`, which stays once true."""
        for d in self._baseline[self._seen : self._seen + np.size(right)].astype(int) - np.asarray(
            right, int
        ):
            self._bet(int(d))
        # What is left can win back at most the images on which the float model is wrong.
        if self._lost - np.count_nonzero(~self._baseline[self._seen :]) > self._allowed:
            self.failed = True
        return self.failed

    def _bet(self, d: int) -> None:
        mean = (self._allowed - self._lost) / (len(self._baseline) - self._seen)
        if -1.0 < mean < 1.0:
            stakes = _FRACTIONS / (1.0 + mean)
            self._log_capital += np.log1p(stakes * (d - mean))
            peak = float(self._log_capital.max())
            total = peak + float(np.log(np.mean(np.exp(self._log_capital - peak))))
            self.failed = self.failed or total >= self._threshold
        self._seen += 1
        self._lost += d
