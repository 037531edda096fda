"""Quantizers with arbitrary reconstruction values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from .._arrays import as_float32
from .._cached import cached
from .._core import quant as _core
from .._tables import short
from ..errors import InvalidArgument, described
from .base import Quantizer, check_bits

__all__ = ["Codebook"]

_MOST_SHOWN = 8  # levels that a line has room for


@dataclass(frozen=True, repr=False)
class Codebook(Quantizer):
    """Nearest of given values; level = index 0.. into them, a tie goes to the lower value.

    Args:
        levels: 1..65536 finite numbers in the weights' unit, strictly increasing once rounded to float32; else
            InvalidArgument.
    """

    family: ClassVar[str] = "codebook"
    levels: tuple[float, ...] = (0.0,)

    def __repr__(self) -> str:
        if len(self.levels) <= _MOST_SHOWN:
            return f"Codebook(levels={self.levels})"
        return short(self, f"{len(self.levels)} levels from {self.levels[0]:g} to {self.levels[-1]:g}")

    def __post_init__(self) -> None:
        try:
            values = np.asarray(tuple(self.levels), np.float32)
        except (TypeError, ValueError, OverflowError):
            raise InvalidArgument(
                f"levels: expected a list of numbers, got {described(self.levels)}"
            ) from None
        if values.ndim != 1:
            raise InvalidArgument(f"levels: expected a list of numbers, got an array of shape {values.shape}")
        object.__setattr__(self, "levels", tuple(values.tolist()))
        try:
            self.core(False)
        except InvalidArgument as error:
            raise InvalidArgument(f"levels: {error}") from None

    @property
    def label(self) -> str:
        return "codebook"

    @cached
    def _one(self) -> list[Any]:
        return [_core.Codebook(list(self.levels))]

    def core(self, clip: bool) -> list[Any]:
        return self._one

    @property
    def parameter_count(self) -> int:
        return len(self.levels)

    @classmethod
    def from_levels(cls, bits: int, x: ArrayLike) -> Codebook:
        """Lloyd–Max (one-dimensional k-means; Lloyd, 1982, and Max, 1960) codebook of at most 2^`bits` values, bits 1..16, for
        the weights `x`, real numbers of any shape.

        Raises InvalidArgument where x is empty or not finite.
        """
        return cls(tuple(_core.lloyd_max(as_float32(x, "x"), 2 ** check_bits(bits, 16))))
