"""What the tables of docs/benchmarks.md are made of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["RESULTS", "Row", "milliseconds", "parts", "read"]

RESULTS = Path(__file__).resolve().parents[1] / "results"

Row = tuple[str, str, str, str]  # what, ours, compared with, outcome


def read(name: str, folder: Path = RESULTS) -> dict[str, Any] | None:
    """What results/NAME.json holds; None where that benchmark has no results."""
    path = folder / f"{name}.json"
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def parts(result: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Pieces of a results file, each with the machine that it was measured on.

    "machines" names the parts that have one of their own; all else was measured on "machine".
    """
    own = result.get("machines", {})
    for name, value in result.items():
        if name in own:
            yield own[name], {name: value}
    rest = {name: value for name, value in result.items() if name not in own}
    if set(rest) - {"machine", "machines"}:
        yield result["machine"], rest


def milliseconds(value: float) -> str:
    """A time as the tables write it."""
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"
