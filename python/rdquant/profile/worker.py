"""One model in a process of its own: what starting costs, what running takes of memory, processor and energy.

The parent writes the order as JSON to standard input and reads the figures as JSON from standard output.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import RdquantError
from ..runtime import Session
from .board import Board, Watch
from .meters import MemorySampler, Throttling, peak_rss, rss, temperature

__all__ = ["START", "main"]

START = "import time; begin = time.perf_counter(); from rdquant.profile.worker import main; main(begin)"
"""What the process runs: the clock starts before the import."""
_FIRST = 10  # inferences up to which memory grows


def main(begin: float) -> None:
    """Do what standard input orders; `begin`: perf_counter before the import."""
    imported = time.perf_counter() - begin
    order = json.load(sys.stdin)
    try:
        figures = {"import_s": imported, **_measured(order)}
    except (RdquantError, OSError) as error:
        figures = {"error": f"{error}"}
    json.dump(figures, sys.stdout)


def _measured(order: dict[str, Any]) -> dict[str, Any]:
    with np.load(order["feeds"], allow_pickle=False) as archive:
        feeds = {name: archive[f"arr_{i}"] for i, name in enumerate(order["inputs"])}

    gc.collect()
    imported = rss()
    with MemorySampler(rss) as memory:
        start = time.perf_counter()
        session = Session(order["model"], order["backend"], order["threads"], order["batch"])
        opened = time.perf_counter()
        session.run(feeds)
        first = time.perf_counter()
        for _ in range(_FIRST - 1):
            session.run(feeds)
        grown = rss()
        running = _running(session, feeds, order["seconds"], Board(Path(order["root"])))
    return {
        "load_s": opened - start,
        "first_run_s": first - opened,
        "rss_import": imported,
        "rss_growth": grown - imported,
        "rss_mean": memory.mean,
        "rss_peak": max(memory.peak, peak_rss() or 0),
        **running,
    }


def _running(session: Session, feeds: dict[str, Any], seconds: float, board: Board) -> dict[str, Any]:
    """Shares of processor and energy while the network runs over and over, for `seconds` and at least once."""
    throttling, warm = Throttling(board.sys), temperature(board.sys)
    with Watch(board) as watch:
        start, before = time.perf_counter(), time.process_time()
        runs = 0
        while runs == 0 or time.perf_counter() - start < seconds:
            session.run(feeds)
            runs += 1
        wall, busy = time.perf_counter() - start, time.process_time() - before
    seen = watch.figures(runs)
    return {
        "cpu_percent": 100 * busy / wall,
        "celsius_before": warm,
        "celsius_after": temperature(board.sys),
        "throttled": len(seen["limits"]) if seen["limits"] is not None else throttling.events(),
        **seen,
    }
