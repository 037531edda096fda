"""The smallest levels of a network within a tolerated loss, found with unlabelled images: no training, no labels."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import Dataset
from ..data.views import Views, has_photos
from ..errors import InvalidArgument, RdquantError, number
from ..graph import Model
from ..metrics import outputs
from ..metrics.formulas import distributions, kl_divergence, predictions
from ..runtime import Session
from .allocation import Curve, damage_at, price_of, price_of_bits, steps_at
from .bracket import TRIALS, Bracket, Labelled, Trial, closed_in
from .levels import RATE, Levels, Network, bar, bytes_of, values_of

__all__ = ["Best", "Levels", "Measured", "Search", "Split", "Tolerance", "smallest"]

_PROBES = 64  # images that sensitivities are measured with
_NOISE = 0.01  # share of a layer's output power that the middle step of a curve disturbs
_FINEST, _COARSEST = 2.0**-20, 4.0  # that it may be, of the largest weight
_LEAST_WEIGHT = 1e-26  # steps of weights below that would be no normal numbers
_LADDER = (0.5, 1.0, 2.0)  # steps of a curve
_LEAST_START = 0.01  # of what is tolerated: damage by all tensors together that a search starts with
_ORDERED_TRIALS = 4  # prices that are tried so
_LABELLED_TRIALS = 12  # the same where labels decide
_LEAST_LEFT = 0.25  # of the damage of layers, however much others seem to make up for
_AHEAD = 1.15  # ratio of the first of them to the best price of layers rounded alone
_HELD_BYTES = 1 << 29  # of images that stay in memory


@dataclass(frozen=True)
class Tolerance:
    """What may be lost: points of top-1 (`loss`), mean KL divergence of the outputs to the float model's, nats, or both."""

    loss: float | None = None
    kl: float | None = None

    def __post_init__(self) -> None:
        if self.loss is None and self.kl is None:
            raise InvalidArgument("max_loss, max_kl: expected one of them or both, got none")
        for name, value in (("max_loss", self.loss), ("max_kl", self.kl)):
            if value is not None:
                number(name, value, above=0)

    @property
    def damage(self) -> float:
        """The divergence that is tolerated, nats; of a loss a rough guess."""
        guess = np.inf if self.loss is None else 0.02 * self.loss
        return float(guess if self.kl is None else min(guess, self.kl))

    def used(self, measured: Measured) -> float:
        """Share of the tolerance that a measurement uses; 1: all of it."""
        return self._share(measured, measured.loss)

    def even(self, measured: Measured) -> float:
        """The same without chance: of the points lost by the labels, those beyond twice their standard error."""
        return self._share(measured, measured.loss - 2 * measured.loss_error)

    def _share(self, measured: Measured, loss: float) -> float:
        divergence = 0.0 if self.kl is None else measured.kl / self.kl
        return (
            divergence
            if self.loss is None
            else max(divergence, max(loss, measured.expected_loss) / self.loss)
        )


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

    @property
    def loss_error(self) -> float:
        """Standard error of `loss`, points, at most: as if labels spoke for or against all first classes that changed."""
        return 100 * float(np.sqrt((1 - self.agreement) / max(1, self.images)))

    @property
    def loss_interval(self) -> tuple[float, float]:
        """95 % interval of `loss`, points, at most as wide: by the normal distribution, of `loss_error`."""
        return self.loss - 1.96 * self.loss_error, self.loss + 1.96 * self.loss_error

    def __str__(self) -> str:
        if self.images == 0:
            return "nothing lost"
        if np.isnan(self.loss):
            return f"KL divergence {self.kl:.3g} nats"
        low, high = (signed(-end) for end in reversed(self.loss_interval))
        return f"top-1 accuracy {signed(-self.loss)} points (95 % interval {low} to {high})"

    @classmethod
    def lossless(cls) -> Measured:
        """Of a model that stays as it is; nothing was measured."""
        return cls(0, 0.0, 1.0, 0.0, 0.0)

    def without_loss(self) -> Measured:
        """What the model as it is gives on the same images."""
        return replace(self, kl=0.0, agreement=1.0, loss=0.0 * self.loss, expected_loss=0.0)


def signed(points: float) -> str:
    """A change in points with its sign: "+0.50", "−0.50", "0.00"."""
    text = f"{points:+.2f}".replace("-", "−")
    return text[1:] if float(f"{points:.2f}") == 0 else text


@dataclass(frozen=True)
class Split:
    """Images for the covariances; images that tell how large the loss is; whether their labels may be looked at."""

    fit: Dataset
    held: Dataset
    labelled: bool

    @classmethod
    def of(
        cls, data: Dataset, tolerance: Tolerance, images: int, seed: int, fit: Dataset | None = None
    ) -> Split:
        """A seeded draw of `images`, out of `fit`, or else of `data`, of which two thirds are fitted to then. Where they
        are photos, to a view of each besides.

        What is lost is measured on all of `data` that is not fitted to, a loss with the labels; a KL divergence alone,
        without `fit`, on the last third of `images`.
        """
        for name, source in (("data", data), ("calibration", fit)):
            if source is not None and len(source) < 3:
                raise InvalidArgument(f"{name}: expected at least 3 images, {source.name} has {len(source)}")
        source = data if fit is None else fit
        order = np.random.default_rng(seed).permutation(len(source))
        pool = min(images, len(source))
        if fit is None:
            fitted = max(2, 2 * pool // 3)
            held = data.take(order[fitted : pool if tolerance.loss is None else None])
        else:
            fitted, held = pool, data
        chosen = source.take(order[:fitted])
        if fit is not None and (both := _shared(chosen, data)):
            raise InvalidArgument(
                f"calibration: {both} of the {len(data)} images of data are among those fitted to; expected others, which "
                "alone tell what is lost"
            )
        return cls(
            (Views(chosen, seed) if has_photos(chosen) else chosen).held(_HELD_BYTES),
            held.held(_HELD_BYTES),
            tolerance.loss is not None,
        )


def _shared(some: Dataset, others: Dataset) -> int:
    """How many of `others` are the same, value for value, as one of `some`."""
    known = {hash(x.tobytes()) for tensor, _ in some for x in tensor}
    return sum(hash(x.tobytes()) in known for tensor, _ in others for x in tensor)


class _Outputs:
    """Sets weights and compares what comes out with the float model."""

    def __init__(self, model: Model, split: Split, threads: int | None) -> None:
        self._session = Session(model, threads=threads)
        self._split = split
        self._probe = split.fit.take(np.arange(min(_PROBES, len(split.fit))))
        self._floats = [outputs(self._session, d) for d in (self._probe, split.held)]
        for name, found in zip(("images to fit to", "images to measure with"), self._floats, strict=True):
            if np.isnan(found).any():
                raise InvalidArgument(f"data: the float network gives NaN for some of the {name}")

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
        lost = 100 * (int(np.sum(first == labels)) - int(np.sum(second == labels))) / len(before)
        return Measured(
            len(before),
            kl_divergence(before, after),
            float(np.mean(first == second)),
            lost if self._split.labelled else float("nan"),
            100 * float(np.mean(shares[rows, first] - shares[rows, second])),
        )


class Best:
    """The smallest candidate that is tolerated; before there is one, the candidate that uses least of the tolerance.

    Attributes:
        levels, measured: of that candidate; no levels and no loss before there is any.
        met: whether it is tolerated.
        interrupted: whether a KeyboardInterrupt has ended the search.
    """

    def __init__(self, effort: str) -> None:
        self.levels: Levels = {}
        self.measured = Measured.lossless()
        self.met = True
        self.interrupted = False
        self._effort = effort
        self._rank: tuple[bool, float] | None = None

    def offer(self, levels: Levels, measured: Measured, share: float) -> None:
        """A candidate that uses `share` of the tolerance."""
        rank = (share > 1, share if share > 1 else float(bytes_of(levels, self._effort)))
        if self._rank is None or rank < self._rank:
            self._rank, self.levels, self.measured, self.met = rank, levels, measured, share <= 1

    def beats(self, levels: Levels) -> bool:
        """Whether a candidate smaller than `levels` has been tolerated."""
        if self._rank is None or not self.met:
            return False
        return self._rank[1] < bytes_of(levels, self._effort)

    def settle(self) -> None:
        """After a search of its full length: where no candidate was tolerated, the model without loss, and a warning."""
        if self.met or self.interrupted:
            return
        m = self.measured
        labels = "" if np.isnan(m.loss) else f"{m.loss:.2f} points of top-1, "
        warnings.warn(
            f"no candidate was within the tolerated loss; the one that lost least lost {labels}{m.expected_loss:.2f} "
            f"expected, KL {m.kl:.3g} nats: the model is written without loss",
            stacklevel=5,
        )
        self.levels, self.measured, self.met = {}, m.without_loss(), True


def _curve(name: str, network: Network, compare: _Outputs) -> Curve:
    """Size and damage of one tensor at a few steps, all others in float."""
    rounder = network.rounders[name]
    middle = np.sqrt(12 * _NOISE * max(rounder.energy, 1e-30) / max(rounder.noise, 1e-30))
    largest = float(np.abs(rounder.matrix).max(initial=0.0)) or 1.0
    largest = max(largest, _LEAST_WEIGHT)
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
        ordered = _ORDERED_TRIALS if tolerance.loss is None else _LABELLED_TRIALS
        with contextlib.closing(bar(range(TRIALS + 1 + ordered), "search", "trial", self._progress)) as shown:

            def tried(levels: Levels) -> Trial:
                measured = self._compare.measure(values_of(levels))
                share = tolerance.used(measured)
                best.offer(levels, measured, share)
                beaten = tolerance.loss is not None and share > 1 and best.beats(levels)  # of use only then
                shown.set_postfix(kl=f"{measured.kl:.3g}", used=f"{share:.2f}")
                shown.update()
                return Trial(measured.kl, share, tolerance.even(measured), beaten)

            start = max(
                price_of_bits(self._curves, 4.0), price_of(self._curves, _LEAST_START * tolerance.damage)
            )
            price = closed_in(start, lambda price: tried(self.at(price)).even)
            if price is not None:
                self._in_order(price, tried, tolerance.loss is not None)

    def _in_order(self, price: float, tried: Callable[[Levels], Trial], labelled: bool) -> None:
        """A few prices from the best one for layers rounded alone.

        The first trial shows what later layers make up for: the damage of all but the closing layers counts that much
        less from then on. Damage of all tensors together foretells that of the next trial; between a trial on either side
        of the limit, both of them do.
        """
        curves: Mapping[str, Curve] = self._curves
        bracket = Labelled() if labelled else Bracket()
        steps = steps_at(curves, price * _AHEAD)
        alone = tried(self._network.alone(steps)).kl
        for trial in range(_LABELLED_TRIALS if labelled else _ORDERED_TRIALS):
            found = tried(self._network.in_order(steps))
            if trial == 0:
                curves = self._made_up(steps, alone, found.kl)
            at = float(np.log(max(damage_at(curves, steps), 1e-30)))
            following = bracket.after(at, found)
            if following is None and trial > 0:
                return
            before = steps
            steps = steps_at(curves, price_of(curves, float(np.exp(at if following is None else following))))
            if trial > 0 and steps == before:
                return

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
    effort: str,
    trellis: int,
    threads: int,
    progress: bool,
) -> Best:
    """The best candidate of a search, or of what there was of it before it was interrupted, or failed."""
    names = [p.name for p in model.parameters if p.role == "weight" and "weight" in roles]
    weights = model.weights()
    for name in names:
        if not np.isfinite(weights[name]).all():
            raise InvalidArgument(f"tensor {name!r}: expected finite weights, a value is NaN or infinite")
    best = Best(effort)
    try:
        Search(model, names, "bias" in roles, split, trellis, threads, progress).run(tolerance, best)
    except KeyboardInterrupt:
        best.interrupted = True
    except RdquantError as failure:
        if not best.levels:
            raise
        kept = "; the best file so far is written" if best.met else ""
        warnings.warn(f"the search ended early: {failure}{kept}", stacklevel=4)
    best.settle()
    return best
