"""What is remembered of a value while images stream by: extremes, and a histogram that widens as it must."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidArgument

__all__ = ["Observed"]

_BINS = 4096  # at most; at least half of them once values differ
_SAMPLES = 1 << 14  # values of an image that the histogram takes
_FINEST = -100  # exponent of the narrowest bin
_AVERAGED = 100  # images that the moving average looks back, about


class Observed:
    """Extremes and a histogram of one value of a network.

    The histogram's bins are 2^e wide and start at multiples of it: where the values no longer fit, neighbours merge
    two by two, without error. Its counts depend on the order of images only where the values are sampled: of a large
    image every n-th value is taken. Memory: 32 KiB and two numbers a channel, whatever the number of images.

    Attributes:
        name: of the value, for messages.
        images: number of them.
        low, high: exact extremes.
        average: (low, high) of an image, moving averages over about the last 100 images.
        channel_low, channel_high: extremes of each channel (axis 1), float32.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.images = 0
        self.low, self.high = np.inf, -np.inf
        self.average = (0.0, 0.0)
        self.channel_low = self.channel_high = np.zeros(0, np.float32)
        self._exponent = _FINEST
        self._first = 0
        self._counts = np.zeros(0, np.int64)

    def add(self, values: NDArray[np.float32]) -> None:
        """Values [n, …] of n images. Raises InvalidArgument for NaN and infinity."""
        if values.size == 0:
            return
        table = values.reshape(len(values), values.shape[1] if values.ndim > 1 else 1, -1)
        low, high = table.min(axis=2), table.max(axis=2)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise InvalidArgument(
                f"value {self.name!r}: it becomes NaN or infinite on the calibration images"
            )
        if self.channel_low.size != low.shape[1]:
            known = self.channel_low.size > 0  # sizes that change from image to image have no channels
            self.channel_low = np.full(1 if known else low.shape[1], np.inf, np.float32)
            self.channel_high = -self.channel_low
        self.channel_low = np.minimum(
            self.channel_low, low.min(axis=0 if self.channel_low.size > 1 else None)
        )
        self.channel_high = np.maximum(
            self.channel_high, high.max(axis=0 if self.channel_high.size > 1 else None)
        )
        self.low, self.high = min(self.low, float(low.min())), max(self.high, float(high.max()))
        for row, least, most in zip(table, low.min(axis=1), high.max(axis=1), strict=True):
            self._average(float(least), float(most))
            self._count(row.reshape(-1))

    def bins(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """(middles of the bins, counts); middles lie within the extremes."""
        width = 2.0**self._exponent
        middles = (self._first + np.arange(self._counts.size) + 0.5) * width
        return np.clip(middles, self.low, self.high), self._counts

    def _average(self, low: float, high: float) -> None:
        self.images += 1
        share = max(1 / self.images, 1 / _AVERAGED)
        before = self.average
        self.average = (before[0] + share * (low - before[0]), before[1] + share * (high - before[1]))

    def _count(self, values: NDArray[np.float32]) -> None:
        apart = -(-values.size // _SAMPLES) | 1  # odd: not the same columns of an image again and again
        sample = values[self.images % apart :: apart] if apart > 1 else values
        if sample.size == 0:
            return
        self._widen(float(sample.min()), float(sample.max()))
        places = np.floor(sample.astype(np.float64) * 2.0**-self._exponent).astype(np.int64)
        self._counts += np.bincount(places - self._first, minlength=self._counts.size)

    def _widen(self, low: float, high: float) -> None:
        """Make room for low … high."""
        if self._counts.size:
            width = 2.0**self._exponent
            low, high = (
                min(low, self._first * width),
                max(high, (self._first + self._counts.size - 0.5) * width),
            )
        extent = max(high - low, abs(low) * 2.0**-40, abs(high) * 2.0**-40)
        needed = _FINEST if extent == 0 else int(np.ceil(np.log2(extent / (_BINS - 2))))
        exponent = max(self._exponent if self._counts.size else _FINEST, needed)
        self._merge(exponent)
        first, last = (int(np.floor(v * 2.0**-exponent)) for v in (low, high))
        if not self._counts.size:
            self._first = first
        before, after = max(0, self._first - first), max(0, last + 1 - self._first - self._counts.size)
        if before or after:
            self._counts = np.pad(self._counts, (before, after))
            self._first -= before

    def _merge(self, exponent: int) -> None:
        """Bins of 2^exponent."""
        shift = exponent - self._exponent
        if shift > 0 and self._counts.size:
            places = [(self._first + i) >> shift for i in range(self._counts.size)]
            merged = np.zeros(places[-1] - places[0] + 1, np.int64)
            np.add.at(merged, np.array(places) - places[0], self._counts)
            self._first, self._counts = places[0], merged
        self._exponent = exponent
