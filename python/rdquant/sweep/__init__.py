"""The rate–distortion study: quantizers × bits × scopes, evaluated and stored point by point."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from .. import _call_by_name
from ..errors import (
    InvalidArgument,
    count,
    described,
    flag,
    number,
    one_of,
    path_of,
    require,
    several,
    some_of,
    threads_of,
)

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from pathlib import Path

    from ..data import Data, Dataset
    from ..graph import AnyModel, Model
    from ..quant import Scope
    from ..quant.spec import QuantizerSpec
    from .point import Context, Outcome, Point
    from .store import Store
    from .study import Study

__all__ = ["QUANTIZERS", "Study", "sweep"]

#: The quantizers of thesis 004, chapter 3.
QUANTIZERS = "midtread,midrise,deadzone:0.1,deadzone:0.25,deadzone:0.4,deadzone:0.7,mulaw:255,minifloat"
"""What `sweep` studies by default: the quantizers of thesis 004."""


def __getattr__(name: str) -> Any:
    if name != "Study":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .study import Study

    return Study


def sweep(
    model: AnyModel,
    data: Data,
    quantizers: str | Iterable[Any] = QUANTIZERS,
    bits: int | Iterable[int] = range(2, 17),
    scope: Scope | Sequence[Scope] = "model",
    strategy: Literal["grid", "adaptive"] = "grid",
    max_loss: float = 0.8,
    metrics: Sequence[str] = ("top1", "top5", "kl"),
    roles: Collection[str] = ("weight", "bias", "normalization"),
    store: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
    range: float | Literal["max"] | None = None,
    backend: str = "auto",
    threads: int | None = None,
    seed: int = 0,
    progress: bool = True,
    cache_bytes: int = 2 << 30,
    images: int | None = None,
) -> Study:
    """Rate–distortion study of a trained model without retraining (thesis 004, chapter 3).

    Every point quantizes and dequantizes all weights and biases, takes the entropy of the levels and the bytes of the file
    that `rdquant.compress` writes of them (effort "fast"), and evaluates the model with the restored weights.

    Args:
        model: what `rdquant.load` takes.
        data: images with labels: what `rdquant.data.open_dataset` takes.
        quantizers: text ("midtread,deadzone:0.4,minifloat:4/3"), quantizer classes or quantizers, functions (name, tensor)
            -> quantizer, or a list of such. Tables call a quantizer by its label and step, a function by its name; where two
            that differ would be called the same, the later one gets a mark (#1a2b).
        bits: i of the thesis: steps of 2·range/2^i, or codebooks of 2^i values; 1..24 (codebooks: ..16). Formats and
            given quantizers take none.
        scope: one step for the "model" (the thesis), for each "tensor", or for each output "channel" of each tensor; or a
            list of scopes. For "tensor" and "channel" each tensor has its own table of probabilities.
        strategy: "grid" evaluates every point on all images. "adaptive" finds, for each quantizer and scope, the smallest
            rate within the tolerance, the same as the full grid would give: it goes up from the smallest entropy and stops
            a point as soon as a sequential test on paired predictions shows that it loses too much. The test errs with a
            probability of about 1e-4 a point; `rdquant.sweep.sequential` states its two arguments and their assumptions.
        max_loss: greatest loss against the float model in every metric that is a share of images, in percentage points
            (0.8: the rule behind Tables 3.9 and 3.10).
        metrics: names in `rdquant.metrics.METRICS`.
        roles: which learned tensors are quantized: all (the thesis), or some of "weight", "bias" and "normalization".
        store: folder of the results file `results.sqlite`, made if missing. A sweep into a folder that has results of the
            same model and data continues them: nothing that is there is evaluated again. None: in memory.
        executor: any `concurrent.futures.Executor` to evaluate points on; None: here, one after the other.
        range: of the steps, 2·range/2^bits; by default 1 (the thesis) for scope "model", "max" (max|w|) otherwise.
        backend, threads: as for `rdquant.Session`.
        seed: order in which "adaptive" visits images.
        progress: show a bar on stderr.
        cache_bytes: memory for the preprocessed images, float32, that are made once and read by every point; shared out
            among the workers of an executor. Images that need more are made again for each point.
        images: use at most this many images of `data`, evenly spread over it; None: all.

    Returns:
        The study. Interrupted (Ctrl-C) or killed, all finished points are in the store; run again to continue.

    Raises:
        InvalidArgument: an argument outside the above, a NaN weight (naming the tensor), another sweep on the same store.
        CorruptFile: the store is no results file, or of a newer schema.

    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """
    require("study")
    from ..data import open_dataset
    from ..data.checks import warn_of_one_class
    from ..graph import ROLES, load
    from ..quant import parse_quantizers
    from ..quant.given import assigned, told_apart
    from ..runtime import BACKENDS
    from .store import Store
    from .study import Study

    network = load(model)
    dataset = _spread(open_dataset(data, model=network), images)
    warn_of_one_class(dataset)
    chosen = tuple(r for r in ROLES if r in some_of("roles", roles, ROLES))
    specs = assigned(parse_quantizers(quantizers), network.weights(chosen))
    groups = _groups(specs, bits, scope, range, chosen)
    names, max_loss = _checked_metrics(metrics, strategy), number("max_loss", max_loss, least=0, most=100)
    cache_bytes, seed = count("cache_bytes", cache_bytes, 0), count("seed", seed, 0)
    threads, progress = threads_of(threads) or None, flag("progress", progress)
    one_of("backend", backend, BACKENDS)
    if executor is not None and not hasattr(executor, "submit"):
        raise InvalidArgument(f"executor: expected a concurrent.futures.Executor, got {described(executor)}")
    folder = None if store is None else path_of("store", store)
    results = Store(folder, write=True)
    try:
        options = {"max_loss": max_loss, "metrics": list(names), "strategy": strategy}
        options["path"] = network.source if os.path.isfile(network.source) else None
        study_id = _study_row(results, network, dataset, options)
        named = dict(zip(specs, told_apart(specs, results.given_labels(study_id)), strict=True))
        groups = [[replace(p, spec=named[p.spec]) for p in group] for group in groups]
        held = dataset.held(cache_bytes // _workers(executor))
        context = _context(network, held, backend, threads, names, max_loss / 100, strategy, seed)
        _run(results, study_id, context, groups, executor, progress)
    except BaseException:
        results.give_up()
        raise
    if folder is None:
        return Study(results, study_id)
    results.close()
    return Study(Store(folder), study_id)


def _spread(data: Dataset, images: int | None) -> Dataset:
    """So many of the images at most; None: all."""
    return data if images is None or count("images", images) >= len(data) else data.spread(images)


def _workers(executor: Executor | None) -> int:
    """Workers that evaluate at once; 1 where the executor does not tell."""
    return 1 if executor is None else int(getattr(executor, "_max_workers", 1))


def _groups(
    specs: list[QuantizerSpec],
    bits: int | Iterable[int],
    scope: Scope | Sequence[Scope],
    range: float | Literal["max"] | None,
    roles: tuple[str, ...],
) -> list[list[Point]]:
    """Points by quantizer and scope: the curves of the study."""
    from ..quant import SCOPES, scope_range
    from .point import Point

    depths = sorted({count("bits", depth, 1, 24) for depth in several(bits)})
    if not depths and any(spec.takes_bits for spec in specs):
        raise InvalidArgument("bits: none given")
    scopes: Sequence[Any] = some_of("scope", scope, SCOPES)
    groups: dict[tuple[str, str], list[Point]] = {}
    for one in scopes:
        span = scope_range(one, range)
        for spec in specs:
            wanted = [b for b in depths if b <= spec.most_bits] if spec.takes_bits else [None]
            # Formats without bits form one curve together: each is one point of it.
            curve = groups.setdefault((spec.label if spec.takes_bits else spec.text, one), [])
            curve.extend(Point(spec, b, one, span, roles) for b in wanted)
    return list(groups.values())


def _checked_metrics(metrics: Sequence[str], strategy: str) -> tuple[str, ...]:
    from ..metrics import METRICS
    from .point import TOP_K

    names = some_of("metrics", metrics, METRICS)
    one_of("strategy", strategy, ("grid", "adaptive"))
    if strategy == "adaptive" and not any(name in TOP_K for name in names):
        raise InvalidArgument(f"metrics: strategy 'adaptive' needs one of {', '.join(TOP_K)} to compare")
    return names


def _context(
    model: Model,
    data: Dataset,
    backend: str,
    threads: int | None,
    metrics: tuple[str, ...],
    tolerance: float,
    strategy: str,
    seed: int,
) -> Context:
    from .point import Context

    return Context(
        model=model,
        data=data,
        backend=backend,
        threads=threads,
        metrics=metrics,
        key=f"{model.fingerprint} {data.fingerprint} {backend} {threads}",
        tolerance=tolerance,
        stop_early=strategy == "adaptive",
        seed=seed,
        batch=data.batch_size,
    )


def _study_row(store: Store, model: Model, data: Dataset, options: dict[str, Any]) -> int:
    """The study's row, made with the facts about the model where it is new; the options are those of the last call."""
    import json

    from ..machine import describe
    from .driver import now
    from .facts import describe_weights

    found = store.rows(
        "SELECT id FROM studies WHERE model_fingerprint = ? AND data_fingerprint = ?",
        (model.fingerprint, data.fingerprint),
    )
    if found:
        study_id = int(found[0]["id"])
        store.update("studies", study_id, {"options": json.dumps(options)})
        return study_id
    facts = describe_weights(model)
    row = {
        "model": model.name,
        "model_fingerprint": model.fingerprint,
        "data": data.name,
        "data_fingerprint": data.fingerprint,
        "model_summary": model.summary(),
        "machine": describe(),
        "options": options,
        "created": now(),
    }
    return store.insert_study(row, facts)


def _run(
    store: Store,
    study_id: int,
    context: Context,
    groups: list[list[Point]],
    executor: Executor | None,
    progress: bool,
) -> None:
    from tqdm import tqdm

    from .driver import Driver
    from .point import measure_rate, release_session
    from .search import ascending, one

    axes = {p.name: p.axis for p in context.model.parameters if p.axis is not None}
    baseline = _baseline(store, study_id, context)
    store.set_latest(study_id)
    with tqdm(total=sum(map(len, groups)), unit="point", disable=not progress) as bar:

        def advance(text: str) -> None:
            bar.set_postfix_str(text, refresh=False)
            bar.update()

        driver = Driver(store, study_id, context, baseline, axes, advance)
        if context.stop_early:
            searches = [ascending(g, {p: measure_rate(context.model, p, axes) for p in g}) for g in groups]
        else:
            searches = [one(point) for group in groups for point in group]
        if executor is not None:
            release_session()
        try:
            driver.run(searches, executor)
        finally:
            release_session()
        bar.update(bar.total - bar.n)


def _baseline(store: Store, study_id: int, context: Context) -> dict[str, float]:
    """Metrics of the float model, from the store or evaluated now; its scores go to `context.reference`."""
    import json

    rows = store.rows("SELECT metrics FROM points WHERE study_id = ? AND family = 'float'", (study_id,))
    path = None if store.folder is None else store.folder / f"float-scores-{study_id}.npy"
    stored: dict[str, float] = json.loads(rows[0]["metrics"]) if rows else {}
    if path is not None and path.is_file() and all(name in stored for name in context.metrics):
        try:
            scores: NDArray[np.float32] = np.load(path)
        except (ValueError, OSError, EOFError):
            scores = np.empty((0, 0), np.float32)
        if len(scores) == len(context.data):
            context.reference = scores
            return stored
    from .point import run_float

    outcome = run_float(context)
    context.reference = outcome.scores
    if path is not None and outcome.scores is not None:
        _save(path, outcome.scores)
    store.insert("points", [_float_row(study_id, context, outcome)], replace=True)
    return outcome.metrics


def _save(path: Path, scores: NDArray[np.float32]) -> None:
    """Writes to a new file first, so that a kill leaves the old one or none."""
    partial = path.with_suffix(".partial")
    with open(partial, "wb") as file:
        np.save(file, scores)
    os.replace(partial, path)


def _float_row(study_id: int, context: Context, outcome: Outcome) -> dict[str, Any]:
    from ..entropy import float_entropy
    from .driver import now

    return {
        "study_id": study_id,
        "quantizer": "float32",
        "family": "float",
        "options": {"quantizer": "float32", "range": None},
        "bits": None,
        "scope": "model",
        "state": "done",
        "images": outcome.images,
        "entropy": float_entropy(context.model.weights()),
        "mse": 0.0,
        "metrics": outcome.metrics,
        "seconds": outcome.seconds,
        "created": now(),
    }


_call_by_name(__name__)
