"""What of a network's outputs a map keeps: scores of images, or of boxes that a detector has found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..data import Dataset
from ..errors import InvalidArgument
from ..graph import Model
from ..metrics import are_probabilities
from ..metrics.evaluation import scores_of
from ..metrics.feeding import fitted, single_input
from ..runtime import Session
from .losses import as_logarithms

__all__ = ["Reader", "reader_of"]


class Reader(Protocol):
    """Scores and their labels.

    Attributes:
        classes: number of classes.
        scores: float32 [n, classes], of the float network; further columns may follow.
        labels: int64 [n].
    """

    classes: int
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]

    def read(self, outputs: Mapping[str, NDArray[Any]], images: slice) -> NDArray[np.float32]:
        """float32 [rows, classes] for a slice of the images."""

    def rows(self, images: slice) -> slice:
        """The rows of `scores` that a slice of the images has."""


def reader_of(model: Model, data: Dataset, output: str | None, threads: int) -> Reader:
    """A reader for the task of `data`; runs the float network over them.

    Raises InvalidArgument or Unsupported where the network's outputs are not what `data` need.
    """
    if data.task == "detect":
        from .boxes import BoxReader

        return BoxReader(model, data, threads)
    return _ImageReader(model, data, output, threads)


class _ImageReader:
    def __init__(self, model: Model, data: Dataset, output: str | None, threads: int) -> None:
        session = Session(model, threads=threads or None)
        port = single_input(session)
        found = [
            scores_of(session.run({port.name: fitted(port, data.name, x)}), len(x), output) for x, _ in data
        ]
        scores = np.concatenate(found)
        if not np.isfinite(scores).all():
            raise InvalidArgument(f"data: the float network gives NaN or infinity for images of {data.name}")
        if data.labels.max() >= scores.shape[1]:
            raise InvalidArgument(
                f"data: {data.name} has label {data.labels.max()}; the network has classes 0..{scores.shape[1] - 1}"
            )
        self._output = output
        self._probabilities = bool(are_probabilities(scores))
        self.scores = as_logarithms(scores, self._probabilities)
        self.labels = data.labels
        self.classes = scores.shape[1]

    def read(self, outputs: Mapping[str, NDArray[Any]], images: slice) -> NDArray[np.float32]:
        scores = scores_of(outputs, images.stop - images.start, self._output)
        return as_logarithms(scores, self._probabilities)

    def rows(self, images: slice) -> slice:
        return images
