"""The formulas of thesis §2.4 (equations 2.3 to 2.20) on plain arrays, and the KL divergence of outputs.

Classification metrics take `labels` and `predictions` as integers [n]; a prediction of −1 is no class, and counts as
wrong. Ranking metrics take `scores`, real numbers [n, classes], higher meaning likelier, softmaxed or not. Equal scores
rank by class, the lowest first, as argmax has it. A row of scores with a NaN answers nothing: it predicts −1 and ranks
the true class beyond every position.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import array_of, as_numbers, numbers_of
from ..errors import InvalidArgument, flag, number, one_of
from ..errors import count as whole

__all__ = [
    "accuracy",
    "are_probabilities",
    "class_accuracy",
    "confusion_matrix",
    "cumulative_gain",
    "dcg",
    "distributions",
    "f1",
    "kl_divergence",
    "leads",
    "mae",
    "mean_reciprocal_rank",
    "mse",
    "ndcg",
    "precision",
    "predictions",
    "psnr",
    "ranks",
    "recall",
    "rmse",
    "sae",
    "sse",
    "top_k_accuracy",
    "top_k_error",
    "wilson",
]

Floats: TypeAlias = NDArray[np.float64]
Form: TypeAlias = Literal["linear", "exponential"]


def accuracy(labels: ArrayLike, predictions: ArrayLike) -> float:
    """Share of `predictions` that are equal to `labels`, 0..1, both integers [n] (thesis 004, equation 2.3). Raises
    InvalidArgument for anything else.
    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """
    truth, guess = _pair(labels, predictions)
    return float(np.mean(truth == guess))


def class_accuracy(labels: ArrayLike, predictions: ArrayLike) -> float:
    """Mean over the classes that occur in `labels` of the share of each that is right in `predictions`, 0..1; integers [n]
    as for `accuracy` (thesis 004, equation 2.4). Raises InvalidArgument for anything else.
    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """
    truth, guess = _pair(labels, predictions)
    classes, position = np.unique(truth, return_inverse=True)
    right = np.bincount(position, weights=truth == guess, minlength=classes.size)
    return float(np.mean(right / np.bincount(position)))


def confusion_matrix(labels: ArrayLike, predictions: ArrayLike, classes: int) -> NDArray[np.int64]:
    """int64 [classes, classes]: row the true class, column the predicted one (thesis 004, Tables 2.1 and 2.2).

    `labels` and `predictions` are integers [n]. Predictions of −1 stand in no column, so that a row may sum to less than
    the class has members. Raises InvalidArgument where one is not below `classes`.
    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """
    truth, guess = _pair(labels, predictions)
    classes = whole("classes", classes)
    if truth.min() < 0 or max(truth.max(), guess.max()) >= classes:
        raise InvalidArgument(f"classes: labels or predictions lie outside 0..{classes - 1}")
    known = guess >= 0
    pairs = np.bincount(truth[known] * classes + guess[known], minlength=classes * classes)
    return pairs.astype(np.int64).reshape(classes, classes)


def precision(labels: ArrayLike, predictions: ArrayLike, classes: int) -> Floats:
    """float64 [classes]: right predictions of a class over all predictions of it; 0 where there are none (thesis 004,
    equation 2.5). `labels`, `predictions` and `classes` as for `confusion_matrix`, else InvalidArgument.
    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """
    return _by_class(labels, predictions, classes)[0]


def recall(labels: ArrayLike, predictions: ArrayLike, classes: int) -> Floats:
    """float64 [classes]: right predictions of a class over its members; 0 where it has none (thesis 004, equation 2.6).

    The text of (2.6) divides by something else; its worked examples are these figures. `labels`, `predictions` and
    `classes` as for `confusion_matrix`. Raises InvalidArgument for anything else.
    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """
    return _by_class(labels, predictions, classes)[1]


def f1(labels: ArrayLike, predictions: ArrayLike, classes: int) -> Floats:
    """float64 [classes]: harmonic mean of precision and recall; 0 where both are (thesis 004, equation 2.7). `labels`,
    `predictions` and `classes` as for `confusion_matrix`. Raises InvalidArgument for anything else.
    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """
    return _by_class(labels, predictions, classes)[2]


def predictions(scores: ArrayLike) -> NDArray[np.int64]:
    """int64 [n]: the class of the highest of `scores`, numbers [n, classes] (else InvalidArgument), −1 for NaN."""
    table = _scores(scores)
    best: NDArray[np.int64] = table.argmax(axis=1).astype(np.int64)
    best[np.isnan(table).any(axis=1)] = -1
    return best


def ranks(scores: ArrayLike, labels: ArrayLike) -> Floats:
    """float64 [n]: position, from 1, of the true class among the sorted scores; infinite for a row with a NaN.

    `scores` are numbers [n, classes], `labels` integers [n] in 0..classes − 1; else InvalidArgument.
    """
    table = _scores(scores)
    truth = _truth(labels, table)
    own = np.take_along_axis(table, truth[:, np.newaxis], axis=1)
    above = np.count_nonzero(table > own, axis=1)
    equal = (table == own) & (np.arange(table.shape[1]) < truth[:, np.newaxis])
    rank: Floats = 1.0 + above + np.count_nonzero(equal, axis=1)
    rank[np.isnan(table).any(axis=1)] = np.inf
    return rank


def leads(scores: ArrayLike, labels: ArrayLike, k: int = 1) -> Floats:
    """float64 [n]: the true class' score less the k-th best of the other classes'; −infinity for a row with a NaN.

    Positive where the true class is among the `k` best (ties apart), by how much it is ahead; infinite where there are
    no k other classes. `scores` and `labels` as for `ranks`. Raises InvalidArgument for anything else.
    """
    table = np.array(_scores(scores), np.float64)
    truth, k = _truth(labels, table), whole("k", k)
    if k > table.shape[1] - 1:
        return np.full(len(table), np.inf)
    rows = np.arange(len(table))
    own = table[rows, truth]
    unknown = np.isnan(table).any(axis=1)
    table[rows, truth] = -np.inf
    rival = np.partition(table, -k, axis=1)[:, -k]
    return np.where(unknown, -np.inf, own - rival)


def top_k_accuracy(scores: ArrayLike, labels: ArrayLike, k: int) -> float:
    """Share of rows whose true class is among the `k` ≥ 1 highest scores, 0..1 (thesis 004, equations 2.17, 2.19).

    With k ≥ classes every row without a NaN counts as right. `scores`, numbers [n, classes], and `labels`, integers [n],
    as for `ranks`; else InvalidArgument.
    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """
    k = whole("k", k)
    rank = ranks(scores, labels)
    return float(np.mean(np.isfinite(rank) & (rank <= k)))


def top_k_error(scores: ArrayLike, labels: ArrayLike, k: int) -> float:
    """1 − top_k_accuracy, a share 0..1, of `scores`, numbers [n, classes], integer `labels` [n] and `k` (thesis 004,
    equations 2.18, 2.20). Raises InvalidArgument for anything else.
    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """
    return 1.0 - top_k_accuracy(scores, labels, k)


def wilson(share: float, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Interval of a share that was seen on `count` images (Wilson 1927, equation 8).

    Args:
        share: fraction, 0..1.
        count: number of images, 1 or more.
        z: quantile of the normal distribution; the default gives 95 %.

    Returns:
        Lower and upper end, fractions. Raises InvalidArgument for values outside the above.
    """
    share, n = number("share", share, least=0, most=1), whole("count", count)
    z = number("z", z, least=0)
    centre = share + z * z / (2 * n)
    reach = z * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    scale = 1 + z * z / n
    return max(0.0, (centre - reach) / scale), min(1.0, (centre + reach) / scale)


def mean_reciprocal_rank(positions: ArrayLike) -> float:
    """Mean of 1/position, 0..1 (thesis 004, equation 2.16). `positions` are numbers of any shape, 1 or more, else
    InvalidArgument; an infinite one (not found) gives 0.
    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """
    places = as_numbers(positions, "positions")
    if places.size == 0 or not (places >= 1).all():
        raise InvalidArgument("positions: expected at least one, each 1 or more")
    return float(np.mean(1.0 / places))


def cumulative_gain(relevance: ArrayLike) -> Floats:
    """Sum of `relevance`, numbers [..., positions] (else InvalidArgument), over the last axis: float64 (thesis 004, eq. 2.13).
    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """
    return np.asarray(_relevance(relevance).sum(axis=-1))


def dcg(relevance: ArrayLike, form: Form = "exponential") -> Floats:
    """Discounted cumulative gain: float64 [...] (thesis 004, equation 2.14).

    Args:
        relevance: numbers [..., positions], best position first.
        form: the thesis gives two as if equal: "linear", rel_1 + Σ_{i≥2} rel_i / log2 i, and "exponential",
            Σ (2^rel_i − 1) / log2(1 + i).

    Raises InvalidArgument for another form.
    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """
    gains, form = _relevance(relevance), one_of("form", form, ("linear", "exponential"))  # type: ignore[assignment]
    place = np.arange(1, gains.shape[-1] + 1)
    if form == "linear":
        return np.asarray((gains / np.log2(np.maximum(place, 2))).sum(axis=-1))
    return np.asarray(((np.exp2(gains) - 1) / np.log2(1 + place)).sum(axis=-1))


def ndcg(relevance: ArrayLike, form: Form = "exponential") -> Floats:
    """DCG over that of the same items best first: float64 [...], 0..1; 0 where nothing is relevant (thesis 004,
    equation 2.15). `relevance` ≥ 0 and `form` as for `dcg`; else InvalidArgument.
    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """
    gains = _relevance(relevance)
    if gains.size and gains.min() < 0:
        raise InvalidArgument(f"relevance: expected 0 or more, got {gains.min()}")
    ideal = dcg(-np.sort(-gains, axis=-1), form)
    return np.asarray(dcg(gains, form) / np.where(ideal > 0, ideal, 1.0))


def sse(x: ArrayLike, x_hat: ArrayLike) -> float:
    """Σ(x − x̂)² of `x` and `x_hat`, numbers of one shape (else InvalidArgument); unit squared (thesis 004, equation 2.9).
    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """
    return float(np.sum(_error(x, x_hat) ** 2))


def mse(x: ArrayLike, x_hat: ArrayLike) -> float:
    """Mean of (x − x̂)² of `x` and `x_hat`, numbers of one shape (else InvalidArgument); unit squared (thesis 004, eq. 2.10).
    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """
    return float(np.mean(_error(x, x_hat) ** 2))


def rmse(x: ArrayLike, x_hat: ArrayLike) -> float:
    """√mean (x − x̂)² of `x` and `x_hat`, numbers of one shape (else InvalidArgument); their unit (thesis 004, eq. 2.8).
    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """
    return float(np.sqrt(mse(x, x_hat)))


def sae(x: ArrayLike, x_hat: ArrayLike) -> float:
    """Σ|x − x̂| of `x` and `x_hat`, numbers of one shape (else InvalidArgument); their unit (thesis 004, equation 2.11).
    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """
    return float(np.sum(np.abs(_error(x, x_hat))))


def mae(x: ArrayLike, x_hat: ArrayLike) -> float:
    """Mean of |x − x̂| of `x` and `x_hat`, numbers of one shape (else InvalidArgument); their unit (thesis 004, equation 2.12).
    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """
    return float(np.mean(np.abs(_error(x, x_hat))))


def psnr(x: ArrayLike, x_hat: ArrayLike, peak: float | None = None) -> float:
    """Peak signal-to-noise ratio of `x` and `x_hat`, numbers of one shape: 10 log10(peak² / MSE), dB; infinite where they
    are equal.

    `peak` > 0 is the largest difference that the signal can show (255 for 8-bit images); default: max(x) − min(x).
    Raises InvalidArgument where it is not above 0.
    """
    error = mse(x, x_hat)
    span = float(np.ptp(as_numbers(x, "x"))) if peak is None else number("peak", peak, above=0)
    if not span > 0:
        raise InvalidArgument(f"peak: expected more than 0 where all of x are equal, got {span}")
    return float("inf") if error == 0 else float(10 * np.log10(span**2 / error))


def are_probabilities(scores: ArrayLike) -> bool:
    """Whether rows of `scores`, numbers [n, classes] (else InvalidArgument), are distributions: ≥ 0, of sum 1 ± 0.001."""
    table = _scores(scores)
    return bool(table.min() >= 0 and np.all(np.abs(table.sum(axis=1, dtype=np.float64) - 1) <= 1e-3))


def distributions(scores: ArrayLike) -> Floats:
    """Rows that sum to 1 from scores [n, classes]: by softmax, unless they are probabilities already."""
    table = _scores(scores)
    return np.exp(_log_distribution(table, are_probabilities(table)))


def kl_divergence(reference: ArrayLike, scores: ArrayLike, probabilities: bool | None = None) -> float:
    """Mean over rows of KL(P‖Q) = Σ P ln(P/Q) in nats (thesis 004, equation 2.41), P from `reference`, Q from `scores`,
    numbers [n, classes].

    Scores become distributions by softmax, unless `probabilities` says that they are some already; None asks
    `are_probabilities(reference)`. Each Q is at least the smallest normal float32 (ln Q ≥ −87.3), as are
    all of a row of `scores` with a NaN or a positive infinity, so that the result is finite. A NaN or
    infinity in `reference` raises InvalidArgument.
    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """
    p_scores, q_scores = _scores(reference, "reference"), _scores(scores)
    if p_scores.shape != q_scores.shape:
        raise InvalidArgument(
            f"reference, scores: expected one shape, got {list(p_scores.shape)} and {list(q_scores.shape)}"
        )
    if not np.isfinite(p_scores).all():
        raise InvalidArgument("reference: expected finite scores, got NaN or infinity")
    known = are_probabilities(p_scores) if probabilities is None else flag("probabilities", probabilities)
    log_p, log_q = _log_distribution(p_scores, known), _log_distribution(q_scores, known)
    return float(np.mean(np.sum(np.exp(log_p) * (log_p - log_q), axis=1)))


def _log_distribution(scores: NDArray[np.floating], probabilities: bool) -> Floats:
    """Natural logarithms of each row's distribution, none below that of the smallest normal float32."""
    table = scores.astype(np.float64)
    floor = np.log(np.finfo(np.float32).tiny)
    with np.errstate(divide="ignore", invalid="ignore"):
        if probabilities:
            logs = np.log(table)
            logs -= np.log(table.sum(axis=1, keepdims=True))  # float32 sums to 1 but for rounding
        else:
            logs = table - table.max(axis=1, keepdims=True)
            logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
    logs[np.isnan(logs).any(axis=1)] = floor
    floored: Floats = np.maximum(logs, floor)
    return floored


def _by_class(labels: ArrayLike, guesses: ArrayLike, classes: int) -> tuple[Floats, Floats, Floats]:
    truth, guess = _pair(labels, guesses)
    classes = whole("classes", classes)
    arrays = (truth, guess, truth[truth == guess])
    sizes = [np.bincount(x[(x >= 0) & (x < classes)], minlength=classes).astype(np.float64) for x in arrays]
    pairs = ((sizes[2], sizes[1]), (sizes[2], sizes[0]), (2 * sizes[2], sizes[0] + sizes[1]))
    found = [np.divide(part, of, out=np.zeros(classes), where=of > 0) for part, of in pairs]
    return found[0], found[1], found[2]


def _pair(labels: ArrayLike, guesses: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    truth, guess = array_of(labels, "labels"), array_of(guesses, "predictions")
    if truth.ndim != 1 or truth.shape != guess.shape or truth.size == 0:
        raise InvalidArgument(
            f"labels and predictions: expected two arrays [n], n ≥ 1, got {list(truth.shape)} "
            f"and {list(guess.shape)}"
        )
    if truth.dtype.kind not in "iu" or guess.dtype.kind not in "iu":
        raise InvalidArgument(
            f"labels and predictions: expected integers, got {truth.dtype} and {guess.dtype}"
        )
    return truth.astype(np.int64), guess.astype(np.int64)


def _scores(scores: ArrayLike, what: str = "scores") -> NDArray[np.floating]:
    table = numbers_of(scores, what)
    if table.ndim != 2 or table.size == 0 or table.dtype.kind not in "fiub":
        raise InvalidArgument(f"{what}: expected numbers [n, classes], got {table.dtype} {list(table.shape)}")
    return table if table.dtype.kind == "f" else table.astype(np.float64)


def _truth(labels: ArrayLike, table: NDArray[np.floating]) -> NDArray[np.int64]:
    """`labels` of the rows of a table of scores, checked."""
    truth = array_of(labels, "labels")
    most = table.shape[1] - 1
    whole_numbers = truth.dtype.kind in "iu"
    if not whole_numbers or truth.shape != table.shape[:1] or not 0 <= truth.min() <= truth.max() <= most:
        extremes = f" of {truth.min()}..{truth.max()}" if whole_numbers and truth.size else ""
        found = f"{truth.dtype} {list(truth.shape)}{extremes}"
        raise InvalidArgument(
            f"labels: expected integers [{len(table)}] of 0..{most}, as scores have, got {found}"
        )
    return truth.astype(np.int64, copy=False)


def _relevance(relevance: ArrayLike) -> Floats:
    gains = as_numbers(relevance, "relevance")
    if gains.ndim == 0 or gains.shape[-1] == 0:
        raise InvalidArgument(f"relevance: expected [..., positions], got {list(gains.shape)}")
    return gains


def _error(x: ArrayLike, x_hat: ArrayLike) -> Floats:
    one, other = as_numbers(x, "x"), as_numbers(x_hat, "x_hat")
    if one.shape != other.shape or one.size == 0:
        raise InvalidArgument(
            f"x and x_hat: expected one shape, not empty, got {list(one.shape)} and {list(other.shape)}"
        )
    return one - other
