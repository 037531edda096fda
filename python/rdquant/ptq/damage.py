"""How far a network's outputs are from those of the float network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..calibrate import stream
from ..data import input_geometry
from ..detection import decode, paired_overlaps, recognise
from ..errors import InvalidArgument, Unsupported
from ..graph import Model
from ..metrics import kl_divergence, predictions

__all__ = ["Damage", "Judge", "output_bytes", "signal_to_noise"]

Images = Callable[[], Iterable[NDArray[np.float32]]]
Values = list[NDArray[np.float32]]
_MOST_CLASSES = 1 << 16
_SURE = 0.05  # of the greatest confidence on an image: boxes below it do not count


@dataclass(frozen=True)
class Damage:
    """What a network loses on some images, without their labels.

    Attributes:
        kl: mean KL divergence of a classifier's outputs to the float network's, nats; None for other networks.
        agreement: share of images with the float network's first class; None for other networks.
        noise: power of the error over the power of the output, for each channel (axis 1; the last of three axes where
            that is shorter) at most 1, averaged over channels; of several outputs, that of the worst. For a detector, the
            mean of two shares: power of the confidences' error over that of the confidences, at most 1; and how far boxes
            miss those of the float network, 1 − intersection over union, weighed by their squared confidence.
    """

    kl: float | None
    agreement: float | None
    noise: float

    @property
    def score(self) -> float:
        """What layers are ranked by: the divergence in nats, or the share of noise."""
        return self.noise if self.kl is None else self.kl

    @property
    def sqnr_db(self) -> float:
        """The noise in decibels."""
        return -10 * float(np.log10(max(self.noise, 1e-30)))


class Judge:
    """Compares networks with `model` on the same images. It holds the float network's outputs for them.

    images: gives batches of the input, the same ones each time. threads: as for `rdquant.Session`.
    """

    def __init__(self, model: Model, images: Images, threads: int | None = None) -> None:
        self._images, self._threads = images, threads
        self._names = [o.name for o in model.outputs]
        self._floats = list(self._run(model))
        self._size = _input_size(images)
        self._head = None if self.classifies else self._find_head()

    @property
    def classifies(self) -> bool:
        """Whether the network gives one row of scores for each image."""
        return len(self._names) == 1 and _is_table(self._floats[0][0])

    @property
    def detects(self) -> bool:
        """Whether the network has the head of a known detector."""
        return self._head is not None

    def damage(self, model: Model, images: Images | None = None) -> Damage:
        """Of a network with the same outputs. images: batches of its input, where it begins behind the images' own."""
        found = self._run(model, images)
        if self.classifies:
            return self._of_classes(found)
        if self._head is not None:
            return Damage(None, None, self._of_boxes(found, *self._head))
        noise = _Noise()
        for before, after in self._beside(found):
            noise.add(before, after)
        return Damage(None, None, noise.worst())

    def _of_classes(self, found: Iterable[Values]) -> Damage:
        before, after = (
            np.concatenate([x[0].reshape(len(x[0]), -1) for x in xs]) for xs in (self._floats, found)
        )
        noise = _Noise()
        noise.add([before], [after])
        agreement = float(np.mean(predictions(before) == predictions(after)))
        return Damage(kl_divergence(before, after), agreement, noise.worst())

    def _of_boxes(self, found: Iterable[Values], output: str, head: str) -> float:
        place, total = self._names.index(output), np.zeros(4)
        for before, after in self._beside(found):
            one, other = (decode(head, x[place], self._size) for x in (before, after))
            error = one.confidences - np.nan_to_num(other.confidences)
            total[0] += float(np.square(error, dtype=np.float64).sum())
            total[1] += float(np.square(one.confidences, dtype=np.float64).sum())
            best = one.confidences.max(axis=2)
            for i, row in enumerate(best):
                sure = np.flatnonzero(row >= _SURE * row.max())
                weights = np.square(row[sure], dtype=np.float64)
                seen = np.nan_to_num(other.boxes[i, sure])
                total[2] += weights @ (1 - paired_overlaps(one.boxes[i, sure], seen))
                total[3] += weights.sum()
        noise, missed = total[::2] / np.maximum(total[1::2], 1e-30)
        return float((min(1.0, noise) + missed) / 2)

    def _find_head(self) -> tuple[str, str] | None:
        shapes = dict(zip(self._names, (x.shape for x in self._floats[0]), strict=True))
        try:
            return recognise(shapes, self._size)
        except (InvalidArgument, Unsupported):
            return None

    def _run(self, model: Model, images: Images | None = None) -> Iterator[Values]:
        batches = (images or self._images)()
        for found in stream(model, batches, self._names, threads=self._threads):
            yield [np.atleast_1d(found[name]) for name in self._names]  # an output may be one number

    def _beside(self, found: Iterable[Values]) -> Iterator[tuple[Values, Values]]:
        """The float network's outputs and those of `found`, the same rows: both come in portions of their own."""
        floats = iter(self._floats)
        before: Values = []
        for given in found:
            after = given
            while after:
                before = before or list(next(floats))
                if [x.shape for x in before] == [x.shape for x in after]:
                    yield before, after
                    before, after = [], []
                    continue
                n = min(len(before[0]), len(after[0]))
                yield [x[:n] for x in before], [x[:n] for x in after]
                before, after = ([y for x in xs if len(y := x[n:])] for xs in (before, after))


def output_bytes(model: Model, images: Images, threads: int | None = None) -> int:
    """Bytes that a network's outputs take for one image, the first of `images`."""
    for found in stream(model, images(), [o.name for o in model.outputs], threads=threads):
        return sum(x.nbytes // max(1, len(np.atleast_1d(x))) for x in found.values())
    return 0


def signal_to_noise(
    model: Model, quantized: Model, values: Sequence[str], images: Images, threads: int | None = None
) -> dict[str, float]:
    """10·log10(Σx²/Σ(x − x̂)²) of inner values, in decibels; 0 signal or noise counts as 300 dB at most."""
    power = dict.fromkeys(values, 0.0)
    noise = dict.fromkeys(values, 0.0)
    before = stream(model, images(), values, threads=threads)
    after = stream(quantized, images(), values, threads=threads)
    for wanted, given in zip(before, after, strict=True):
        for name in values:
            x = wanted[name].reshape(-1)
            power[name] += float(np.dot(x, x))
            apart = x - given[name].reshape(-1)
            noise[name] += float(np.dot(apart, apart))
    return {
        name: 10 * float(np.log10(max(power[name], 1e-30) / max(noise[name], 1e-30 * max(power[name], 1.0))))
        for name in values
    }


class _Noise:
    """Power of errors and of outputs, channel by channel, as batches come."""

    def __init__(self) -> None:
        self._sums: list[NDArray[np.float64]] = []  # of each output: [2, channels]

    def add(self, before: Values, after: Values) -> None:
        sums = [_powers(a, b) for a, b in zip(before, after, strict=True)]
        self._sums = [x + y for x, y in zip(self._sums, sums, strict=True)] if self._sums else sums

    def worst(self) -> float:
        shares = [np.minimum(1.0, error / np.maximum(power, 1e-30)).mean() for power, error in self._sums]
        return float(np.max(shares))


def _powers(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float64]:
    """float64 [2, channels]: Σx² and Σ(x − x̂)² of one output."""
    if before.ndim == 3 and before.shape[2] < before.shape[1]:
        before, after = before.swapaxes(1, 2), after.swapaxes(1, 2)
    if before.ndim < 3:  # one row of scores: its channels are not distinguished
        before, after = before.reshape(1, 1, -1), after.reshape(1, 1, -1)
    axes = (0, *range(2, before.ndim))
    power = np.square(before, dtype=np.float64).sum(axis=axes)
    return np.stack([power, np.square(before.astype(np.float64) - after).sum(axis=axes)])


def _input_size(images: Images) -> tuple[int, int]:
    """(height, width) of images; (0, 0) where the inputs are none."""
    for batch in images():
        return input_geometry(batch.shape)[1] or (0, 0)
    return 0, 0


def _is_table(scores: NDArray[np.float32]) -> bool:
    return scores.ndim >= 2 and 2 <= scores[0].size == scores.shape[1] <= _MOST_CLASSES
