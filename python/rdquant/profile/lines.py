"""A profile as plain rows and as lines of a terminal: what needs NumPy alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["cells", "grouped"]

Row = dict[str, Any]
_COLUMNS = (
    ("p50 ms", "p50_ms", 3),
    ("p99 ms", "p99_ms", 3),
    ("× as fast", "speedup", 3),
    ("rows/s", "throughput", 4),
    ("load ms", "load_ms", 3),
    ("CPU %", "cpu_percent", 3),
    ("peak MB", "rss_peak_mb", 3),
    ("joules/run", "joules_per_run", 3),
    ("watts", "watts", 3),
    ("MHz", "mhz_least", 4),
    ("°C most", "celsius_most", 3),
    ("throttled", "throttled", 1),
    ("SQNR dB", "sqnr_db", 3),
    ("top-1", "top1", 4),
)


def cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table; columns without a value are left out."""
    kept = [column for column in _COLUMNS if any(row.get(column[1]) is not None for row in rows)]
    head = ["model", "conditions", *(heading for heading, _, _ in kept)]
    return head, [
        [row["model"], _condition(row), *(_text(row.get(name), digits) for _, name, digits in kept)]
        for row in rows
    ]


def grouped(steps: Sequence[Row]) -> list[Row]:
    """Time by kind of step: model, backend, threads, batch, op, steps (how many), mean_us and share (sums)."""
    found: dict[tuple[Any, ...], Row] = {}
    keys = ("model", "backend", "threads", "batch", "op")
    for step in steps:
        key = tuple(step[name] for name in keys)
        row = found.setdefault(
            key, {**dict(zip(keys, key, strict=True)), "steps": 0, "mean_us": 0.0, "share": 0.0}
        )
        row["steps"] += 1
        row["mean_us"] += step["mean_us"]
        row["share"] += step["share"]
    return list(found.values())


def _condition(row: Mapping[str, Any]) -> str:
    threads = f"{row['threads']} thread{'s' if row['threads'] > 1 else ''}"
    return f"{threads}, batch {row['batch']}" + (f", {row['backend']}" if row["backend"] != "auto" else "")


def _text(value: Any, digits: int) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    places = max(digits - 1 - math.floor(math.log10(abs(value))), 0) if value else 0
    return f"{value:,.{places}f}"
