"""Calibration images in batches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..data import Dataset

__all__ = ["Images"]


class Images:
    """Batches of calibration images, the same ones each time; of the first `count` only where that is given."""

    def __init__(self, data: Dataset, count: int | None = None) -> None:
        self._data = data
        self.count = min(len(data), count or len(data))

    def first(self, count: int) -> Images:
        return Images(self._data, count)

    def halves(self) -> tuple[Images, Images]:
        """Every other image, and the rest; of a single image twice the same."""
        if self.count == 1:
            return self, self
        return self._chosen(np.arange(0, self.count, 2)), self._chosen(np.arange(1, self.count, 2))

    def spread(self, count: int) -> Images:
        """Evenly over all."""
        places = np.linspace(0, len(self._data) - 1, min(count, len(self._data)))
        return self._chosen(np.unique(places.astype(np.int64)))

    def _chosen(self, chosen: NDArray[np.int64]) -> Images:
        return Images(self._data.take(chosen))

    def __call__(self) -> Iterator[NDArray[np.float32]]:
        whole = self._data if self.count == len(self._data) else self._data.head(self.count)
        yield from (x for x, _ in whole)
