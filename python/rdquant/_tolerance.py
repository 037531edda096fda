"""The smallest levels of a network within a tolerated loss, found with unlabelled images: no training, no labels."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._allocation import Curve, damage_at, price_of, price_of_bits, steps_at
from ._levels import RATE, Levels, Network, bar, bytes_of, values_of
from .data import Dataset
from .data.views import Views, has_photos
from .errors import InvalidArgument, RdquantError
from .graph import Model
from .metrics import outputs
from .metrics.formulas import distributions, kl_divergence, predictions
from .runtime import Session

__all__ = ["Best", "Levels", "Measured", "Search", "Split", "Tolerance", "smallest"]

_PROBES = 64  # images that sensitivities are measured with
_NOISE = 0.01  # share of a layer's output power that the middle step of a curve disturbs
_FINEST, _COARSEST = 2.0**-20, 4.0  # that it may be, of the largest weight
_LADDER = (0.5, 1.0, 2.0)  # steps of a curve
_TRIALS = 9  # prices that are tried
_LEAST_START = 0.01  # of what is tolerated: damage by all tensors together that a search starts with
_NEAR = 0.95  # a trial this near below the limit ends the search
_AIM = float(np.log(0.975))  # share that trials are aimed at, in logarithms
_ORDERED_TRIALS = 4  # prices that are tried so
_FARTHEST = float(np.log(2.0))  # from one of them to the next
_LEAST_LEFT = 0.25  # of the damage of layers, however much others seem to make up for
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
            number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
            if value is not None and not (number and 0 < value < float("inf")):
                raise InvalidArgument(f"{name}: expected a finite number above 0, got {value!r}")

    @property
    def damage(self) -> float:
        """The divergence that is tolerated, nats; of a loss a rough guess."""
        if self.kl is not None:
            return self.kl
        assert self.loss is not None
        return 0.02 * self.loss

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

    @classmethod
    def lossless(cls) -> Measured:
        """Of a model that stays as it is; nothing was measured."""
        return cls(0, 0.0, 1.0, 0.0, 0.0)


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
        for name, value, least in (("calibration", images, 3), ("seed", seed, 0)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
                raise InvalidArgument(f"{name}: expected an integer ≥ {least}, got {value!r}")
        if len(data) < 3:
            raise InvalidArgument(f"calibration: expected at least 3 images, {data.name} has {len(data)}")
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
        shares = distributions(before)
        lost = 100 * float(np.mean(first == labels) - np.mean(second == labels))
        return Measured(
            len(before),
            kl_divergence(before, after),
            float(np.mean(first == second)),
            lost if self._split.labelled else float("nan"),
            100 * float(np.mean(shares[rows, first] - shares[rows, second])),
        )


class Best:
    """The smallest candidate that is tolerated; before there is one, the candidate that uses least.

    Attributes:
        levels, measured: of that candidate; no levels and no loss before there is any.
        met: whether it is tolerated.
        interrupted: whether a KeyboardInterrupt has ended the search.
    """

    def __init__(self, profile: str) -> None:
        self.levels: Levels = {}
        self.measured = Measured.lossless()
        self.met = True
        self.interrupted = False
        self._profile = profile
        self._rank: tuple[bool, float] | None = None

    def offer(self, levels: Levels, measured: Measured, share: float) -> None:
        """A candidate that uses `share` of the tolerance."""
        rank = (share > 1, share if share > 1 else float(bytes_of(levels, self._profile)))
        if self._rank is None or rank < self._rank:
            self._rank, self.levels, self.measured, self.met = rank, levels, measured, share <= 1


def _curve(name: str, network: Network, compare: _Outputs) -> Curve:
    """Size and damage of one tensor at a few steps, all others in float."""
    rounder = network.rounders[name]
    middle = np.sqrt(12 * _NOISE * max(rounder.energy, 1e-30) / max(rounder.noise, 1e-30))
    largest = float(np.abs(rounder.matrix).max(initial=0.0)) or 1.0
    steps = np.clip(middle, largest * _FINEST, largest * _COARSEST) * np.array(_LADDER)
    bits, damage = [], []
    touched: set[str] = set()
    for step in steps:
        levels = network.tensors(name, rounder.round(float(step), RATE))
        touched |= set(levels)
        bits.append(8.0 * bytes_of(levels, "fast"))
        damage.append(compare.damage(values_of(levels)))
    compare.use({n: network.weights[n] for n in touched})
    return Curve(rounder.size, steps, np.array(bits), np.array(damage))


class _Bracket:
    """The nearest trials on both sides of the limit, as (log of price or damage, log of the share used).

    On log-log paper the share is nearly a straight line.
    """

    def __init__(self) -> None:
        self.low: tuple[float, float] | None = None  # log share ≤ 0
        self.high: tuple[float, float] | None = None

    def add(self, at: float, share: float) -> float:
        """A trial; returns the log of its share."""
        point = (at, float(np.log(max(share, 1e-3))))
        if share <= 1:
            self.low = point if self.low is None or at > self.low[0] else self.low
        else:
            self.high = point if self.high is None or at < self.high[0] else self.high
        return point[1]

    def between(self) -> float | None:
        """Where to try next; None where the limit is not yet between two trials."""
        if self.low is None or self.high is None or self.low[0] >= self.high[0]:
            return None
        width = self.high[0] - self.low[0]
        slope = (self.high[1] - self.low[1]) / width
        guess = self.low[0] + (_AIM - self.low[1]) / max(slope, 1e-3)
        return float(np.clip(guess, self.low[0] + 0.1 * width, self.high[0] - 0.1 * width))


def _closed_in(start: float, used: Callable[[float], float]) -> float | None:
    """The largest price found that uses no more than the tolerance; None where none does."""
    bracket = _Bracket()
    at = float(np.log(start))
    for _ in range(_TRIALS):
        share = used(float(np.exp(at)))
        log_share = bracket.add(at, share)
        if _NEAR <= share <= 1:
            break
        within = bracket.between()
        if within is not None:
            at = within
        else:  # damage grows about as the price does
            at -= float(np.clip(log_share, -2.0, 2.0)) + (0.3 if bracket.high is not None else -0.1)
    return None if bracket.low is None else float(np.exp(bracket.low[0]))


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
        self._compare = _Outputs(model, split, threads or None)  # first: it refuses what is no classifier
        self._network = Network(model, names, biases, split.fit, trellis, threads, progress)
        self._progress = progress
        self._curves = {}
        for name in bar(names, "sensitivity", "tensor", progress):
            self._curves[name] = _curve(name, self._network, self._compare)

    def run(self, tolerance: Tolerance, best: Best) -> None:
        """Look for the smallest levels whose loss is tolerated; `best` takes every candidate.

        Steps of tensors follow from their measured damage and size; one price for all of them is searched for, first
        with every layer rounded alone, which is quick, then with layers rounded in their order.
        """
        total = _TRIALS + 1 + _ORDERED_TRIALS
        with contextlib.closing(bar(range(total), "search", "trial", self._progress)) as shown:

            def tried(levels: Levels) -> tuple[float, float]:
                measured = self._compare.measure(values_of(levels))
                share = tolerance.used(measured)
                best.offer(levels, measured, share)
                shown.set_postfix(kl=f"{measured.kl:.4f}", used=f"{share:.2f}")
                shown.update()
                return measured.kl, share

            start = max(
                price_of_bits(self._curves, 4.0), price_of(self._curves, _LEAST_START * tolerance.damage)
            )
            price = _closed_in(start, lambda price: tried(self.at(price))[1])
            if price is not None:
                self._in_order(price, tried)

    def _in_order(self, price: float, tried: Callable[[Levels], tuple[float, float]]) -> None:
        """A few prices from the best one for layers rounded alone.

        The first trial tells what later layers make up for: the damage of all but the closing layers counts that much
        less from then on. Damage of all tensors together foretells that of the next trial; between a trial on either side
        of the limit, both of them do.
        """
        curves: Mapping[str, Curve] = self._curves
        bracket = _Bracket()
        steps = steps_at(curves, price * _AHEAD)
        alone, _ = tried(self._network.alone(steps))
        for trial in range(_ORDERED_TRIALS):
            kl, share = tried(self._network.in_order(steps))
            if trial == 0:
                curves = self._made_up(steps, alone, kl)
            elif _NEAR <= share <= 1:
                return
            at = float(np.log(max(damage_at(curves, steps), 1e-30)))
            log_share = bracket.add(at, share)
            within = bracket.between()
            if within is None:
                within = at + float(np.clip(_AIM - log_share, -_FARTHEST, _FARTHEST))
            steps = steps_at(curves, price_of(curves, float(np.exp(within))))

    def _made_up(self, steps: Mapping[str, float], alone: float, in_order: float) -> dict[str, Curve]:
        """Curves for layers rounded in their order, from what the same steps did when they were rounded alone."""
        closing = {n: c for n, c in self._curves.items() if n in self._network.closing}
        last = min(damage_at(closing, steps), 0.9 * min(alone, in_order))
        left = float(np.clip((in_order - last) / (alone - last), _LEAST_LEFT, 1.0)) if alone > last else 1.0
        return {n: c if n in closing else replace(c, damage=left * c.damage) for n, c in self._curves.items()}

    def at(self, price: float) -> Levels:
        """Levels at a price (nats a bit, see `steps_at`), every layer rounded alone."""
        return self._network.alone(steps_at(self._curves, price))


def smallest(
    model: Model,
    tolerance: Tolerance,
    split: Split,
    roles: Collection[str],
    profile: str,
    trellis: int,
    threads: int,
    progress: bool,
) -> Best:
    """The best candidate of a search, or of what there was of it before it was interrupted, or failed."""
    names = [p.name for p in model.parameters if p.role == "weight" and "weight" in roles]
    best = Best(profile)
    try:
        Search(model, names, "bias" in roles, split, trellis, threads, progress).run(tolerance, best)
    except KeyboardInterrupt:
        best.interrupted = True
    except RdquantError as failure:
        if not best.levels:
            raise
        warnings.warn(f"the search ended early: {failure}; the best file so far is written", stacklevel=4)
    return best
