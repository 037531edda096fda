"""What all quantizers share, and the helpers for ranges, steps and channels."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import array_of, as_float32, as_levels
from .._core import quant as _core
from ..errors import InvalidArgument, count, described, flag, threads_of

__all__ = [
    "PerChannel",
    "Quantizer",
    "Range",
    "axis_of",
    "channels_of",
    "check_bits",
    "per_channel",
    "range_of",
    "step_of",
]

PerChannel = float | tuple[float, ...]
Range = float | ArrayLike | Literal["max"]


@dataclass(frozen=True)
class Quantizer(ABC):
    """A scalar quantizer. Immutable, hashable, picklable; `axis` is the channel axis where parameters are per channel."""

    family: ClassVar[str]

    def __getstate__(self) -> dict[str, Any]:
        # Fields only: the core's objects are made again where the quantizer is unpickled.
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    @abstractmethod
    def label(self) -> str:
        """Name for tables and plots, without the number of bits."""

    @property
    def clips(self) -> bool:
        """Whether `quantize` clips to ±range by default."""
        return bool(getattr(self, "clip", False))

    @abstractmethod
    def core(self, clip: bool) -> list[Any]:
        """Core quantizers, one, or one a channel; `clip` as for `quantize`."""

    @property
    def parameter_count(self) -> int:
        """Numbers (of 32 bits) that a decoder must be sent besides the levels."""
        return 1

    def quantize(
        self,
        x: ArrayLike,
        clip: bool | None = None,
        out: NDArray[np.int32] | None = None,
        threads: int | None = 1,
    ) -> NDArray[np.int32]:
        """Levels of `x`.

        Args:
            x: weights, any shape.
            clip: first clip to ±range. Needs a quantizer that knows its range (`from_levels`), whose own setting is the
                default. Without clipping larger weights keep larger levels, as in the thesis (SqueezeNet has weights
                outside ±1).
            out: int32 array of the shape of x to write to; a new one by default.
            threads: up to this many threads; None or 0: all cores.

        Returns:
            int32 array of the shape of x. What a level means is stated at each class.

        Raises:
            InvalidArgument: a NaN or infinite weight, a level beyond int32, or `clip` without a range.
        """
        array = as_float32(x, "x")
        levels = _room(out, array.shape, np.dtype(np.int32))
        quantizers = self.core(self.clips if clip is None else flag("clip", clip))
        inner = self.inner(array.shape, len(quantizers))
        _core.quantize(quantizers, inner, array, levels, threads_of(threads), out is not None)
        return levels

    def dequantize(
        self, levels: ArrayLike, out: NDArray[np.float32] | None = None, threads: int | None = 1
    ) -> NDArray[np.float32]:
        """Weights that levels stand for.

        Args:
            levels: integers of any shape.
            out: float32 array of their shape to write to; a new one by default.
            threads: up to this many threads; None or 0: all cores.

        Returns:
            float32 array of the shape of `levels`.

        Raises:
            InvalidArgument: levels that `quantize` never gives.
        """
        array = as_levels(levels)
        values = _room(out, array.shape, np.dtype(np.float32))
        quantizers = self.core(False)
        inner = self.inner(array.shape, len(quantizers))
        _core.dequantize(quantizers, inner, array, values, threads_of(threads))
        return values

    def inner(self, shape: tuple[int, ...], channels: int) -> int:
        """Elements between neighbours along the channel axis of a tensor of this `shape`.

        Raises InvalidArgument where the axis does not exist or does not have `channels` entries.
        """
        axis = getattr(self, "axis", None)
        if axis is None:
            return max(1, math.prod(shape))
        if not -len(shape) <= axis < len(shape) or shape[axis] != channels:
            raise InvalidArgument(
                f"quantizer with {channels} channels along axis {axis} does not fit an array of shape {shape}"
            )
        return math.prod(shape[axis % len(shape) + 1 :])


def _room(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The array to write to, a new one for None; InvalidArgument for one that does not fit."""
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != dtype:
        raise InvalidArgument(f"out: expected shape {shape}, {dtype}, got {described(out)}")
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise InvalidArgument("out: expected a C-contiguous array that can be written to")
    return out


def axis_of(axis: object) -> int | None:
    """`axis` as an integer, or None; InvalidArgument for anything else."""
    return None if axis is None else count("axis", axis, -(1 << 30), 1 << 30)


def per_channel(value: ArrayLike, what: str) -> PerChannel:
    """A positive finite number, or a tuple of such."""
    array = array_of(value, what)
    if isinstance(value, (str, bytes)):
        raise InvalidArgument(
            f"{what}: expected a positive number, or one a channel, got the text {described(value)}"
        )
    if array.dtype.kind not in "fiub":
        raise InvalidArgument(f"{what}: expected a positive number, or one a channel, got {described(value)}")
    array = array.astype(np.float64)
    if array.ndim > 1 or array.size == 0 or not np.all(np.isfinite(array) & (array > 0)):
        raise InvalidArgument(f"{what}: expected a positive number, or one a channel, got {described(value)}")
    return float(array) if array.ndim == 0 else tuple(array.tolist())


def channels_of(*values: PerChannel | None) -> list[tuple[Any, ...]]:
    """Parameters channel by channel: numbers are repeated for tuples."""
    count = max((len(v) for v in values if isinstance(v, tuple)), default=1)
    return list(zip(*(v if isinstance(v, tuple) else (v,) * count for v in values), strict=True))


def range_of(range: Range, x: ArrayLike | None, axis: int | None) -> PerChannel:
    """`range` as numbers: "max" is max|x|, over all of x or per channel; 1 where that is zero."""
    if not isinstance(range, str):
        return per_channel(range, "range")
    if range != "max":
        raise InvalidArgument(f"range: expected a number or 'max', got {range!r}")
    if x is None:
        raise InvalidArgument("range='max' needs the weights: from_levels(..., range='max', x=weights)")
    magnitudes = np.abs(as_float32(x, "x"))
    axis = axis_of(axis)
    if axis is not None:
        if not -magnitudes.ndim <= axis < magnitudes.ndim:
            raise InvalidArgument(f"axis: an array of shape {magnitudes.shape} has no axis {axis}")
        magnitudes = np.moveaxis(magnitudes, axis, 0).reshape(magnitudes.shape[axis], -1)
    peak = magnitudes.max(axis=None if axis is None else -1, initial=0.0)
    if not np.all(np.isfinite(peak)):
        raise InvalidArgument("range='max': the weights hold NaN or infinity")
    return per_channel(np.where(peak > 0, peak, 1.0).astype(np.float64), "range")


def check_bits(bits: int, most: int = 31) -> int:
    whole = isinstance(bits, (int, float, np.integer, np.floating)) and not isinstance(bits, bool)
    if not whole or not 1 <= bits <= most or int(bits) != bits:
        raise InvalidArgument(f"bits: expected a whole number from 1 to {most}, got {described(bits)}")
    return int(bits)


def step_of(bits: int, range: PerChannel) -> PerChannel:
    """Δ = 2·range/2^bits."""
    scale = 2.0 / 2.0 ** check_bits(bits)
    return tuple(r * scale for r in range) if isinstance(range, tuple) else range * scale
