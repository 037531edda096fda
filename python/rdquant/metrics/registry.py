"""The metrics that evaluate, sweep and report know by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from . import formulas

__all__ = ["COUNTED", "DETECTION_METRICS", "METRICS", "DetectionMetric", "Metric"]

Scores = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Metric:
    """One figure for a network's outputs: `metric(scores, labels, reference) -> float`.

    `scores` and `reference` are real numbers [n, classes], `labels` integers [n] in 0..classes − 1;
    `reference`, the float network's scores, may be None unless `needs_reference`.

    Attributes:
        name: key in `METRICS`.
        title: for tables and axes.
        function: the formula.
        higher_is_better: direction.
        unit: "fraction" (0..1), "nats", "dB", or "" for a plain number.
        needs_reference: whether it compares with the float network's scores.
    """

    name: str
    title: str
    function: Callable[[Scores, Labels, Scores | None], float] = field(repr=False)
    higher_is_better: bool = True
    unit: Literal["fraction", "nats", "dB", ""] = "fraction"
    needs_reference: bool = False

    def __call__(self, scores: Scores, labels: Labels, reference: Scores | None = None) -> float:
        return self.function(scores, labels, reference)


def _predicted(
    formula: Callable[[Labels, Labels], float],
) -> Callable[[Scores, Labels, Scores | None], float]:
    return lambda scores, labels, _: formula(labels, formulas.predictions(scores))


def _macro(
    formula: Callable[[Labels, Labels, int], NDArray[np.float64]],
) -> Callable[[Scores, Labels, Scores | None], float]:
    """Mean of a per-class figure over the classes that occur in labels or predictions, as scikit-learn has
    it.
    """

    def mean(scores: Scores, labels: Labels, _: Scores | None) -> float:
        guesses = formulas.predictions(scores)
        present = np.union1d(labels, guesses[guesses >= 0])
        return float(formula(labels, guesses, scores.shape[1])[present].mean())

    return mean


def _ranked(
    formula: Callable[[NDArray[np.float64]], float],
) -> Callable[[Scores, Labels, Scores | None], float]:
    return lambda scores, labels, _: formula(formulas.ranks(scores, labels))


def _compared(
    name: str, title: str, formula: Callable[[Scores, Scores], float], unit: Literal["nats", "dB", ""] = ""
) -> Metric:
    def against(scores: Scores, labels: Labels, reference: Scores | None) -> float:
        assert reference is not None  # evaluate has checked it
        return formula(reference, scores)

    return Metric(name, title, against, unit == "dB", unit, needs_reference=True)


def _gain(rank: NDArray[np.float64]) -> float:
    """NDCG with the true class the one relevant item: (2^1 − 1) / log2(1 + rank), ideal 1."""
    return float(np.mean(1 / np.log2(1 + rank)))


#: Every metric by name. Those that need a reference measure the outputs against the float network's.
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("top1", "Top-1 accuracy", lambda s, y, _: formulas.top_k_accuracy(s, y, 1)),
        Metric("top5", "Top-5 accuracy", lambda s, y, _: formulas.top_k_accuracy(s, y, 5)),
        Metric("top1_error", "Top-1 error", lambda s, y, _: formulas.top_k_error(s, y, 1), False),
        Metric("top5_error", "Top-5 error", lambda s, y, _: formulas.top_k_error(s, y, 5), False),
        Metric("accuracy", "Accuracy", _predicted(formulas.accuracy)),
        Metric("class_accuracy", "Accuracy per class (macro)", _predicted(formulas.class_accuracy)),
        Metric("precision", "Precision (macro)", _macro(formulas.precision)),
        Metric("recall", "Recall (macro)", _macro(formulas.recall)),
        Metric("f1", "F1 score (macro)", _macro(formulas.f1)),
        Metric("mrr", "Mean reciprocal rank", _ranked(formulas.mean_reciprocal_rank)),
        Metric("ndcg", "NDCG", _ranked(_gain)),
        _compared("kl", "KL divergence to the float model", formulas.kl_divergence, "nats"),
        _compared("mse", "MSE to the float model", formulas.mse),
        _compared("rmse", "RMSE to the float model", formulas.rmse),
        _compared("mae", "MAE to the float model", formulas.mae),
        _compared("sse", "SSE to the float model", formulas.sse),
        _compared("sae", "SAE to the float model", formulas.sae),
        _compared("psnr", "PSNR to the float model", formulas.psnr, "dB"),
    )
}
"""Metrics of classifiers by name."""


COUNTED = frozenset({"top1", "top5", "top1_error", "top5_error", "accuracy"})
"""Metrics that are the share of images with some property: `wilson` gives their intervals."""


@dataclass(frozen=True)
class DetectionMetric:
    """One figure for the detections on photos with boxes, a fraction 0..1, higher is better.

    Attributes:
        name: key in `DETECTION_METRICS`, and in what `coco_statistics` returns.
        title: for tables and axes.
    """

    name: str
    title: str


#: COCO's figures by name; average precision and recall are means over classes.
DETECTION_METRICS: dict[str, DetectionMetric] = {
    name: DetectionMetric(name, title)
    for name, title in (
        ("map50", "mAP at an overlap of 0.50"),
        ("map", "mAP at overlaps of 0.50 to 0.95"),
        ("map75", "mAP at an overlap of 0.75"),
        ("map_small", "mAP, objects below 32² pixels"),
        ("map_medium", "mAP, objects of 32² to 96² pixels"),
        ("map_large", "mAP, objects above 96² pixels"),
        ("mar1", "Recall, one detection a photo"),
        ("mar10", "Recall, ten detections a photo"),
        ("mar100", "Recall, a hundred detections a photo"),
        ("mar_small", "Recall, objects below 32² pixels"),
        ("mar_medium", "Recall, objects of 32² to 96² pixels"),
        ("mar_large", "Recall, objects above 96² pixels"),
    )
}
"""Metrics of detectors by name, fractions 0..1 by COCO's evaluator."""
