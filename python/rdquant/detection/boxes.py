"""Boxes: how far they overlap, which of them say the same, and detections on a photo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import array_of, as_numbers
from .._tables import Brief
from ..data import Scene
from ..errors import InvalidArgument, count, number, one_of
from .heads import HEADS, Decoded, decode

__all__ = ["Detections", "Detector", "overlaps", "paired_overlaps", "suppress"]


_FAR = 1e6  # pixels: a side that is infinite has an overlap with others all the same


@dataclass(frozen=True, repr=False)
class Detections(Brief):
    """Objects that a network sees on one image, the most confident first.

    Attributes:
        boxes: float64 [k, 4]: left, top, right, bottom, in pixels.
        classes: int64 [k].
        confidences: float64 [k], 0..1.
    """

    boxes: NDArray[np.float64]
    classes: NDArray[np.int64]
    confidences: NDArray[np.float64]

    def __len__(self) -> int:
        return self.confidences.size

    def on_photo(self, scene: Scene) -> Detections:
        """The same in pixels of the photo of `scene`, from pixels of the network's input; what lies outside is cut off."""
        boxes = scene.frame.to_photo(self.boxes)
        limits = np.array([scene.width, scene.height, scene.width, scene.height], np.float64)
        return Detections(np.clip(boxes, 0, limits), self.classes, self.confidences)


@dataclass(frozen=True)
class Detector:
    """From a head's output to detections.

    The thresholds are those that YOLOX is measured with (Ge et al., 2021); Ultralytics takes 0.001, 0.7 and 300.

    Attributes:
        head: one of `HEADS`; None: found from the shapes of the outputs.
        confidence: what a detection must exceed, 0..1; for mAP nearly everything counts.
        overlap: boxes of one class whose intersection over union, 0..1, is above this are one object.
        most: detections of an image, at most.

    Raises InvalidArgument for an unknown head or thresholds out of range.
    """

    head: str | None = None
    confidence: float = 0.01
    overlap: float = 0.65
    most: int = 100

    def __post_init__(self) -> None:
        if self.head is not None:
            one_of("head", self.head, HEADS)
        number("confidence", self.confidence, least=0, most=1)
        number("overlap", self.overlap, least=0, most=1)
        count("most", self.most)

    def detect(self, head: str, output: ArrayLike, size: tuple[int, int]) -> list[Detections]:
        """Detections of each image, in pixels of the input.

        Args:
            head, output: as for `decode`; output is numbers [n, …].
            size: (height, width) of the input, pixels.

        Every anchor stands for its most likely class alone. Those whose box or confidence is NaN are no detections.

        Raises InvalidArgument for anything else.
        """
        decoded = decode(head, output, size)
        return [self._image(decoded, i) for i in range(len(decoded.boxes))]

    def _image(self, decoded: Decoded, i: int) -> Detections:
        scores = np.nan_to_num(decoded.confidences[i], nan=-1.0)
        best = scores.argmax(axis=1)
        confidences = scores[np.arange(len(best)), best].astype(np.float64)
        boxes = decoded.boxes[i].astype(np.float64)
        chosen = np.flatnonzero((confidences > self.confidence) & ~np.isnan(boxes).any(axis=1))
        boxes, classes, confidences = boxes[chosen], best[chosen].astype(np.int64), confidences[chosen]
        boxes = np.clip(boxes, -_FAR, _FAR)
        kept = suppress(boxes, classes, confidences, self.overlap, self.most)
        return Detections(boxes[kept], classes[kept], confidences[kept])


def overlaps(one: ArrayLike, others: ArrayLike) -> NDArray[np.float64]:
    """float64 [n, m]: intersection over union of each box of `one` [n, 4] with each of `others` [m, 4]; 0 where a union
    is empty. Raises InvalidArgument for anything else.
    """
    return paired_overlaps(_boxes(one, "one")[:, np.newaxis], _boxes(others, "others")[np.newaxis])


def paired_overlaps(one: NDArray[np.floating[Any]], others: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """float64 [...]: intersection over union of boxes [..., 4] of `one` and `others`, one by one, broadcast."""
    a, b = one.astype(np.float64, copy=False), others.astype(np.float64, copy=False)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.maximum(sides, 0).prod(axis=-1)
    union = _areas(a) + _areas(b) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def suppress(
    boxes: ArrayLike, classes: ArrayLike, confidences: ArrayLike, overlap: float = 0.65, most: int = 100
) -> NDArray[np.int64]:
    """int64 [k]: which of n boxes are left, the most confident first (of equals, the one that stands first).

    The most confident box is kept, those of its class that overlap it by more than `overlap` are dropped, and so on
    with what is left, until `most` are kept.

    Args:
        boxes: numbers [n, 4].
        classes: integers [n].
        confidences: numbers [n], 0..1.
        overlap: intersection over union, 0..1.
        most: number of boxes.

    Raises InvalidArgument for other shapes.
    """
    corners, kinds = _boxes(boxes, "boxes"), array_of(classes, "classes")
    scores, overlap, most = (
        as_numbers(confidences, "confidences"),
        number("overlap", overlap),
        count("most", most),
    )
    if kinds.shape != corners.shape[:1] or scores.shape != corners.shape[:1]:
        raise InvalidArgument(
            f"classes, confidences: expected [{len(corners)}], as boxes have, got {list(kinds.shape)} and {list(scores.shape)}"
        )
    left = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while left.size and len(kept) < most:
        first, rest = int(left[0]), left[1:]
        kept.append(first)
        same = kinds[rest] == kinds[first]
        apart = np.ones(rest.size, bool)
        apart[same] = overlaps(corners[[first]], corners[rest[same]])[0] <= overlap
        left = rest[apart]
    return np.array(kept, np.int64)


def _areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    sides: NDArray[np.float64] = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return np.asarray(sides.prod(axis=-1))


def _boxes(boxes: ArrayLike, what: str) -> NDArray[np.float64]:
    array: NDArray[Any] = array_of(boxes, what)
    if array.ndim != 2 or array.shape[1] != 4 or array.dtype.kind not in "fiu":
        raise InvalidArgument(f"{what}: expected numbers [n, 4], got {array.dtype} {list(array.shape)}")
    return array.astype(np.float64, copy=False)
