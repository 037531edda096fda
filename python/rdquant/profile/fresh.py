"""New processes that each run one network, so that none sees another's memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from ..errors import RdquantError
from .worker import START

__all__ = ["figures", "in_new_process"]

_MB = 1e6


def in_new_process(order: Mapping[str, Any]) -> dict[str, Any]:
    """What `worker` measures for an order: model (path), feeds (path of an .npz, whose arrays go to `inputs` in order),
    backend, threads, batch, seconds.

    Raises RdquantError with the process's own words where it fails.
    """
    run = subprocess.run(
        [sys.executable, "-c", START], input=json.dumps(order), capture_output=True, text=True, check=False
    )
    try:
        found: dict[str, Any] = json.loads(run.stdout)
    except json.JSONDecodeError:
        last = (run.stderr.strip().splitlines() or ["it said nothing"])[-1]
        name = Path(str(order["model"])).name
        raise RdquantError(
            f"{name}: the process that measures it ended with {run.returncode}: {last}"
        ) from None
    if "error" in found:
        raise RdquantError(found["error"])
    return found


def figures(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Columns of a row, medians over the processes; None where a machine does not tell.

    first_ms is loading and the first run together; the memory's unit is 10^6 bytes.
    """

    def middle(name: str, scale: float = 1.0) -> float | None:
        values = [row[name] for row in found if row.get(name) is not None]
        return scale * median(values) if values else None

    def worst(name: str, of: Callable[[list[float]], float]) -> float | None:
        values = [row[name] for row in found if row.get(name) is not None]
        return of(values) if values else None

    load, first = middle("load_s", 1e3), middle("first_run_s", 1e3)

    def joined(name: str) -> list[str] | None:
        lists = [row[name] for row in found if row.get(name) is not None]
        return list(dict.fromkeys(word for words in lists for word in words)) if lists else None

    slowed = [row["throttled"] for row in found if row["throttled"] is not None]
    return {
        "processes": len(found),
        "import_ms": middle("import_s", 1e3),
        "load_ms": load,
        "first_run_ms": first,
        "first_ms": median(1e3 * (row["load_s"] + row["first_run_s"]) for row in found),
        "cpu_percent": middle("cpu_percent"),
        "rss_import_mb": middle("rss_import", 1 / _MB),
        "rss_growth_mb": middle("rss_growth", 1 / _MB),
        "rss_mean_mb": middle("rss_mean", 1 / _MB),
        "rss_peak_mb": middle("rss_peak", 1 / _MB),
        "joules_per_run": middle("joules_per_run"),
        "celsius_before": middle("celsius_before"),
        "celsius_after": middle("celsius_after"),
        "throttled": sum(slowed) if slowed else None,
        "limits": joined("limits"),
        "core_load": _each([row.get("core_load", ()) for row in found]),
        "mhz_least": worst("mhz_least", min),
        "mhz_most": worst("mhz_most", max),
        "celsius_most": worst("celsius_most", max),
        "watts": middle("watts"),
        "energy_of": next((row["energy_of"] for row in found if row.get("energy_of")), None),
    }


def _each(lists: Sequence[Sequence[float | None]]) -> list[float | None]:
    """Medians by place, of what is known there."""
    known = [[row[i] for row in lists if i < len(row)] for i in range(max(map(len, lists), default=0))]
    values = [[value for value in column if value is not None] for column in known]
    return [median(column) if column else None for column in values]
