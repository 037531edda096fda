"""What detectors' outputs mean: boxes and confidences of YOLOX and YOLOv8, as their exporters leave them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import array_of
from .._tables import Brief
from ..errors import InvalidArgument, Unsupported, count, described, one_of

__all__ = ["HEADS", "STRIDES", "Decoded", "decode", "recognise"]

STRIDES = (8, 16, 32)
"""Pixels of the input between neighbouring anchors, for each of the maps that heads look at, in their order."""

_BOX, _OBJECT = 4, 1  # numbers that describe a box; that say how likely there is an object


@dataclass(frozen=True, repr=False)
class Decoded(Brief):
    """Every anchor's answer for n images.

    Attributes:
        boxes: float32 [n, anchors, 4]: left, top, right, bottom, in pixels of the network's input.
        confidences: float32 [n, anchors, classes], 0..1.
    """

    boxes: NDArray[np.float32]
    confidences: NDArray[np.float32]


Size = tuple[int, int]


def decode(head: str, output: ArrayLike, size: Size) -> Decoded:
    """The boxes that `output`, numbers [n, …] of a network's head, stands for.

    head: "yolox": [n, anchors, 5 + classes]; for the anchor at (x, y) of a map of stride s, the box's middle is
    s·(x + o₀, y + o₁), its sides are s·(exp o₂, exp o₃), and the confidence of class c is o₄·o₅₊c (Ge et al., 2021).
    "yolov8": [n, 4 + classes, anchors]: middle and sides in pixels, which the network itself makes of the distributions
    of distances (DFL, Li et al., 2020), and confidences.
    size: (height, width) of the network's input, in pixels.

    Raises InvalidArgument for an unknown head or an output that is not as described.
    """
    head, size, array = one_of("head", head, HEADS), _size(size), array_of(output, "output")
    if not _FITS[head](array.shape, _anchors(size)) or array.dtype.kind not in "fiub":
        raise InvalidArgument(
            f"output: the head {head} gives numbers {_SHAPES[head].format(anchors=_anchors(size))} for a size of "
            f"{size[0]} × {size[1]} pixels, got {array.dtype} {list(array.shape)}"
        )
    return HEADS[head](array.astype(np.float32, copy=False), size)


def recognise(shapes: Mapping[str, Sequence[int]], size: Size, head: str | None = None) -> tuple[str, str]:
    """(output, head) of a detector, from the shapes of its outputs.

    Args:
        shapes: of the outputs by name.
        size: (height, width) of the input, pixels.
        head: only this one is looked for.

    Raises Unsupported where no output is one of a known head, InvalidArgument where several are, or the head is unknown.
    """
    if head is not None:
        one_of("head", head, HEADS)
    if not isinstance(shapes, Mapping) or not all(isinstance(s, Sequence) for s in shapes.values()):
        raise InvalidArgument(f"shapes: expected shapes of outputs by name, got {described(shapes)}")
    size = _size(size)
    anchors = _anchors(size)
    found = [
        (name, kind)
        for name, shape in shapes.items()
        for kind in HEADS
        if head in (None, kind) and _FITS[kind](tuple(shape), anchors)
    ]
    listed = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
    if not found:
        wanted = "; ".join(
            f"{kind} {_SHAPES[kind].format(anchors=anchors)}" for kind in HEADS if head in (None, kind)
        )
        raise Unsupported(
            f"no output of a known detector's head for a size of {size[0]} × {size[1]} pixels: expected {wanted}; "
            f"found shapes {listed or 'of none'}"
        )
    if len(found) > 1:
        raise InvalidArgument(f"head: several fit ({', '.join(' as '.join(f) for f in found)}); name one")
    return found[0]


def _size(size: Size) -> Size:
    """(height, width), checked."""
    if not isinstance(size, Sequence) or isinstance(size, str) or len(size) != 2:
        raise InvalidArgument(f"size: expected (height, width), got {described(size)}")
    return count("size", size[0]), count("size", size[1])


def _anchors(size: Size) -> int:
    return sum((size[0] // stride) * (size[1] // stride) for stride in STRIDES)


def _grid(size: Size) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(x, y) of every anchor, [anchors, 2], in cells of its map; strides [anchors, 1]."""
    cells, strides = [], []
    for stride in STRIDES:
        y, x = np.mgrid[: size[0] // stride, : size[1] // stride]
        cells.append(np.stack([x.ravel(), y.ravel()], axis=1))
        strides.append(np.full((x.size, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


def _corners(middle: NDArray[np.float32], sides: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([middle - sides / 2, middle + sides / 2], axis=-1)


def _yolox(output: NDArray[np.float32], size: Size) -> Decoded:
    cells, strides = _grid(size)
    with np.errstate(over="ignore"):  # a side beyond float32 is infinite, and cut to the photo later
        sides = np.exp(output[..., 2:4]) * strides
    boxes = _corners((output[..., :2] + cells) * strides, sides)
    return Decoded(boxes, output[..., 4:5] * output[..., 5:])


def _yolov8(output: NDArray[np.float32], size: Size) -> Decoded:
    rows = output.swapaxes(1, 2)
    return Decoded(_corners(rows[..., :2], rows[..., 2:4]), rows[..., 4:])


HEADS: dict[str, Callable[[NDArray[np.float32], Size], Decoded]] = {"yolox": _yolox, "yolov8": _yolov8}
"""Name of a head → what makes boxes of its output."""

_SHAPES = {"yolox": "[n, {anchors}, 5 + classes]", "yolov8": "[n, 4 + classes, {anchors}]"}
_FITS: dict[str, Callable[[tuple[int, ...], int], bool]] = {
    "yolox": lambda shape, anchors: len(shape) == 3 and shape[1] == anchors and shape[2] > _BOX + _OBJECT,
    "yolov8": lambda shape, anchors: len(shape) == 3 and shape[2] == anchors and shape[1] > _BOX,
}
