"""Sessions on our own engine, as `rdquant.Session` drives them."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core import runtime as _runtime
from .._core.graph import Graph

__all__ = ["EngineSession", "engine_backends"]


def engine_backends() -> dict[str, str]:
    """The engine's backends: name → why this machine cannot use it, "" where it can."""
    return _runtime.backends()


class EngineSession:
    """One model on one backend of the engine; `run` may be called from several threads at once."""

    def __init__(
        self, graph: Graph, outputs: Sequence[str], backend: str, threads: int, memory_limit: int
    ) -> None:
        self._outputs = list(outputs)
        self._inner = _runtime.Session(graph, backend, threads, memory_limit)
        self._slow = self.backend == "reference"

    @property
    def backend(self) -> str:
        """Name of the backend in use."""
        return self._inner.backend

    def run(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs by name for all inputs, given in the model's order, dtypes and sizes."""
        inputs = list(arrays.values())
        slow = self._slow and threading.current_thread() is threading.main_thread()
        outputs = self._interruptible(inputs) if slow else self._inner.run(inputs)
        return dict(zip(self._outputs, outputs, strict=True))

    def _interruptible(self, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """A run on another thread: Ctrl-C reaches the main one at once, and ends the run at its next step."""
        found: list[list[NDArray[Any]]] = []
        failed: list[BaseException] = []

        def work() -> None:
            try:
                found.append(self._inner.run(inputs))
            except BaseException as error:
                failed.append(error)

        running = threading.Thread(target=work)  # concurrent.futures would load logging too
        running.start()
        try:
            while running.is_alive():
                running.join(0.2)
        except BaseException:
            self._inner.stop(True)
            try:
                running.join()
            finally:
                self._inner.stop(False)
            raise
        if failed:
            raise failed[0]
        return found[0]

    def set_weights(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Use these tensors, of the model's dtypes and shapes, from now on."""
        self._inner.set_weights(tensors)

    def plan(self, shapes: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
        """Steps for inputs of these shapes, as `rdquant.Session.plan` documents them."""
        plan = self._inner.plan(shapes, whole=False)
        return [{"step": i, **row, "backend": self.backend} for i, row in enumerate(plan["steps"])]

    def dump(self, shapes: Sequence[Sequence[int]]) -> str:
        """The lowered program as text."""
        return self._inner.dump(shapes)

    def profile(self, arrays: Mapping[str, NDArray[Any]], runs: int) -> list[dict[str, Any]]:
        """Times of every step of the whole batch, as `rdquant.Session.profile` documents them."""
        inputs = list(arrays.values())
        times = np.array(self._inner.profile(inputs, runs)) * 1e6
        steps = self._inner.plan([a.shape for a in inputs], whole=True)["steps"]
        means = times.mean(axis=0)
        total = float(means.sum()) or 1.0
        return [
            {
                "step": i,
                **{k: row[k] for k in ("op", "node")},
                "backend": self.backend,
                **{k: row[k] for k in ("kernel", "supplier", "layout", "macs", "bytes")},
                "best_us": float(times[:, i].min()),
                "mean_us": float(means[i]),
                "share": float(means[i]) / total,
            }
            for i, row in enumerate(steps)
        ]
