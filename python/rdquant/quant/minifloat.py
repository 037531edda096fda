"""Small floating-point formats."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import ArrayLike

from .._arrays import as_float32
from .._cached import cached
from .._core import quant as _core
from ..errors import InvalidArgument, count, flag
from .base import Quantizer, per_channel

__all__ = ["MINIFLOATS", "Minifloat"]

#: (exponent, mantissa) bits of the formats of thesis 004, Table 3.5, from 12 bits down to 4.
MINIFLOATS = ((4, 7), (3, 6), (3, 4), (4, 3), (3, 3), (2, 4), (2, 3), (1, 4), (2, 2), (1, 3), (1, 2), (0, 3))
"""(exponent bits, mantissa bits) of the formats of thesis 004, Table 3.5."""


@dataclass(frozen=True)
class Minifloat(Quantizer):
    """Small floating-point format (thesis 004, equation 2.30): (−1)^s·2^(e − bias)·(1 + m/2^mantissa), normalized
    numbers only: no zero, subnormals, infinities or NaN. Level = ±(1 + e·2^mantissa + m).

    Rounds to nearest, ties to even; saturates at both ends, so 0 becomes the smallest positive number.

    Args:
        bits: 1 + exponent + mantissa, checked.
        exponent: bits of e, 0..8.
        mantissa: bits of m, 0..22.
        bias: 2^(exponent − 1) − 1 by default (0 for no exponent bits), as IEEE; the thesis gives none for its formats.
            `Minifloat.fitted` finds the one with the least squared error.
        ieee: with zero and subnormals, the topmost e reserved: IEEE 754 half and bfloat16; level = ±code.

    Raises InvalidArgument for arguments outside the above.

    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """

    family: ClassVar[str] = "minifloat"
    bits: int = 8
    exponent: int = 4
    mantissa: int = 3
    bias: int | None = None
    ieee: bool = False

    def __post_init__(self) -> None:
        for name, most in (("exponent", 8), ("mantissa", 22), ("bits", 31)):
            object.__setattr__(self, name, count(name, getattr(self, name), 0, most))
        if self.bias is not None:
            object.__setattr__(self, "bias", count("bias", self.bias, -(1 << 30), 1 << 30))
        flag("ieee", self.ieee)
        if self.bits != 1 + self.exponent + self.mantissa:
            raise InvalidArgument(
                f"bits: a minifloat has 1 + exponent + mantissa = {1 + self.exponent + self.mantissa}, got {self.bits}"
            )
        if self.bias is None:
            object.__setattr__(self, "bias", 2 ** (self.exponent - 1) - 1 if self.exponent > 0 else 0)
        self.core(False)

    @property
    def label(self) -> str:
        if self == Minifloat.half():
            return "half"
        if self == Minifloat.bfloat16():
            return "bfloat16"
        return f"minifloat {self.exponent}/{self.mantissa}" + (" ieee" if self.ieee else "")

    @cached
    def _one(self) -> list[Any]:
        bias = 0 if self.bias is None else self.bias  # never None once made
        return [_core.Minifloat(self.exponent, self.mantissa, bias, self.ieee)]

    def core(self, clip: bool) -> list[Any]:
        return self._one

    @classmethod
    def half(cls) -> Minifloat:
        """IEEE 754 binary16; numbers beyond 65504 saturate."""
        return cls(16, 5, 10, 15, True)

    @classmethod
    def bfloat16(cls) -> Minifloat:
        """The upper half of float32; saturates in place of infinity."""
        return cls(16, 8, 7, 127, True)

    @classmethod
    def fitted(cls, x: ArrayLike, exponent: int, mantissa: int) -> Minifloat:
        """The format with the bias that has the least squared error on `x`, real numbers of any shape.

        exponent, mantissa: their bits, as for `Minifloat`. Raises InvalidArgument for empty x.
        """
        exponent, mantissa = count("exponent", exponent, 0, 8), count("mantissa", mantissa, 0, 22)
        bias = _core.best_bias(as_float32(x, "x"), exponent, mantissa)
        return cls(1 + exponent + mantissa, exponent, mantissa, bias)

    @classmethod
    def from_levels(cls, bits: int, exponent: int, range: float = 1.0) -> Minifloat:
        """The format of `bits` bits in all, `exponent` of them for the exponent, biased so that `range` lies in its topmost
        binade. Raises InvalidArgument for numbers of bits that make no format.
        """
        bits, exponent = count("bits", bits, 1, 31), count("exponent", exponent, 0, 8)
        limit = per_channel(range, "range")
        if isinstance(limit, tuple):
            raise InvalidArgument("range: a minifloat takes one number")
        top = math.floor(math.log2(limit)) if limit != 1.0 else -1
        return cls(bits, exponent, bits - 1 - exponent, 2**exponent - 1 - top)
