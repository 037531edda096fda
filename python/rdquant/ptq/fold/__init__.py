"""Networks as layers of levels have them: the same functions, with less between their layers."""

from __future__ import annotations

from ...graph import Model
from .branches import joined
from .expands import without_expands
from .norms import without_norms
from .own import merged, with_own_weights
from .scales import without_scales

__all__ = ["folded", "merged"]


def folded(model: Model) -> Model:
    """The same function as layers of levels have it; the model itself where that is so already.

    Without the batch normalizations that alone read a convolution, with one convolution for branches that are added up,
    without single numbers that multiply what layers read, expansions of gates, and with a weight of its own for each layer.
    """
    return without_scales(joined(without_norms(without_expands(with_own_weights(model)))))
