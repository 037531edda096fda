"""How results show themselves: a line in a terminal, a table in a notebook."""

from __future__ import annotations

import dataclasses
from collections.abc import Sized
from typing import Any

__all__ = ["Brief", "html_table", "label", "short"]

_MOST_ROWS = 60
_LONGEST = 200  # characters of a line
_LONGEST_NAME = 48
_LONGEST_FIELD = 60


def short(result: object, text: str) -> str:
    """`<rdquant.Kind text>`, cut to 200 characters."""
    start = f"<rdquant.{_kind(result)} "
    return f"{start}{_cut(text, _LONGEST - len(start) - 1)}>"


def label(name: object) -> str:
    """A name or path in at most 48 characters, its beginning and its end."""
    text = str(name)
    return text if len(text) <= _LONGEST_NAME else f"{text[:16]}…{text[17 - _LONGEST_NAME :]}"


def _kind(result: object) -> str:
    return next(c.__name__ for c in type(result).__mro__ if not c.__name__.startswith("_"))


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"


class Brief:
    """A dataclass that shows its fields in a line: of arrays the dtype and shape, of what is long its length."""

    def __repr__(self) -> str:
        fields = dataclasses.fields(self)  # type: ignore[arg-type]  # of those that are one
        inner = ", ".join(f"{f.name}={_shown(getattr(self, f.name))}" for f in fields if f.repr)
        return f"{_kind(self)}({_cut(inner, _LONGEST - len(_kind(self)) - 2)})"


def _shown(value: Any) -> str:
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype}{list(value.shape)}"
    text = f"{value:.6g}" if isinstance(value, float) else repr(value)
    if len(text) <= _LONGEST_FIELD:
        return text
    if isinstance(value, Sized) and not isinstance(value, (str, bytes)):
        return f"{len(value)} {'names' if isinstance(value, dict) else 'entries'}"
    return f"{text[:_LONGEST_FIELD]}…"


def html_table(result: Any) -> str:
    """The repr of `result`, without its angle brackets, above the table that its `to_pandas` gives."""
    import html  # large, and needed in notebooks only

    table = result.to_pandas().to_html(max_rows=_MOST_ROWS, index=False)
    return f"<p>{html.escape(repr(result)[1:-1])}</p>{table}"
