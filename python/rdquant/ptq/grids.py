"""Levels of 8 bits: r = s·(q − z) with zero exactly representable (Krishnamoorthi, 2018; paper 003, equation 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import array_of, as_numbers
from ..errors import InvalidArgument, count, flag, number, one_of

__all__ = ["KINDS", "Grid", "grid_of"]

KINDS = ("u8", "s8")
"""Types of activations' levels: uint8 (0 … 255) and int8 (−128 … 127)."""

_LEAST = 2.0**-100  # of a scale: a value that is always zero has no range of its own


@dataclass(frozen=True)
class Grid:
    """The levels of one value: r = s·(q − z) (paper 003, equation 1).

    Attributes:
        scale: s, the step between two levels in the value's unit, a float32 number above 0.
        zero: z, the level that stands for 0.
        kind: one of `KINDS`.

    Raises InvalidArgument for anything else.

    Paper 003: Khrupin and Shaptsev, “Quantization method for detection neural networks”, 2025.
    """

    scale: float
    zero: int
    kind: str

    def __post_init__(self) -> None:
        one_of("kind", self.kind, KINDS)
        number("scale", self.scale, above=0)
        low, high = self.bounds
        count("zero", self.zero, low, high)

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 or int8."""
        return np.dtype(np.uint8 if self.kind == "u8" else np.int8)

    @property
    def bounds(self) -> tuple[int, int]:
        """First and last level."""
        return (0, 255) if self.kind == "u8" else (-128, 127)

    @property
    def range(self) -> tuple[float, float]:
        """Numbers that the first and last level stand for, in the value's unit."""
        low, high = self.bounds
        return self.scale * (low - self.zero), self.scale * (high - self.zero)

    def levels(self, values: ArrayLike) -> NDArray[Any]:
        """q = clamp(round(r/s) + z), ties to even, in the grid's dtype and the shape of `values`.

        Raises InvalidArgument for anything else.
        """
        low, high = self.bounds
        scaled = as_numbers(values).astype(np.float32) / np.float32(self.scale)
        return (np.clip(np.rint(scaled), low - self.zero, high - self.zero) + self.zero).astype(self.dtype)

    def values(self, levels: ArrayLike) -> NDArray[np.float32]:
        """r = s·(q − z) of `levels`, integers: float32 of their shape. Raises InvalidArgument for anything else."""
        array = array_of(levels, "levels")
        if array.dtype.kind not in "iub":
            raise InvalidArgument(f"levels: expected integers, got {array.dtype} {list(array.shape)}")
        apart = array.astype(np.int32) - self.zero
        return apart.astype(np.float32) * np.float32(self.scale)


def grid_of(low: float, high: float, kind: str = "u8", symmetric: bool = False) -> Grid:
    """The finest grid whose levels reach from `low` to `high`, widened to hold 0.

    Args:
        low, high: in the value's unit.
        kind: one of `KINDS`.
        symmetric: the middle level stands for 0 (int8: levels −127 … 127 are meant); where no number is negative, uint8
            counts from 0.

    The last level does not exceed `high` where low ≥ 0: a clip at `high` before it changes nothing.

    Raises InvalidArgument for bounds that are not finite or in the wrong order, or an unknown kind.
    """
    one_of("kind", kind, KINDS)
    flag("symmetric", symmetric)
    if number("low", low) > number("high", high):
        raise InvalidArgument(f"low, high: expected low ≤ high, got {low}, {high}")
    low, high = min(low, 0.0), max(high, 0.0)
    first, last = (0, 255) if kind == "u8" else (-128, 127)
    if symmetric and (low < 0 or kind == "s8"):
        middle = 128 if kind == "u8" else 0
        return Grid(_scale(max(-low, high), last - middle), middle, kind)
    scale = _scale(high - low, last - first)
    zero = int(np.clip(np.rint(first - low / scale), first, last))
    return Grid(scale, zero, kind)


def _scale(extent: float, steps: int) -> float:
    """The largest float32 of which `steps` do not exceed `extent`; 1 where there is no extent."""
    scale = np.float32(extent / steps)
    if scale < _LEAST:
        return 1.0
    while np.float32(scale * np.float32(steps)) > np.float32(extent):
        scale = np.nextafter(scale, np.float32(0))
    return float(scale)
