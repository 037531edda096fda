"""Runs searches, here or on an executor, and writes each point to the store as soon as it is known."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from datetime import datetime, timezone
from typing import Any

from ..codec import Rate
from ..errors import RdquantError
from .point import TOP_K, Context, Outcome, Point, run_point
from .search import Search
from .store import Store

__all__ = ["Driver", "now"]


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


class Driver:
    """Evaluates points of one study.

    Args:
        baseline: metrics of the float model, against which losses are taken.
        axes: channel axis by tensor name.
        advance: called with a text for each point that is over, evaluated or found in the store.
    """

    def __init__(
        self,
        store: Store,
        study_id: int,
        context: Context,
        baseline: dict[str, float],
        axes: dict[str, int],
        advance: Callable[[str], None],
    ) -> None:
        self._store = store
        self._study = study_id
        self._context = context
        self._baseline = baseline
        self._axes = axes
        self._advance = advance

    def run(self, searches: Sequence[Search], executor: Executor | None) -> None:
        """Drives all searches to their end. What was stored stays stored, whatever is raised."""
        if executor is None:
            for search in searches:
                point = self._next(search, None)
                while point is not None:
                    outcome = run_point(self._context, point, self._axes)
                    point = self._next(search, self._keep(point, outcome))
        else:
            self._run_on(executor, iter(searches))

    def _run_on(self, executor: Executor, waiting: Iterator[Search]) -> None:
        # A few tasks more than workers: enough to keep them busy, few enough to stop soon.
        most = int(getattr(executor, "_max_workers", 4)) + 2
        running: dict[Future[Outcome], tuple[Search, Point]] = {}

        def submit(search: Search, point: Point | None) -> None:
            if point is not None:
                running[executor.submit(run_point, self._context, point, self._axes)] = (search, point)

        try:
            while True:
                while len(running) < most and (search := next(waiting, None)) is not None:
                    submit(search, self._next(search, None))
                if not running:
                    return
                over, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in over:
                    search, point = running.pop(future)
                    submit(search, self._next(search, self._keep(point, future.result())))
        finally:
            for future in running:
                future.cancel()
            for future in running:
                # Points under way are finished and kept: they cost as much as waiting for them.
                if not future.cancelled():
                    with contextlib.suppress(Exception):
                        self._keep(running[future][1], future.result())

    def _next(self, search: Search, within: bool | None) -> Point | None:
        """The search's next point that has to be evaluated; known ones are answered from the store."""
        while True:
            try:
                point = next(search) if within is None else search.send(within)
            except StopIteration:
                return None
            known = self._known(point)
            if known is None:
                return point
            self._advance(_text(point))
            within = known

    def _known(self, point: Point) -> bool | None:
        """Whether a stored point is within the tolerance; None where it has to be evaluated (again)."""
        rows = self._store.rows(
            "SELECT state, metrics, tolerance FROM points WHERE study_id = ? AND options = ? AND scope = ? AND bits IS ?",
            (self._study, json.dumps(point.options), point.scope, point.bits),
        )
        if not rows:
            return None
        metrics = json.loads(rows[0]["metrics"])
        if any(name not in metrics for name in self._context.metrics):
            return None
        if rows[0]["state"] == "stopped":
            same = rows[0]["tolerance"] == self._context.tolerance
            return False if same and self._context.stop_early else None
        return self._within(metrics)

    def _within(self, metrics: dict[str, float]) -> bool:
        losses = [self._baseline[m] - metrics[m] for m in self._context.metrics if m in TOP_K]
        return all(loss <= self._context.tolerance + 1e-9 for loss in losses)

    def _keep(self, point: Point, outcome: Outcome) -> bool:
        within = outcome.state == "done" and self._within(outcome.metrics)
        rate = outcome.rate
        if not math.isfinite(rate.entropy):
            raise RdquantError(f"{_text(point)}: the entropy is {rate.entropy}")
        row = {
            "study_id": self._study,
            "quantizer": point.spec.label,
            "family": point.spec.family,
            "options": json.dumps(point.options),
            "bits": point.bits,
            "scope": point.scope,
            "state": outcome.state,
            "images": outcome.images,
            **_rate_columns(rate),
            "real_bits": outcome.real_bits,
            "file_bytes": outcome.file_bytes,
            "metrics": json.dumps(outcome.metrics),
            "verdict": "pass" if within else "fail",
            "tolerance": self._context.tolerance,
            "seconds": outcome.seconds,
            "created": now(),
        }
        self._store.insert("points", [row], replace=True)
        self._advance(_text(point))
        return within


def _rate_columns(rate: Rate) -> dict[str, Any]:
    return {
        "entropy": rate.entropy,
        "entropy_tables": rate.entropy_tables,
        "cr": rate.cr if math.isfinite(rate.cr) else None,
        "re": rate.re,
        "mse": rate.mse,
        "sqnr_db": rate.sqnr_db if math.isfinite(rate.sqnr_db) else None,
    }


def _text(point: Point) -> str:
    bits = "" if point.bits is None else f" {point.bits} bits"
    return f"{point.spec.label}{bits}" + ("" if point.scope == "model" else f", per {point.scope}")
