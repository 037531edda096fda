"""What a study records about the model's weights before any quantization: moments, histograms, fitted families."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..stats import fit

if TYPE_CHECKING:
    from ..graph import Model

__all__ = ["describe_weights"]


def describe_weights(model: Model) -> dict[str, list[dict[str, Any]]]:
    """Rows of the tables tensors, histograms and fits (by maximum likelihood); the whole model is the tensor ""."""
    table = fit(model.weights(), criterion="mle", per="tensor", threads=0)
    tensors = []
    for position, parameter in enumerate(model.parameters):
        m = table.moments[parameter.name]
        tensors.append(
            {
                "position": position,
                "name": parameter.name,
                "role": parameter.role,
                "shape": list(parameter.shape),
                "count": m.count,
                "mean": m.mean,
                "std": m.std,
                "min": m.min,
                "max": m.max,
                "kurtosis": m.kurtosis,
            }
        )
    histograms = [
        {"tensor": name, "low": h.low, "high": h.high, "counts": h.counts.tolist()}
        for name, h in table.histograms.items()
    ]
    fits = [
        {
            "tensor": f.tensor,
            "rank": f.rank,
            "criterion": f.criterion,
            "family": f.family,
            "parameters": {k: v for k, v in f.parameters.items() if math.isfinite(v)},
            "kl": f.kl,
            "sse": f.sse,
            "aic": f.aic,
            "bic": f.bic,
            "ks": f.ks,
        }
        for f in table.fits
    ]
    return {"tensors": tensors, "histograms": histograms, "fits": fits}
