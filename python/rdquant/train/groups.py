"""`GroupPruning`: empties whole rows or columns of the weights, the weakest first, so that what is left is cheap to locate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from .._tables import short
from ..errors import InvalidArgument
from ._torch import torch
from .patterns import fitting
from .schedules import Schedule, bounds, value_at

__all__ = ["GroupPruning"]


class GroupPruning:
    """Keeps a share of the rows or columns of chosen layers: those with the greatest sum of squares.

    A row is all weights of one output, a column all weights of one input. Which single weights survive costs a file about as
    many bits as their values do; which rows and columns survive costs almost nothing. Where a layer has far more of them
    than its task needs (the first linear layer of many networks holds most of their weights), they can go and density fall
    with them, and accuracy hardly does. Rows and columns: one `GroupPruning` for each.

    Args:
        share: share of the rows that stay, in (0, 1], or a `Ramp` or `Stages` of it. Of n rows, ⌈share·n⌉ stay. Begin
            with Ramp(1, share, 0, 0.3): they go while the learning rate is high, the weakest first.
        layers: names of the layers, or patterns with * and ?.
        axis: 0: rows, 1: columns.

    Raises InvalidArgument for a share or axis out of range or no layers.
    """

    def __init__(self, share: Schedule, layers: Iterable[str], axis: int = 0) -> None:
        self.share, self.axis = share, axis
        self.layers = (layers,) if isinstance(layers, str) else tuple(layers)
        for value in bounds(share):
            if not 0 < value <= 1:
                raise InvalidArgument(f"GroupPruning: expected a share above 0 and at most 1, got {value!r}")
        if axis not in (0, 1):
            raise InvalidArgument(f"GroupPruning: expected axis 0 (rows) or 1 (columns), got {axis!r}")
        if not self.layers:
            raise InvalidArgument("GroupPruning: expected the name of at least one layer")

    def __repr__(self) -> str:
        return short(self, f"{', '.join(self.layers)}: share {self.share}, axis {self.axis}")

    def chosen(self, names: Iterable[str]) -> set[str]:
        """Those of `names` that are to lose rows or columns; raises InvalidArgument where a pattern fits none of them."""
        return fitting(self.layers, names, "GroupPruning")

    def apply(self, weights: Mapping[str, torch.Tensor], progress: float) -> None:
        """Empty rows or columns of the chosen `weights`, float tensors of the layers' shapes by name, in place.

        progress: the share of all steps that is done.
        """
        share = value_at(self.share, progress)
        with torch.no_grad():
            for name in self.chosen(weights):
                w = weights[name]
                size = w.shape[self.axis]
                gone = size - math.ceil(share * size - 1e-9)  # 0.07·100 is a little above 7
                if gone > 0:
                    strength = self._strength(w)
                    stay = w.new_ones(size)
                    stay[strength.topk(gone, largest=False).indices] = 0.0
                    w.mul_(stay.view([-1 if axis == self.axis else 1 for axis in range(w.ndim)]))

    def _strength(self, w: torch.Tensor) -> torch.Tensor:
        """Of each row or column, by whichever of the two passes over the memory is faster."""
        across = [axis for axis in range(w.ndim) if axis != self.axis]
        if self.axis == 0:
            return torch.linalg.vector_norm(w, dim=across)
        return w.square().sum(dim=across)
