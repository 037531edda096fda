"""Photos with boxes: what is on a photo, and where the photo lies in a network's input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._tables import Brief

__all__ = ["Frame", "Scene"]


@dataclass(frozen=True)
class Frame:
    """Where a photo lies in a network's input: x of the photo is at scale·x + left, y at scale·y + top.

    Attributes:
        scale: pixels of the input per pixel of the photo.
        left, top: in pixels of the input.
    """

    scale: float
    left: float
    top: float

    def to_input(self, boxes: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """`boxes` of the photo, floats [..., 4] (left, top, right, bottom), in pixels of the input: float64."""
        corner = np.array([self.left, self.top, self.left, self.top])
        placed: NDArray[np.float64] = boxes * self.scale + corner
        return placed

    def to_photo(self, boxes: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """`boxes` of the input, floats [..., 4] (left, top, right, bottom), in pixels of the photo: float64."""
        corner = np.array([self.left, self.top, self.left, self.top])
        placed: NDArray[np.float64] = (boxes - corner) / self.scale
        return placed


@dataclass(frozen=True, repr=False)
class Scene(Brief):
    """One photo and the objects on it.

    Attributes:
        width, height: of the photo, in pixels.
        boxes: float64 [objects, 4]: left, top, right, bottom in pixels of the photo.
        classes: int64 [objects].
        frame: where the photo lies in the tensor that a data set makes of it.
    """

    width: int
    height: int
    boxes: NDArray[np.float64]
    classes: NDArray[np.int64]
    frame: Frame
