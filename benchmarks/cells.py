"""What the rows of the README's results table are made of."""

from __future__ import annotations

__all__ = ["Row", "milliseconds"]

Row = tuple[str, str, str, str]  # what, ours, compared with, outcome


def milliseconds(value: float) -> str:
    """A time as the table writes it."""
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"
