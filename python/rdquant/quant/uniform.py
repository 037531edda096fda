"""Midtread, midrise, dead zone, and midtread behind µ-law companding."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

from numpy.typing import ArrayLike

from .._cached import cached
from .._core import quant as _core
from ..errors import InvalidArgument, flag, number
from .base import (
    PerChannel,
    Quantizer,
    Range,
    axis_of,
    channels_of,
    check_bits,
    per_channel,
    range_of,
    step_of,
)

__all__ = ["Deadzone", "Midrise", "Midtread", "MuLaw"]


def _check_shared(quantizer: Any) -> None:
    """axis, clip and range of a quantizer; the range stays as it is where it is a number or one a channel."""
    axis_of(quantizer.axis)
    flag("clip", quantizer.clip)
    if quantizer.range is not None:
        object.__setattr__(quantizer, "range", per_channel(quantizer.range, "range"))


@dataclass(frozen=True)
class _Uniform(Quantizer):
    """Fields shared by midtread, midrise and dead zone."""

    step: PerChannel
    axis: int | None = field(default=None, kw_only=True)
    bits: int | None = field(default=None, kw_only=True)
    range: PerChannel | None = field(default=None, kw_only=True)
    clip: bool = field(default=False, kw_only=True)

    @property
    @abstractmethod
    def _delta(self) -> float:
        """δ of equation 2.25."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "step", per_channel(self.step, "step"))
        _check_shared(self)
        if self.bits is not None:
            check_bits(self.bits)
        if isinstance(self.step, tuple) and self.axis is None:
            raise InvalidArgument("step: one a channel needs axis=")
        self.core(False)  # checks the parameters

    @cached
    def _kept(self) -> list[Any]:
        return [_core.Uniform(step, self._delta) for (step,) in channels_of(self.step)]

    @cached
    def _clipped(self) -> list[Any]:
        if self.range is None:
            raise InvalidArgument(
                "clip=True needs a range: make the quantizer with from_levels(bits=, range=)"
            )
        return [
            _core.Uniform(step, self._delta, max(1, math.ceil(range / step - self._delta)))
            for step, range in channels_of(self.step, self.range)
        ]

    def core(self, clip: bool) -> list[Any]:
        return self._clipped if clip else self._kept

    @property
    def parameter_count(self) -> int:
        return len(self._kept)

    @classmethod
    def _with_levels(
        cls, bits: int, range: Range, axis: int | None, x: ArrayLike | None, clip: bool, **extra: Any
    ) -> dict[str, Any]:
        limits = range_of(range, x, axis)
        if isinstance(limits, tuple) and axis is None:
            raise InvalidArgument("range: one a channel needs axis=")
        step = step_of(bits, limits)
        return {"step": step, "axis": axis, "bits": int(bits), "range": limits, "clip": clip, **extra}


@dataclass(frozen=True)
class Midtread(_Uniform):
    """Uniform quantizer with a level at zero: level = round(x/Δ), x̂ = Δ·level (thesis 004, equations 2.21, 2.22).

    Exactly the dead zone with δ = ½, so ties |x| = (k + ½)·Δ go to level k, towards zero.

    Args:
        step: Δ > 0 in the weights' unit, a number or one a channel.
        axis: the channel axis, where steps are per channel.
        bits, range, clip: as `from_levels` sets them: step = 2·range/2^bits; where `clip`, `quantize` clips to ±range.

    Raises InvalidArgument for arguments outside the above.

    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """

    family: ClassVar[str] = "midtread"

    @property
    def _delta(self) -> float:
        return 0.5

    @property
    def label(self) -> str:
        return "midtread"

    @classmethod
    def from_levels(
        cls,
        bits: int,
        range: Range = 1.0,
        axis: int | None = None,
        x: ArrayLike | None = None,
        clip: bool = False,
    ) -> Midtread:
        """Δ = 2·range/2^bits: levels −2^(bits−1) … 2^(bits−1) inside ±range, one more than 2^bits.

        Args:
            bits: i of the thesis, 1..31.
            range: a number (the thesis: 1), one a channel, or "max": max|x| of `x`, per channel if `axis` is given.
            axis: the channel axis, for a range a channel.
            x: the weights for "max": real numbers of any shape.
            clip: whether `quantize` clips to ±range; otherwise levels beyond it are kept.

        Raises InvalidArgument for arguments outside the above.
        """
        return cls(**cls._with_levels(bits, range, axis, x, clip))


@dataclass(frozen=True)
class Midrise(_Uniform):
    """Uniform quantizer without an interval around zero: level = sign(x)·⌈|x|/Δ⌉, x̂ = sign(level)·Δ·(|level| − ½)
    (thesis 004, equations 2.23, 2.24). sign(0) = 0: an exact zero keeps level 0.

    Args:
        step, axis, bits, range, clip: as for `Midtread`; errors as there.

    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """

    family: ClassVar[str] = "midrise"

    @property
    def _delta(self) -> float:
        return 0.0

    @property
    def label(self) -> str:
        return "midrise"

    @classmethod
    def from_levels(
        cls,
        bits: int,
        range: Range = 1.0,
        axis: int | None = None,
        x: ArrayLike | None = None,
        clip: bool = False,
    ) -> Midrise:
        """Δ = 2·range/2^bits: levels ±1 … ±2^(bits−1) inside ±range, and 0 for an exact zero.

        Args:
            bits, range, axis, x, clip: as for `Midtread.from_levels` (x: real numbers of any shape); errors as there.
        """
        return cls(**cls._with_levels(bits, range, axis, x, clip))


@dataclass(frozen=True)
class Deadzone(_Uniform):
    """Uniform quantizer with a dead zone: level = 0 if |x| < δΔ, else sign(x)·⌈|x|/Δ − δ⌉;
    x̂ = sign(level)·Δ·(|level| + δ − ½), 0 for level 0 (thesis 004, equations 2.25, 2.26).

    Args:
        step, axis, bits, range, clip: as for `Midtread`; errors as there.
        delta: δ in [0, 1); ½ is midtread, 0 is midrise, bit for bit. The thesis uses .1, .25, .4 and .7.

    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """

    family: ClassVar[str] = "deadzone"
    delta: float = 0.5

    @property
    def _delta(self) -> float:
        return number("delta", self.delta)

    @property
    def label(self) -> str:
        return f"dead zone δ={self.delta:g}"

    @classmethod
    def from_levels(
        cls,
        bits: int,
        range: Range = 1.0,
        delta: float = 0.5,
        axis: int | None = None,
        x: ArrayLike | None = None,
        clip: bool = False,
    ) -> Deadzone:
        """Δ = 2·range/2^bits: levels −2^(bits−1) … 2^(bits−1) inside ±range, one more than 2^bits.

        Args:
            bits, range, axis, x, clip: as for `Midtread.from_levels` (x: real numbers of any shape); errors as there.
            delta: δ in [0, 1); ½ by default, while the text "deadzone" means 0.4 (`rdquant.parse_quantizers`).
        """
        return cls(**cls._with_levels(bits, range, axis, x, clip, delta=delta))


@dataclass(frozen=True)
class MuLaw(Quantizer):
    """µ-law companding, then midtread with the step 2·range/2^bits on the compressed axis (thesis 004, equations 2.27, 2.28):
    y = X·ln(1 + µ|x|/X)/ln(1 + µ)·sign(x); x̂ = (X/µ)·((1 + µ)^(|ŷ|/X) − 1)·sign(ŷ).

    Args:
        mu: µ > 0. The thesis says only that "µ is the number of channels"; 255 is the standard of telephony.
        bits: 1..31; Δ = 2·range/2^bits on the compressed axis.
        range: X > 0, or one a channel with `axis`; the thesis: 1. Larger weights get larger levels unless clipped.
        axis, clip: as for `Midtread`; errors as there.

    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """

    family: ClassVar[str] = "mulaw"
    mu: float = 255.0
    bits: int = 8
    range: PerChannel = 1.0
    axis: int | None = field(default=None, kw_only=True)
    clip: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "range", per_channel(self.range, "range"))
        _check_shared(self)
        number("mu", self.mu, above=0)
        if isinstance(self.range, tuple) and self.axis is None:
            raise InvalidArgument("range: one a channel needs axis=")
        object.__setattr__(self, "bits", check_bits(self.bits))
        self.core(False)

    @property
    def label(self) -> str:
        return f"µ-law µ={self.mu:g}"

    @cached
    def _both(self) -> tuple[list[Any], list[Any]]:
        pairs = channels_of(self.range, step_of(self.bits, self.range))
        limit = 2 ** (self.bits - 1) if self.bits > 1 else 1
        return (
            [_core.MuLaw(self.mu, range, step) for range, step in pairs],
            [_core.MuLaw(self.mu, range, step, limit) for range, step in pairs],
        )

    def core(self, clip: bool) -> list[Any]:
        return self._both[clip]

    @property
    def parameter_count(self) -> int:
        return 1 + len(self._both[0])

    @classmethod
    def from_levels(
        cls,
        bits: int,
        range: Range = 1.0,
        mu: float = 255.0,
        axis: int | None = None,
        x: ArrayLike | None = None,
        clip: bool = False,
    ) -> MuLaw:
        """Levels −2^(bits−1) … 2^(bits−1) inside ±range, at equal distances on the compressed axis.

        Args:
            bits, range, axis, x, clip: as for `Midtread.from_levels` (x: real numbers of any shape); errors as there.
            mu: µ > 0.
        """
        return cls(mu, bits, range_of(range, x, axis), axis=axis, clip=clip)
