"""How results show themselves in notebooks."""

from __future__ import annotations

import html
from typing import Any

__all__ = ["html_table"]

_MOST_ROWS = 60


def html_table(result: Any) -> str:
    """The repr of `result`, without its angle brackets, above the table that its `to_pandas` gives."""
    table = result.to_pandas().to_html(max_rows=_MOST_ROWS, index=False)
    return f"<p>{html.escape(repr(result)[1:-1])}</p>{table}"
