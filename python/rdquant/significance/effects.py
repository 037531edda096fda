"""What a change of a network does to critical classes: measures, and paired intervals of their differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._tables import Brief
from .classes import Group
from .refit import refit, shift_for_rate

__all__ = ["MEASURES", "VARIANTS", "Effect", "Images", "effects"]

MEASURES = ("recall", "within", "precision", "f1", "false_positives", "all_classes")
"""Of a group, in percent: its images that are right; right among the scores of the group alone; precision and F1 as means over
its classes; images of other classes called one of it; right answers on all images."""
VARIANTS = ("as is", "refitted", "equal false positives")
"""Scores as they are; their biases fitted on the other half of the images; the group's scores shifted, by the other half, so
that as many images of other classes are called critical as by the float network."""

Scores = NDArray[np.floating]
Floats = NDArray[np.float64]
_FEWEST = 10  # images a class, on average, that biases are fitted to


@dataclass(frozen=True, repr=False)
class Effect(Brief):
    """One figure of one method; made by `compare`.

    Attributes:
        method, variant, measure: names.
        classes: the group; None: the mean over all groups.
        value: percent. difference: to the method compared with, points. low, high: 95 % interval of the difference.
    """

    method: str
    classes: Group | None
    variant: str
    measure: str
    value: float
    difference: float
    low: float
    high: float


class Images:
    """Fresh images in two halves, each of which fits what the other is measured with.

    labels: int64 [n]. reference: floats [n, classes], the float network's scores. second: bool [n], the second half;
    None: by `seed`, half of each class. resamples: of the bootstrap, stratified by class and half.
    """

    def __init__(
        self,
        labels: NDArray[np.int64],
        reference: Scores,
        second: NDArray[np.bool_] | None = None,
        resamples: int = 1000,
        seed: int = 0,
    ) -> None:
        random = np.random.default_rng(seed)
        self.labels, self.reference = labels, np.asarray(reference, np.float32)
        self.second = _halves(labels, random) if second is None else second
        self.weights = np.ones((resamples + 1, len(labels)), np.float32)
        for half in (False, True):
            for c in np.unique(labels):
                own = np.flatnonzero((labels == c) & (self.second == half))
                if len(own):
                    drawn = random.multinomial(len(own), np.full(len(own), 1 / len(own)), size=resamples)
                    self.weights[1:, own] = drawn

    def variants(self, scores: Scores, group: Group) -> dict[str, Scores]:
        """Scores by the names in `VARIANTS`; "refitted" is left out where there are too few images."""
        table = np.asarray(scores, np.float32)
        found: dict[str, Scores] = {"as is": table}
        if len(table) >= 2 * _FEWEST * table.shape[1]:
            found["refitted"] = self._by_halves(table, lambda own, z, y, reference: own + refit(z, y).biases)

        def shifted(own: Scores, z: Scores, y: NDArray[np.int64], reference: Scores) -> Scores:
            others = ~np.isin(y, group)
            rate = float(np.isin(reference.argmax(axis=1), group)[others].mean())
            moved = own.copy()
            moved[:, list(group)] += shift_for_rate(z, y, group, rate)
            return moved

        found["equal false positives"] = self._by_halves(table, shifted)
        return found

    def _by_halves(self, table: Scores, change: object) -> Scores:
        out = np.empty_like(table)
        for own in (self.second, ~self.second):
            other = ~own
            out[own] = change(table[own], table[other], self.labels[other], self.reference[other])  # type: ignore[operator]
        return out

    def measured(self, scores: Scores, group: Group) -> Floats:
        """float64 [1 + resamples, measures], percent; the first row is of the images as they are."""
        return _percent(self.weights @ _columns(scores, self.labels, group), self.weights)


def _halves(labels: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.bool_]:
    second = np.zeros(len(labels), bool)
    for c in np.unique(labels):
        own = random.permutation(np.flatnonzero(labels == c))
        second[own[: len(own) // 2]] = True
    return second


def _columns(scores: Scores, labels: NDArray[np.int64], group: Group) -> NDArray[np.float32]:
    """float32 [n, 6 + 3·group]: what the measures follow from by sums."""
    top, inside, members = scores.argmax(axis=1), np.isin(labels, group), np.array(group)
    called = np.isin(top, members)
    own = members[scores[:, members].argmax(axis=1)] == labels
    found = [(top == labels) & inside, own & inside, inside, called & ~inside, ~inside, top == labels]
    for c in group:
        found += [(top == c) & (labels == c), (top == c) & (labels != c), (top != c) & (labels == c)]
    return np.stack(found, axis=1).astype(np.float32)


def _percent(sums: NDArray[np.float32], weights: NDArray[np.float32]) -> Floats:
    s = sums.astype(np.float64)
    right, false, missed = s[:, 6::3], s[:, 7::3], s[:, 8::3]
    inside, outside = np.maximum(s[:, 2], 1), np.maximum(s[:, 4], 1)
    parts = [
        s[:, 0] / inside,
        s[:, 1] / inside,
        (right / np.maximum(right + false, 1)).mean(axis=1),
        (2 * right / np.maximum(2 * right + false + missed, 1)).mean(axis=1),
        s[:, 3] / outside,
        s[:, 5] / weights.sum(axis=1, dtype=np.float64),
    ]
    return 100 * np.stack(parts, axis=1)


def effects(
    images: Images,
    methods: Mapping[str, Mapping[Group, Scores]],
    against: str,
    known: dict[tuple[str, Group], dict[str, Floats]] | None = None,
) -> list[Effect]:
    """Every measure of every method, group and variant, and means over the groups that a method has.

    methods: by a method's name, scores (floats [n, classes]) by group. against: the method that all are compared with.
    known: figures of earlier calls with the same images and methods, and where those of this one go.
    """
    rows: list[Effect] = []
    known = {} if known is None else known

    def of(method: str, group: Group) -> dict[str, Floats]:
        if (method, group) not in known:
            given = images.variants(methods[method][group], group)
            known[method, group] = {name: images.measured(z, group) for name, z in given.items()}
        return known[method, group]

    for method, scores in methods.items():
        groups = [group for group in scores if group in methods[against]]
        for variant in VARIANTS:
            one = [of(method, g)[variant] for g in groups if variant in of(method, g)]
            two = [of(against, g)[variant] for g in groups if variant in of(against, g)]
            if not one:
                continue
            pairs = [(g, a, b) for g, a, b in zip(groups, one, two, strict=True)]
            for group, a, b in [*pairs, (None, np.mean(one, axis=0), np.mean(two, axis=0))]:
                rows += _rows(method, group, variant, a, b)
    return rows


def _rows(method: str, group: Group | None, variant: str, one: Floats, two: Floats) -> Sequence[Effect]:
    gap = one - two
    low, high = np.percentile(gap[1:], [2.5, 97.5], axis=0)
    return [
        Effect(method, group, variant, m, float(one[0, k]), float(gap[0, k]), float(low[k]), float(high[k]))
        for k, m in enumerate(MEASURES)
    ]
