"""What is allocated: whole layers, and rows of those whose output channels have widths of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._tables import Brief
from ..calibrate import Layer
from .channels import fisher_name
from .classes import Group
from .map import SignificanceMap
from .widths import Rows

__all__ = ["Units", "units_of"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class Units(Brief):
    """Components of an allocation, in graph order.

    Attributes:
        layer: int64 [units], the layer of each.
        row: int64 [units], the output channel; −1 for a whole layer.
        sizes: int64 [units], weights.
    """

    map: SignificanceMap
    layer: NDArray[np.int64]
    row: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def spread(self, table: Floats, group: Group | None) -> Floats:
        """Figures of layers, float64 [layers, widths], as those of units.

        A row has the share in its layer's figure that its expected error, weighted by the gradients of `group`, has in the
        sum over the layer's rows.
        """
        out = table[self.layer].copy()
        for i in np.unique(self.layer[self.row >= 0]):
            own = self.layer == i
            out[own] = table[i] * self._shares(int(i), group)
        return out

    def _shares(self, layer: int, group: Group | None) -> Floats:
        rounded = self.map.rounded[layer]
        loss = np.stack([rounded[b].loss for b in self.map.widths], axis=1)
        weight = self.map.array(fisher_name(layer, group))
        if weight is None and group is not None:
            weight = self.map.array(fisher_name(layer, None))
        costs = loss if weight is None else weight[:, np.newaxis] * loss
        total = costs.sum(axis=0)
        return np.where(total > 0, costs / np.maximum(total, 1e-300), 1 / len(costs))

    def even(self, table: Floats) -> Floats:
        """Figures of layers divided evenly among their rows."""
        count = np.bincount(self.layer, minlength=len(table)).astype(float)
        return table[self.layer] / count[self.layer][:, np.newaxis]

    def rows(self, choice: NDArray[np.integer], layers: Sequence[Layer]) -> list[Rows]:
        """Every layer as chosen: `choice`, integers [units], places among the map's widths."""
        found = []
        for i in range(len(layers)):
            own = choice[self.layer == i]
            wide = [self.map.rounded[i][b] for b in self.map.widths]
            found.append(wide[int(own[0])] if len(own) == 1 else Rows.mixed(wide, own))
        return found

    def bits(self, choice: NDArray[np.integer]) -> dict[str, Any]:
        """By component its width, or of every output channel."""
        widths = np.array(self.map.widths)[choice]
        found: dict[str, Any] = {}
        for i, name in enumerate(self.map.components):
            own = self.layer == i
            whole = bool((self.row[own] < 0).all())
            found[name] = int(widths[own][0]) if whole else tuple(int(b) for b in widths[own])
        return found


def units_of(map: SignificanceMap, layers: Sequence[Layer], channels: bool) -> Units:
    """Layers alone, or with `channels` the rows of those that the map has rows for."""
    parts: list[tuple[int, int, int]] = []
    for i, layer in enumerate(layers):
        if channels and layer.weight in map.rows and layer.rows > 1:
            parts += [(i, r, layer.inputs) for r in range(layer.rows)]
        else:
            parts.append((i, -1, int(map.sizes[i])))
    layer_, row, sizes = (np.array(column, np.int64) for column in zip(*parts, strict=True))
    return Units(map, layer_, row, sizes)


def uniform(units: Units, loads: Floats, most: float) -> NDArray[np.int64] | None:
    """The widest width that all units can have; None where none fits."""
    fitting = np.flatnonzero(loads.sum(axis=0) <= most * (1 + 1e-9))
    return np.full(len(units.layer), fitting[-1], np.int64) if len(fitting) else None


def nominal(units: Units, bits: Mapping[str, Any] | Sequence[int]) -> Floats:
    """float64 [units, widths]: share of each unit at each width in the mean bits of a weight."""
    return units.sizes[:, np.newaxis] * np.array(list(bits), float)[np.newaxis] / units.sizes.sum()
