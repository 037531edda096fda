"""Names of parameters by patterns, as users write them."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

from ..errors import InvalidArgument

__all__ = ["fitting"]


def fitting(patterns: str | Iterable[str], names: Iterable[str], what: str) -> set[str]:
    """Those of the names that a pattern fits; * and ? stand for any characters.

    Raises InvalidArgument, which begins with `what`, for a pattern that fits none of them.
    """
    names = list(names)
    found: set[str] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        fits = {name for name in names if fnmatch.fnmatchcase(name, pattern)}
        if not fits:
            raise InvalidArgument(f"{what}: {pattern!r} fits none of {', '.join(names)}")
        found |= fits
    return found
