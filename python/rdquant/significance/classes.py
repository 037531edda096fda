"""Critical classes: named by the user, or those that a network mistakes for each other."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import as_levels, as_numbers
from ..errors import InvalidArgument, count, described, flag, number, several
from .losses import log_softmax

__all__ = ["confused_groups", "groups_of"]

Group = tuple[int, ...]


def confused_groups(
    scores: ArrayLike,
    labels: ArrayLike,
    groups: int = 4,
    size: int = 2,
    least: float = 0.0,
    soft: bool = False,
) -> list[Group]:
    """Groups of classes that a network mistakes for each other most, the strongest first; no class is in two.

    The confusion of two classes is the share of the images of both that are called the other. A group begins with the two
    that are confused most, and takes in, one after the other, the class whose mean confusion with its classes is highest.

    Args:
        scores: real numbers [n, classes], of the float network on validation images.
        labels: integers [n].
        groups: how many, at most.
        size: classes in a group, at most, ≥ 2.
        least: confusion that begins a group, or lets a class in, a fraction 0..1.
        soft: take the mean probability of the other class in place of the share of answers: for few images a class.

    Raises InvalidArgument for arguments outside the above. Source: paper 003, which names pairs by hand.
    Paper 003: Khrupin and Shaptsev, “Quantization method for detection neural networks”, 2025.
    """
    table = as_numbers(scores, "scores")
    truth = as_levels(labels, "labels").astype(np.int64)
    groups, size, least = (
        count("groups", groups),
        count("size", size, 2),
        number("least", least, least=0, most=1),
    )
    if table.ndim != 2 or table.shape[1] < 2 or len(table) == 0 or not np.isfinite(table).all():
        raise InvalidArgument(f"scores: expected finite numbers [n, classes], n ≥ 1, got {described(table)}")
    if truth.shape != table.shape[:1] or truth.min() < 0 or truth.max() >= table.shape[1]:
        raise InvalidArgument(
            f"labels, scores: expected {len(table)} integers in 0..{table.shape[1] - 1}, got {described(truth)}"
        )
    matrix = _confusion(table, truth, flag("soft", soft))
    found: list[Group] = []
    free = np.ones(len(matrix), bool)
    while len(found) < groups:
        open_ = np.where(free[:, np.newaxis] & free[np.newaxis], matrix, -1.0)
        first = np.unravel_index(int(open_.argmax()), open_.shape)
        if open_[first] <= 0 or open_[first] < least:
            break
        group = [int(c) for c in first]
        while len(group) < size:
            mean = np.where(free, matrix[group].mean(axis=0), -1.0)
            mean[group] = -1.0
            if mean.max() <= 0 or mean.max() < least:
                break
            group.append(int(mean.argmax()))
        free[group] = False
        found.append(tuple(sorted(group)))
    return found


def _confusion(scores: NDArray[np.float64], labels: NDArray[np.int64], soft: bool) -> NDArray[np.float64]:
    """float64 [classes, classes], symmetric, 0 on the diagonal."""
    classes = scores.shape[1]
    answers = np.exp(log_softmax(scores)) if soft else np.eye(classes)[scores.argmax(axis=1)]
    sums = np.zeros((classes, classes))
    np.add.at(sums, labels, answers)
    of = np.bincount(labels, minlength=classes).astype(np.float64)
    matrix = (sums + sums.T) / np.maximum(of[:, np.newaxis] + of[np.newaxis], 1)
    np.fill_diagonal(matrix, 0)
    return np.asarray(matrix)


def groups_of(classes: Any, count_: int, names: Sequence[str] | None) -> list[Group]:
    """Groups from a user's `classes`: indices or names of one group, or a list of such lists.

    count_: classes of the network. names: of them, where known. Raises InvalidArgument for anything else.
    """
    if isinstance(classes, dict) or classes is None or isinstance(classes, (str, bytes)):
        raise InvalidArgument(
            f"classes: expected a list of classes or of such lists, got {described(classes)}"
        )
    given = several(classes)
    nested = [isinstance(c, (list, tuple, set, frozenset, range)) or np.ndim(c) == 1 for c in given]
    if given and all(nested):
        return list(dict.fromkeys(_group(g, count_, names) for g in given))
    return [_group(given, count_, names)]


def _group(classes: Any, count_: int, names: Sequence[str] | None) -> Group:
    found = {_class(c, count_, names) for c in classes}
    if not 1 <= len(found) < count_:
        raise InvalidArgument(
            f"classes: expected 1 to {count_ - 1} different classes in a group, got {len(found)}"
        )
    return tuple(sorted(found))


def _class(value: Any, count_: int, names: Sequence[str] | None) -> int:
    if isinstance(value, str) and names is not None and value in names:
        return list(names).index(value)
    with contextlib.suppress(InvalidArgument):
        return count("classes", value, 0, count_ - 1)
    known = f", or a name such as {names[0]!r}" if names else ""
    raise InvalidArgument(f"classes: expected integers in 0..{count_ - 1}{known}, got {described(value)}")
