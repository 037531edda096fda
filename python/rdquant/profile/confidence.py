"""How sure a network is of its answers, over all images: paper 000's distribution of confidences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..metrics.formulas import distributions

__all__ = ["CONFIDENCES", "confidences"]

CONFIDENCES = ("confidence_mean", "confidence_p10", "confidence_p50", "confidence_p90")


def confidences(found: Mapping[str, Any]) -> dict[str, float | None]:
    """`CONFIDENCES`, 0..1, of what `evaluate` gives: of a classifier (with "scores") each image's largest probability, of a
    detector (a list of detections) each object's confidence; None where there is none.
    """
    if "scores" in found:
        known = distributions(found["scores"]).max(axis=1)
    else:
        known = np.concatenate([np.zeros(0), *(each.confidences for each in found["predictions"])])
    if not known.size:
        return dict.fromkeys(CONFIDENCES)
    figures = [known.mean(), *np.quantile(known, (0.1, 0.5, 0.9))]
    return dict(zip(CONFIDENCES, map(float, figures), strict=True))
