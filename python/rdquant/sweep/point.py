"""One point of a study: which weights, what they cost, how the model does with them."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from multiprocessing.process import BaseProcess
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..codec import Rate, rate, requantize
from ..codec.plan import Plan
from ..compression.writer import ChosenLevels, Writer
from ..data import Dataset
from ..errors import InvalidArgument
from ..graph import ROLES, Model, load
from ..metrics import METRICS, leads, outputs, ranks
from ..quant import Quantizer, Recipe
from ..quant.given import identity
from ..runtime import Session
from .sequential import PairedTest, visiting_order

__all__ = [
    "TOP_K",
    "Context",
    "Outcome",
    "Point",
    "begin_worker",
    "measure_rate",
    "release_session",
    "run_float",
    "run_point",
]

Scores = NDArray[np.float32]

#: Metrics that are the share of images whose label is among the k best scores.
TOP_K = {"top1": 1, "accuracy": 1, "top5": 5}
_FIRST_BATCHES = (8, 8, 16)
_RANDOMLY = 64  # images visited in random order before the most fragile ones


@dataclass(frozen=True)
class Point(Recipe):
    """A recipe, and the roles of the tensors that it is for."""

    roles: tuple[str, ...] = ROLES

    @property
    def options(self) -> dict[str, Any]:
        """What identifies the point besides bits and scope. What is usual is left out: results before it was asked for
        are the same points.
        """
        found: dict[str, Any] = {"quantizer": self.spec.text, "range": self.range}
        if self.spec.given is not None:
            label = self.spec.given.label if isinstance(self.spec.given, Quantizer) else self.spec.family
            found |= {"quantizer": label, "given": identity(self.spec.given)}
        if self.roles != ROLES:
            found["roles"] = list(self.roles)
        return found


@dataclass
class Context:
    """What all points of a study share; sent to workers once a task, so it holds no caches."""

    model: Model
    data: Dataset
    backend: str
    threads: int | None
    metrics: tuple[str, ...]
    key: str
    reference: Scores | None = None
    tolerance: float = 0.0
    stop_early: bool = False
    seed: int = 0
    batch: int = 32

    def __reduce__(self) -> tuple[Any, ...]:
        # A model that came from a file travels as its path: a task must not carry half a gigabyte of weights.
        model = self.model.source if os.path.isfile(self.model.source) else self.model
        return _unpickle, (
            self.key,
            model,
            {f.name: getattr(self, f.name) for f in fields(self) if f.name != "model"},
        )


_kept: dict[str, tuple[Model, Dataset]] = {}


def _unpickle(key: str, model: Model | str, others: dict[str, Any]) -> Context:
    """A context in a worker; the model is read once a process, and the images are decoded once."""
    if key not in _kept:
        network = load(model)
        if not key.startswith(network.fingerprint):
            raise InvalidArgument(f"{model}: the file has changed since the sweep began")
        _kept.clear()
        _kept[key] = (network, others["data"])
    network, data = _kept[key]
    return Context(**{**others, "model": network, "data": data})


@dataclass
class Outcome:
    """What `run_point` found. `scores` are kept for the float model only.

    Of points that are done: `file_bytes` that `rdquant.compress` writes, `real_bits` a weight in it that is quantized.
    """

    rate: Rate
    metrics: dict[str, float]
    images: int
    state: Literal["done", "stopped"]
    seconds: float
    scores: Scores | None = None
    real_bits: float | None = None
    file_bytes: int | None = None


_local = threading.local()


def _session(context: Context) -> Session:
    """This worker's session for the study: made once a thread, its weights swapped from point to point."""
    if getattr(_local, "key", None) != context.key:
        _local.__dict__.clear()
        _local.session = Session(context.model, backend=context.backend, threads=context.threads)
        _local.key = context.key
    session: Session = _local.session
    return session


def _writer(context: Context) -> Writer:
    """This worker's writer, which codes once what no point quantizes."""
    _session(context)
    if not hasattr(_local, "writer"):
        _local.writer = Writer(context.model, Plan(threads=context.threads or 0))
    writer: Writer = _local.writer
    return writer


def release_session() -> None:
    """Drops this thread's session, so that workers forked from here do not carry its memory along."""
    _local.__dict__.clear()


def begin_worker() -> None:
    """First call in a worker process: leaves Ctrl-C to the parent and ends with it, even where that is killed.

    A pool's workers hold both ends of the pipe that they wait on, so that they would wait for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def measure_rate(model: Model, point: Point, axes: Mapping[str, int]) -> Rate:
    """Entropy of a point, without distortion; no inference."""
    weights = model.weights(point.roles)
    return rate(weights, point.quantizers(weights, axes), by=_tables(point), distortion=False)


def run_float(context: Context) -> Outcome:
    """The float model on all images."""
    start = time.perf_counter()
    session = _session(context)
    session.set_weights(context.model.weights())
    scores = outputs(session, context.data)
    metrics = _measure(context, scores, context.data.labels, scores)
    empty = Rate(math.nan, math.nan, 0, 0, 0.0, math.inf)
    return Outcome(empty, metrics, len(scores), "done", time.perf_counter() - start, scores)


def run_point(context: Context, point: Point, axes: Mapping[str, int]) -> Outcome:
    """Quantizes, puts the weights into the session, and evaluates until done or surely beyond the tolerance."""
    start = time.perf_counter()
    weights = context.model.weights(point.roles)
    quantizers = point.quantizers(weights, axes)
    restored, cost = requantize(weights, quantizers, by=_tables(point))
    session = _session(context)
    session.set_weights({**context.model.weights(), **restored})
    del restored
    if context.stop_early:
        order, scores = _until_decided(context, session)
    else:
        order, scores = np.arange(len(context.data)), outputs(session, context.data)
    seen = order[: len(scores)]
    reference = None if context.reference is None else context.reference[seen]
    metrics = _measure(context, scores, context.data.labels[seen], reference)
    state: Literal["done", "stopped"] = "done" if len(scores) == len(context.data) else "stopped"
    found = Outcome(cost, metrics, len(scores), state, 0.0)
    # Coding takes a few hundredths of what a thousand images take; a point that is given up is spared it.
    if state == "done":
        levels = ChosenLevels.by(quantizers, point.roles)
        found.file_bytes, quantized = _writer(context).size(levels, point.label)
        found.real_bits = 8 * quantized / cost.count if cost.count else 0.0
    found.seconds = time.perf_counter() - start
    return found


def _tables(point: Point) -> str | None:
    return None if point.scope == "model" else "tensor"


def _measure(context: Context, scores: Scores, labels: Any, reference: Scores | None) -> dict[str, float]:
    return {name: float(METRICS[name](scores, labels, reference)) for name in context.metrics}


def _until_decided(context: Context, session: Session) -> tuple[NDArray[np.int64], Scores]:
    """Scores of images in the order of `visiting_order`, until all are seen or a metric surely loses too much."""
    assert context.reference is not None
    count = len(context.data)
    labels = context.data.labels
    watched = {name: TOP_K[name] for name in context.metrics if name in TOP_K}
    ahead = {name: leads(context.reference, labels, k) for name, k in watched.items()}
    order = visiting_order(list(ahead.values()), _RANDOMLY, context.seed)
    place = ranks(context.reference, labels)[order]
    allowed = math.floor(context.tolerance * count + 1e-9)
    tests = {
        name: PairedTest(place <= k, ahead[name][order], allowed, _RANDOMLY) for name, k in watched.items()
    }
    parts: list[Scores] = []
    seen = 0
    while seen < count:
        size = _FIRST_BATCHES[len(parts)] if len(parts) < len(_FIRST_BATCHES) else context.batch
        chosen = order[seen : seen + size]
        parts.append(outputs(session, context.data, chosen))
        seen += len(chosen)
        rank = ranks(parts[-1], labels[chosen])
        failed = [
            test.update(rank <= watched[name], leads(parts[-1], labels[chosen], watched[name]))
            for name, test in tests.items()
        ]
        if any(failed):
            break
    scores = np.concatenate(parts)
    if seen < count:
        return order, scores
    back = np.empty_like(order)
    back[order] = np.arange(count)
    return np.arange(count), scores[back]
