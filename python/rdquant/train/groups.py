"""`RowPruning`: empties whole rows of the weights, the weakest first, so that what is left is cheap to locate."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable, Mapping

from ..errors import InvalidArgument
from ._torch import torch
from .schedules import Schedule, Stages, last_value, value_at

__all__ = ["RowPruning"]


class RowPruning:
    """Keeps a share of the rows of chosen layers: those with the greatest sum of squares.

    A row is all weights of one output. Which single weights survive costs a file about as many bits as their values do; which
    rows survive costs almost nothing. Where a layer has far more outputs than its task needs (the first linear layer of
    many networks holds most of their weights), its rows can go and its density fall with them, and accuracy hardly does.

    Args:
        share: share of the rows that stay, in (0, 1], or a `Ramp` or `Stages` of it. Of n rows, ⌈share·n⌉ stay. Begin
            with Ramp(1, share, 0, 0.3): they go while the learning rate is high, the weakest first.
        layers: names of the layers, or patterns with * and ?.

    Raises InvalidArgument for a share out of range or no layers.
    """

    def __init__(self, share: Schedule, layers: Iterable[str]) -> None:
        self.share = share
        self.layers = (layers,) if isinstance(layers, str) else tuple(layers)
        ends = (
            [v for _, v in share.stages]
            if isinstance(share, Stages)
            else [value_at(share, 0.0), last_value(share)]
        )
        for value in ends:
            if not 0 < value <= 1:
                raise InvalidArgument(f"RowPruning: expected a share above 0 and at most 1, got {value!r}")
        if not self.layers:
            raise InvalidArgument("RowPruning: expected the name of at least one layer")

    def chosen(self, names: Iterable[str]) -> list[str]:
        """Those of the names that are to lose rows; raises InvalidArgument where a pattern fits none of them."""
        names = list(names)
        for pattern in self.layers:
            if not fnmatch.filter(names, pattern):
                raise InvalidArgument(f"RowPruning: {pattern!r} fits none of {', '.join(names)}")
        return [n for n in names if any(fnmatch.fnmatchcase(n, p) for p in self.layers)]

    def apply(self, weights: Mapping[str, torch.Tensor], progress: float) -> None:
        """Empty rows of the chosen weights in place; `progress` is the share of all steps that is done."""
        share = value_at(self.share, progress)
        with torch.no_grad():
            for name in self.chosen(weights):
                w = weights[name]
                gone = w.shape[0] - math.ceil(share * w.shape[0])
                if gone > 0:
                    strength = w.square().sum(dim=tuple(range(1, w.ndim)))
                    w[strength.topk(gone, largest=False).indices] = 0.0
