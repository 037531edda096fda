"""What images and labels are checked for before work is spent on them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidArgument

if TYPE_CHECKING:
    from .dataset import Dataset

__all__ = ["check_finite", "fits", "warn_of_one_class"]


def check_finite(array: NDArray[Any], what: str) -> None:
    """InvalidArgument, naming `what` and how many there are, where values of `array` [n, …] are NaN or infinite."""
    if array.dtype.kind != "f":
        return
    with np.errstate(all="ignore"):
        flat = array.reshape(-1)
        # One pass without a temporary array: what is not finite stays so. Large squares may overflow: looked at below.
        if array.dtype.itemsize >= 4 and np.isfinite(np.dot(flat, flat)):
            return
    bad = ~np.isfinite(array.reshape(len(array), -1))
    if bad.any():
        rows = np.flatnonzero(bad.any(axis=1))
        raise InvalidArgument(
            f"{what}: {int(bad.sum()):,} of {bad.size:,} values are NaN or infinite, the first of them in item "
            f"{rows[0]}; expected finite numbers"
        )


def fits(item: Sequence[int], wanted: Sequence[int | str | None]) -> bool:
    """Whether an item of this shape is one that an input with `wanted` after its batch dimension takes."""
    return len(wanted) == len(item) and all(
        not isinstance(want, int) or want in (0, -1, have) for want, have in zip(wanted, item, strict=True)
    )


def warn_of_one_class(data: Dataset) -> None:
    """Warn where all labels of a data set for classifiers are the same: its accuracy says nothing then."""
    first = data.labels[0]
    if data.task == "classify" and len(data) > 1 and bool(np.all(data.labels == first)):
        warnings.warn(
            f"data: all {len(data):,} labels of {data.name} are {first}: a network that always answers {first} is right on "
            "all of them, so accuracy says little; are the labels complete, and not cut out of a sorted list?",
            stacklevel=3,
        )
