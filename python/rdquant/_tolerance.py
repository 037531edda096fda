"""The smallest levels of a network within a tolerated loss, found with unlabelled images: no training, no labels."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ._allocation import Curve, steps_at
from .calibrate import Layer, LayerRounder, Rounded, by_input, covariances, following, layers_of
from .codec import Optimised
from .data import Dataset
from .data.views import Views, has_photos
from .errors import InvalidArgument
from .graph import Model
from .metrics import outputs
from .metrics.formulas import kl_divergence, predictions
from .runtime import Session

__all__ = ["Best", "Levels", "Measured", "Search", "Split", "Tolerance"]

_RATE = 0.08  # λ of entropy-aware rounding, see LayerRounder.round
_PROBES = 64  # images that sensitivities are measured with
_NOISE = 0.01  # share of a layer's output power that the middle step of a curve disturbs
_LADDER = (0.5, 1.0, 2.0)  # steps of a curve
_TRIALS = 9  # prices that are tried
_NEAR = 0.95  # a trial this near below the limit ends the search
_ORDERED = 400  # images, views of them among these, that layers are rounded one after the other with
_POSITIONS = 128  # of a convolution in each of these
_ORDERED_TRIALS = 3  # prices that are tried so
_AHEAD = 1.15  # ratio of the first of them to the best price of layers rounded alone
_HELD_BYTES = 1 << 29  # of images that stay in memory


@dataclass(frozen=True)
class Tolerance:
    """What may be lost: points of top-1 (`loss`), or mean KL divergence of the outputs to the float model's, nats."""

    loss: float | None = None
    kl: float | None = None

    def __post_init__(self) -> None:
        if (self.loss is None) == (self.kl is None):
            raise InvalidArgument("expected one of max_loss and max_kl")
        for name, value in (("max_loss", self.loss), ("max_kl", self.kl)):
            if value is not None and not 0 < value < float("inf"):
                raise InvalidArgument(f"{name}: expected a finite number above 0, got {value!r}")

    def used(self, measured: Measured) -> float:
        """Share of the tolerance that a measurement uses; 1: all of it."""
        if self.kl is not None:
            return measured.kl / self.kl
        assert self.loss is not None
        return max(measured.loss, measured.expected_loss) / self.loss


@dataclass(frozen=True)
class Measured:
    """What a compressed model loses on images that its levels were not fitted to.

    Attributes:
        images: number of them.
        kl: mean KL divergence of the outputs to the float model's, nats.
        agreement: share of images with the float model's first class, 0..1.
        loss: points of top-1 lost by the labels; NaN where they were not looked at.
        expected_loss: points of top-1 that the float model's own probabilities give the lost first classes more than
            the new ones: an estimate without labels.
    """

    images: int
    kl: float
    agreement: float
    loss: float
    expected_loss: float


@dataclass(frozen=True)
class Split:
    """Images for the covariances; images that tell how large the loss is; whether their labels may be looked at."""

    fit: Dataset
    held: Dataset
    labelled: bool

    @classmethod
    def of(cls, data: Dataset, tolerance: Tolerance, images: int, seed: int) -> Split:
        """A seeded draw. Two thirds of `images` are fitted to, and where they are photos, to a view of each besides.

        The rest of `images` measures a KL divergence; a loss is measured on all images that are not fitted to, with
        their labels.
        """
        if isinstance(images, bool) or images < 3 or len(data) < 3:
            raise InvalidArgument(
                f"calibration: expected at least 3 images, got {min(images, len(data))} of {data.name}"
            )
        order = np.random.default_rng(seed).permutation(len(data))
        pool = min(images, len(data))
        fitted = max(2, 2 * pool // 3)
        held = order[fitted : pool if tolerance.kl is not None else None]
        fit = data.take(order[:fitted])
        return cls(
            (Views(fit, seed) if has_photos(fit) else fit).held(_HELD_BYTES),
            data.take(held).held(_HELD_BYTES),
            tolerance.loss is not None,
        )


Levels = dict[str, Optimised]


class _Inputs:
    """The images of a data set as batches, anew each time."""

    def __init__(self, data: Dataset) -> None:
        self._data = data

    def __call__(self) -> Iterator[NDArray[np.float32]]:
        return (x for x, _ in self._data)


class _Outputs:
    """Sets weights and compares what comes out with the float model."""

    def __init__(self, model: Model, split: Split, threads: int | None) -> None:
        self._session = Session(model, threads=threads)
        self._split = split
        self._probe = split.fit.take(np.arange(min(_PROBES, len(split.fit))))
        self._floats = [outputs(self._session, d) for d in (self._probe, split.held)]

    def use(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Weights to go on with."""
        self._session.set_weights(tensors)

    def damage(self, tensors: Mapping[str, NDArray[Any]]) -> float:
        """KL divergence on the few images of the probe; the weights stay."""
        self._session.set_weights(tensors)
        return kl_divergence(self._floats[0], outputs(self._session, self._probe))

    def measure(self, tensors: Mapping[str, NDArray[Any]]) -> Measured:
        """The full comparison on held-out images; the weights stay."""
        self._session.set_weights(tensors)
        before, after = self._floats[1], outputs(self._session, self._split.held)
        first, second = predictions(before), predictions(after)
        rows, labels = np.arange(len(before)), self._split.held.labels
        shares = np.exp(before.astype(np.float64) - before.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        lost = 100 * float(np.mean(first == labels) - np.mean(second == labels))
        return Measured(
            len(before),
            kl_divergence(before, after),
            float(np.mean(first == second)),
            lost if self._split.labelled else float("nan"),
            100 * float(np.mean(shares[rows, first] - shares[rows, second])),
        )


class _Network:
    """A model's weights and what rounds them."""

    def __init__(
        self,
        model: Model,
        names: list[str],
        biases: bool,
        split: Split,
        trellis: int,
        threads: int,
        progress: bool,
    ) -> None:
        self._model, self._biases, self._trellis, self._threads = model, biases, trellis, threads
        self._ordered = split.fit.take(np.arange(min(_ORDERED, len(split.fit))))
        self.weights = model.weights()
        self.layers: dict[str, Layer] = {
            layer.weight: layer for layer in layers_of(model) if layer.weight in names
        }
        images = (x for x, _ in split.fit)
        with contextlib.closing(_bar(None, "calibration", "image", progress)) as bar:
            moments = covariances(
                model,
                images,
                list(self.layers.values()),
                threads=threads or None,
                done=lambda n: bar.update(n - bar.n),
            )
        self.rounders: dict[str, LayerRounder] = {}
        for name in names:
            layer = self.layers.get(name)
            bias = layer.bias if layer is not None and biases else None
            try:
                self.rounders[name] = LayerRounder(
                    self.weights[name],
                    None if bias is None else self.weights[bias],
                    layer,
                    moments.pop(name, None),
                    threads,
                    trellis,
                )
            except InvalidArgument as failure:
                raise InvalidArgument(f"tensor {name!r}: {failure}") from None

    def alone(self, steps: Mapping[str, float]) -> Levels:
        """Levels of all weights, each layer rounded as if all others stayed in float."""
        levels: Levels = {}
        for name, step in steps.items():
            levels |= self.tensors(name, self.rounders[name].round(step, _RATE))
        return levels

    def in_order(self, steps: Mapping[str, float]) -> Levels:
        """Levels of all weights, each layer rounded to make up for the errors of those before it."""
        levels = self.alone({name: step for name, step in steps.items() if name not in self.layers})
        (port,) = self._model.inputs
        for layers in by_input(self.layers.values()):
            rounders = [(layer, self.rounders[layer.weight]) for layer in layers]
            if layers[0].input != port.name:
                before = self._model.replace_weights(_values(levels))
                images = _Inputs(self._ordered)
                rounders = list(
                    following(
                        self._model,
                        before,
                        layers,
                        images,
                        self._biases,
                        _POSITIONS,
                        threads=self._threads,
                        trellis=self._trellis,
                    )
                )
            for layer, rounder in rounders:
                levels |= self.tensors(layer.weight, rounder.round(steps[layer.weight], _RATE))
        return levels

    def tensors(self, name: str, rounded: Rounded) -> Levels:
        """Levels by the names of the tensors that rounding one weight gives."""
        out = {name: rounded.weight}
        if rounded.bias is not None:
            bias = self.layers[name].bias
            assert bias is not None
            out[bias] = rounded.bias
        return out


def _values(levels: Levels) -> dict[str, NDArray[np.float32]]:
    return {name: tensor.dequantize() for name, tensor in levels.items()}


def _bytes(levels: Levels, profile: str) -> int:
    return sum(len(tensor.encode(profile)) for tensor in levels.values())


class Best:
    """The smallest candidate that is tolerated; before there is one, the candidate that uses least.

    Attributes:
        levels, measured: of that candidate; no levels and no loss before there is any.
        met: whether it is tolerated.
        interrupted: whether a KeyboardInterrupt has ended the search.
    """

    def __init__(self, profile: str) -> None:
        self.levels: Levels = {}
        self.measured = Measured(0, 0.0, 1.0, 0.0, 0.0)
        self.met = True
        self.interrupted = False
        self._profile = profile
        self._rank: tuple[bool, float] | None = None

    def offer(self, levels: Levels, measured: Measured, share: float) -> None:
        """A candidate that uses `share` of the tolerance."""
        rank = (share > 1, share if share > 1 else float(_bytes(levels, self._profile)))
        if self._rank is None or rank < self._rank:
            self._rank, self.levels, self.measured, self.met = rank, levels, measured, share <= 1


def _curve(name: str, network: _Network, compare: _Outputs) -> Curve:
    """Size and damage of one tensor at a few steps, all others in float."""
    rounder = network.rounders[name]
    middle = np.sqrt(12 * _NOISE * max(rounder.energy, 1e-30) / max(rounder.noise, 1e-30))
    steps = middle * np.array(_LADDER)
    bits, damage = [], []
    touched: set[str] = set()
    for step in steps:
        levels = network.tensors(name, rounder.round(float(step), _RATE))
        touched |= set(levels)
        bits.append(8.0 * _bytes(levels, "fast"))
        damage.append(compare.damage(_values(levels)))
    compare.use({n: network.weights[n] for n in touched})
    return Curve(rounder.size, steps, np.array(bits), np.array(damage))


def _price(curves: Mapping[str, Curve]) -> float:
    """A price at which a weight costs about four bits."""
    size = sum(c.size for c in curves.values())
    low, high = 1e-15, 1e3
    for _ in range(60):
        middle = float(np.sqrt(low * high))
        chosen = steps_at(curves, middle)
        bits = sum(float(curves[n].at(np.array([s]))[0][0]) for n, s in chosen.items())
        low, high = (middle, high) if bits > 4 * size else (low, middle)
    return low


def _closed_in(start: float, used: Callable[[float], float]) -> float | None:
    """The largest price found that uses no more than the tolerance; None where none does.

    Prices close in on it: on log-log paper the share used is nearly a straight line.
    """
    low: tuple[float, float] | None = None  # (log price, log share), share ≤ 1
    high: tuple[float, float] | None = None
    at = float(np.log(start))
    for _ in range(_TRIALS):
        share = used(float(np.exp(at)))
        point = (at, float(np.log(max(share, 1e-3))))
        if share <= 1:
            low = point if low is None or point[0] > low[0] else low
        else:
            high = point if high is None or point[0] < high[0] else high
        if _NEAR <= share <= 1:
            break
        if low is not None and high is not None:
            slope = (high[1] - low[1]) / (high[0] - low[0])
            guess = low[0] + (np.log(0.975) - low[1]) / max(slope, 1e-3)
            margin = 0.1 * (high[0] - low[0])
            at = float(np.clip(guess, low[0] + margin, high[0] - margin))
        else:  # damage grows about as the price does
            at -= float(np.clip(point[1], -2.0, 2.0)) + (0.3 if high is not None else -0.1)
    return None if low is None else float(np.exp(low[0]))


class Search:
    """What has been learned of a model with images, once; `run` then looks for levels within a tolerated loss.

    names: of weights to round; biases: whether those beside them are rounded too, and take up mean errors; trellis:
    states, as for `LayerRounder`.
    """

    def __init__(
        self,
        model: Model,
        names: list[str],
        biases: bool,
        split: Split,
        trellis: int,
        threads: int = 0,
        progress: bool = False,
    ) -> None:
        self._network = _Network(model, names, biases, split, trellis, threads, progress)
        self._compare = _Outputs(model, split, threads or None)
        self._progress = progress
        self._curves = {}
        for name in _bar(names, "sensitivity", "tensor", progress):
            self._curves[name] = _curve(name, self._network, self._compare)

    def run(self, tolerance: Tolerance, best: Best) -> None:
        """Look for the smallest levels whose loss is tolerated; `best` takes every candidate.

        Steps of tensors follow from their measured damage and size; one price for all of them is searched for, first
        with every layer rounded alone, which is quick, then with layers rounded in their order.
        """
        total = _TRIALS + _ORDERED_TRIALS
        with contextlib.closing(_bar(range(total), "search", "trial", self._progress)) as bar:

            def used(price: float, in_order: bool = False) -> float:
                levels, measured = self.at(price, in_order)
                share = tolerance.used(measured)
                best.offer(levels, measured, share)
                bar.set_postfix(kl=f"{measured.kl:.4f}", used=f"{share:.2f}")
                bar.update()
                return share

            price = _closed_in(_price(self._curves), used)
            if price is not None:
                self._in_order(price, used)

    def _in_order(self, price: float, used: Callable[[float, bool], float]) -> None:
        """A few prices around the best one for layers rounded alone."""
        price *= _AHEAD
        for _ in range(_ORDERED_TRIALS):
            share = used(price, True)
            if _NEAR <= share <= 1:
                return
            price *= float(np.clip(0.975 / max(share, 1e-3), 0.5, 2.0))

    def at(self, price: float, in_order: bool = False) -> tuple[Levels, Measured]:
        """Levels at a price (nats a bit, see `steps_at`) and what they lose."""
        steps = steps_at(self._curves, price)
        levels = self._network.in_order(steps) if in_order else self._network.alone(steps)
        return levels, self._compare.measure(_values(levels))


def _bar(items: Any, title: str, unit: str, progress: bool) -> Any:
    return tqdm(items, desc=title, unit=unit, disable=not progress, leave=False)
