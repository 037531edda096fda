"""Losses of a classifier image by image, and what a change of its weights adds to them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["LOSSES", "RISES", "SHRUNK", "as_logarithms", "log_softmax", "share_of_shift", "standard_error"]

Scores = NDArray[np.floating]
Labels = NDArray[np.int64]


def log_softmax(scores: Scores) -> NDArray[np.float32]:
    """float32 of the shape of `scores`, floats [..., classes]: logarithms of probabilities, nats."""
    z = scores.astype(np.float32)
    z -= z.max(axis=-1, keepdims=True)
    z -= np.log(np.exp(z).sum(axis=-1, keepdims=True))
    return z


def as_logarithms(scores: NDArray[np.float32], probabilities: bool) -> NDArray[np.float32]:
    """float32 [n, classes]: scores from which softmax gives the probabilities, the largest of each row 0.

    scores: float32 [n, classes]; probabilities: whether they are such already.
    """
    z = np.log(np.maximum(scores, np.float32(1e-12))) if probabilities else scores
    return z - z.max(axis=1, keepdims=True)


def cross_entropy(scores: Scores, labels: Labels, reference: Scores) -> NDArray[np.float32]:
    """float32 [n], nats: rise of the cross-entropy above that of `reference`."""
    return _own(reference, labels) - _own(scores, labels)


def divergence(scores: Scores, labels: Labels, reference: Scores) -> NDArray[np.float32]:
    """float32 [n], nats: KL divergence of the probabilities from those of `reference`."""
    p = log_softmax(reference)
    return (np.exp(p) * (p - log_softmax(scores))).sum(axis=-1)


def _own(scores: Scores, labels: Labels) -> NDArray[np.float32]:
    return np.take_along_axis(log_softmax(scores), labels[:, np.newaxis], -1)[:, 0]


RISES: dict[str, Callable[[Scores, Labels, Scores], NDArray[np.float32]]] = {
    "cross-entropy": cross_entropy,
    "kl": divergence,
}
"""Rises of losses by name: functions of scores, labels and the float network's scores."""


SHRUNK = "shrunk"
LOSSES = (*RISES, SHRUNK)
"""What significances are measured by: rises of these losses, or "shrunk", their mixture by `share_of_shift`."""


def share_of_shift(shift: NDArray[np.float64], noise: NDArray[np.float64]) -> float:
    """How much of a rise of the cross-entropy beyond the divergence is to be believed, 0..1.

    The rise is the divergence plus a first-order part, a shift of whole classes, which over few images is mostly noise. The
    positive-part James–Stein factor: 1 less the mean ratio of noise to what was found, over all components and widths.

    shift: float64, mean difference of the two losses. noise: float64, standard errors of it.
    """
    known = noise > 0
    if not known.any():
        return 0.0
    found = float(np.square(shift[known] / noise[known]).mean())
    return max(0.0, 1 - 1 / found) if found > 0 else 0.0


def standard_error(values: NDArray[np.floating]) -> float:
    """Of the mean of `values`, in their unit; NaN for fewer than two."""
    if len(values) < 2:
        return float("nan")
    return float(values.std(dtype=np.float64) / np.sqrt(len(values)))
