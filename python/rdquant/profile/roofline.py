"""What bounds each step: the memory's bandwidth, measured by copying, or the multiplications, by the best step."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

__all__ = ["bandwidth", "placed"]

_BYTES = 64 << 20  # copied at once, by all threads together: beyond the caches of boards
_COPIES = 4


def bandwidth(threads: int) -> float:
    """Bytes a second, read and written, that `threads` threads copy together; the best of a few copies."""
    shares = [
        (np.ones(_BYTES // threads, np.uint8), np.zeros(_BYTES // threads, np.uint8)) for _ in range(threads)
    ]
    best = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(_COPIES):
            start = time.perf_counter()
            list(pool.map(lambda share: np.copyto(share[1], share[0]), shares))
            best = min(best, time.perf_counter() - start)
    return 2 * _BYTES / best


def placed(steps: Sequence[Mapping[str, Any]], bytes_a_second: float) -> list[dict[str, Any]]:
    """The steps with gmac_s (multiply-accumulates, 10^9 a second), gb_s (bytes of `bytes`, 10^9 a second), bound ("memory" or
    "compute") and of_roof, the share of what the roofline allows.

    The roof is the lower of the bandwidth times the step's multiply-accumulates a byte, and the most that any of these
    steps reaches. A share above 1 is a step whose data stay in the caches. None where a backend gives no counts.
    """
    speeds = [_a_second(step.get("macs"), step["best_us"]) for step in steps]
    peak = max((speed for speed in speeds if speed), default=0.0)
    out = []
    for step, speed in zip(steps, speeds, strict=True):
        moved = _a_second(step.get("bytes"), step["best_us"])
        row: dict[str, Any] = {**step, "gmac_s": None, "gb_s": None, "bound": None, "of_roof": None}
        if moved is not None:
            memory = bytes_a_second * (speed or 0.0) / moved if moved else peak
            compute = bool(speed) and memory > peak
            row |= {"gmac_s": (speed or 0.0) / 1e9, "gb_s": moved / 1e9}
            row["bound"] = "compute" if compute else "memory"
            row["of_roof"] = (speed or 0.0) / peak if compute else moved / bytes_a_second
        out.append(row)
    return out


def _a_second(amount: float | None, microseconds: float) -> float | None:
    return None if amount is None or microseconds <= 0 else 1e6 * amount / microseconds
