"""How far a network's outputs are from those of the float network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..calibrate import stream
from ..graph import Model
from ..metrics import kl_divergence, predictions

__all__ = ["Damage", "Judge", "signal_to_noise"]

Images = Callable[[], Iterable[NDArray[np.float32]]]
_MOST_CLASSES = 1 << 16


@dataclass(frozen=True)
class Damage:
    """What a network loses on some images, labels unseen.

    Attributes:
        kl: mean KL divergence of a classifier's outputs to the float network's, nats; None for other networks.
        agreement: share of images with the float network's first class; None for other networks.
        noise: power of the error over the power of the output, for each channel (axis 1; the last of three axes where
            that is shorter) at most 1, averaged over channels and outputs.
    """

    kl: float | None
    agreement: float | None
    noise: float

    @property
    def score(self) -> float:
        """What layers are ranked by: the divergence, or the noise."""
        return self.noise if self.kl is None else self.kl

    @property
    def sqnr_db(self) -> float:
        """The noise in decibels."""
        return -10 * float(np.log10(max(self.noise, 1e-30)))


class Judge:
    """Compares networks with `model` on the same images.

    images: gives batches of the input, the same ones each time. threads: as for `rdquant.Session`.
    """

    def __init__(self, model: Model, images: Images, threads: int | None = None) -> None:
        self._images, self._threads = images, threads
        self._names = [o.name for o in model.outputs]
        self._floats = self._run(model)

    @property
    def classifies(self) -> bool:
        """Whether the network gives one row of scores for each image."""
        return len(self._names) == 1 and _is_table(self._floats[0])

    def damage(self, model: Model) -> Damage:
        """Of a network with the same outputs."""
        found = self._run(model)
        noise = [_noise(a, b) for a, b in zip(self._floats, found, strict=True)]
        kl = agreement = None
        if self.classifies:
            before, after = (x.reshape(len(x), -1) for x in (self._floats[0], found[0]))
            kl = kl_divergence(before, after)
            agreement = float(np.mean(predictions(before) == predictions(after)))
        return Damage(kl, agreement, float(np.mean(noise)))

    def _run(self, model: Model) -> list[NDArray[np.float32]]:
        parts: list[Mapping[str, NDArray[np.float32]]] = list(
            stream(model, self._images(), self._names, threads=self._threads)
        )
        return [np.concatenate([p[name] for p in parts]) for name in self._names]


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


def _is_table(scores: NDArray[np.float32]) -> bool:
    return scores.ndim >= 2 and 2 <= scores[0].size == scores.shape[1] <= _MOST_CLASSES


def _noise(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    if before.ndim == 3 and before.shape[2] < before.shape[1]:
        before, after = before.swapaxes(1, 2), after.swapaxes(1, 2)
    if before.ndim < 3:  # one row of scores: their channels are not told apart
        before, after = before.reshape(1, 1, -1), after.reshape(1, 1, -1)
    axes = (0, *range(2, before.ndim))
    power = np.square(before, dtype=np.float64).sum(axis=axes)
    error = np.square(before.astype(np.float64) - after).sum(axis=axes)
    return float(np.mean(np.minimum(1.0, error / np.maximum(power, 1e-30))))
