"""From a model and a dataset to scores and metrics."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from ..data import Dataset
from ..errors import InvalidArgument, Unsupported
from . import formulas
from .registry import METRICS

if TYPE_CHECKING:
    from ..graph import Model, TensorInfo
    from ..runtime import Session

__all__ = ["TABLES", "evaluate", "outputs"]

Scores = NDArray[np.float32]
Labels = NDArray[np.int64]

#: Results of `evaluate` that are arrays rather than figures, asked for by the same argument.
TABLES: dict[str, Callable[[Scores, Labels], NDArray[Any]]] = {
    "scores": lambda scores, labels: scores,
    "confusion": lambda s, y: formulas.confusion_matrix(y, formulas.predictions(s), s.shape[1]),
    "precision_by_class": lambda s, y: formulas.precision(y, formulas.predictions(s), s.shape[1]),
    "recall_by_class": lambda s, y: formulas.recall(y, formulas.predictions(s), s.shape[1]),
    "f1_by_class": lambda s, y: formulas.f1(y, formulas.predictions(s), s.shape[1]),
}


def evaluate(
    model: Model | str | os.PathLike[str] | None,
    data: Dataset,
    backend: str = "auto",
    threads: int | None = None,
    metrics: str | Iterable[str] = ("top1", "top5"),
    reference: ArrayLike | None = None,
    progress: bool = False,
    session: Session | None = None,
    output: str | None = None,
    partial: bool = False,
) -> dict[str, Any]:
    """Run a classifier over a dataset and measure it.

    Args:
        model: the network; not used where a `session` is given.
        data: images and labels.
        backend, threads: as for `rdquant.Session`.
        metrics: names in `METRICS` (floats; accuracies are fractions 0..1) and in `TABLES` (arrays:
            "scores" float32
            [n, classes], "confusion" int64 [classes, classes], "precision_by_class" … float64 [classes]).
        reference: the float network's scores [n, classes], from `outputs`, for the metrics that compare
            with it.
        progress: show a bar on stderr.
        session: an open session to run instead of `model`.
        output: name of the output that holds the scores, for networks with several.
        partial: on Ctrl-C, give what is known of the images so far; KeyboardInterrupt where there is none.

    Returns a dict: every metric by name, "predictions" (int64 [n], −1 where scores are NaN) and "images" (n).

    NaN scores count as wrong answers (see `rdquant.metrics.formulas`). With fewer than five classes, top-5
    is 1.

    Raises InvalidArgument for an unknown metric, inputs that do not fit the network, a label outside its
    classes (naming the file), or a missing or misshapen reference; Unsupported for networks that are no
    classifiers.
    """
    metrics = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    allowed = [*METRICS, *TABLES]
    for name in metrics:
        if name not in allowed:
            raise InvalidArgument(f"metrics: no metric {name!r}; allowed: {', '.join(allowed)}")
        if name in METRICS and METRICS[name].needs_reference and reference is None:
            raise InvalidArgument(f"metrics: {name} compares with the float model: give reference=")
    if session is None:
        if model is None:
            raise InvalidArgument("model: expected a model, as no session is given")
        from ..runtime import Session

        session = Session(model, backend=backend, threads=threads)
    parts: list[Scores] = []
    try:
        for part in _scored(session, data, progress, output):
            parts.append(part)
    except KeyboardInterrupt:
        if not (partial and parts):
            raise
    scores = np.concatenate(parts)
    labels = data.labels[: len(scores)]
    compared = _reference(reference, scores, len(data))
    result: dict[str, Any] = {"images": len(scores), "predictions": formulas.predictions(scores)}
    for name in metrics:
        if name in METRICS:
            result[name] = METRICS[name](scores, labels, compared)
        else:
            result[name] = TABLES[name](scores, labels)
    return result


def outputs(
    session: Session,
    data: Dataset,
    indices: ArrayLike | None = None,
    *,
    progress: bool = False,
    output: str | None = None,
) -> Scores:
    """float32 [n, classes]: the scores that `session` gives the items of `data`, or those at `indices`, in
    order.

    Runs batches of `data.batch_size`. Outputs such as [n, classes, 1, 1] are reshaped. Raises as `evaluate`
    does.
    """
    chosen = data if indices is None else data.take(indices)
    return np.concatenate(list(_scored(session, chosen, progress, output)))


def _scored(session: Session, chosen: Dataset, progress: bool, output: str | None) -> Iterator[Scores]:
    """`outputs`, batch by batch."""
    done = 0
    with tqdm(total=len(chosen), unit="image", disable=not progress, leave=False) as bar:
        for x, labels in chosen:
            scores = _run(session, chosen.name, x, output)
            wrong = np.flatnonzero(labels >= scores.shape[1])
            if wrong.size:
                file = chosen.item_name(done + int(wrong[0]))
                raise InvalidArgument(
                    f"{file}: label {labels[wrong[0]]} is out of range; the network has classes "
                    f"0..{scores.shape[1] - 1}"
                )
            done += len(x)
            bar.update(len(x))
            yield scores


def _run(session: Session, source: str, x: NDArray[np.float32], output: str | None) -> Scores:
    """Scores of one batch, which the session cuts to the network's own where that is fixed."""
    if len(session.inputs) != 1:
        names = ", ".join(tensor.name for tensor in session.inputs)
        raise Unsupported(
            f"only networks with one input are evaluated, not with {len(session.inputs)}: {names}"
        )
    (tensor,) = session.inputs
    return _scores(session.run({tensor.name: _fitted(tensor, source, x)}), len(x), output)


def _fitted(tensor: TensorInfo, source: str, x: NDArray[np.float32]) -> NDArray[Any]:
    """`x` in the dtype of the network's input, its shape checked."""
    wanted = tensor.shape[1:]
    fits = len(wanted) == x.ndim - 1 and all(
        not isinstance(want, int) or want in (0, -1, have)
        for want, have in zip(wanted, x.shape[1:], strict=False)
    )
    if not fits:
        shape = ", ".join(str(want) if want is not None else "?" for want in wanted)
        raise InvalidArgument(
            f"{source}: items of shape {list(x.shape[1:])}, but input {tensor.name!r} expects [{shape}]; "
            "choose size=, layout= or another preprocess="
        )
    with np.errstate(invalid="ignore"):  # an integer type that cannot hold a value: reported below
        feed = x.astype(tensor.dtype, copy=False)
    if tensor.dtype.kind != "f" and not np.array_equal(feed, x):
        raise InvalidArgument(
            f"{source}: input {tensor.name!r} is {tensor.dtype}, which does not hold these values; "
            "preprocess='raw' gives 0..255"
        )
    return feed


def _scores(results: Mapping[str, NDArray[Any]], count: int, output: str | None) -> Scores:
    """The one result that is [count, classes] once dimensions of 1 are dropped."""
    if output is not None and output not in results:
        raise InvalidArgument(f"output: no {output!r} among {', '.join(results)}")
    named = results if output is None else {output: results[output]}
    fitting = {}
    for name, array in named.items():
        if array.ndim >= 2 and len(array) == count and 1 < max(array.shape[1:]) == array.size // count:
            fitting[name] = array
    if len(fitting) == 1:
        (array,) = fitting.values()
        return array.reshape(count, -1).astype(np.float32, copy=False)
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in named.items())
    if not fitting:
        raise Unsupported(
            f"only classifiers are evaluated: expected an output [n, classes], found {shapes} for n = {count}"
        )
    raise InvalidArgument(f"output: several outputs may hold the scores ({shapes}); name one")


def _reference(reference: ArrayLike | None, scores: Scores, count: int) -> Scores | None:
    """The rows of the `count` reference scores that `scores` are compared with."""
    if reference is None:
        return None
    array = np.asarray(reference, np.float32)
    expected = (count, *scores.shape[1:])
    if array.shape != expected:
        raise InvalidArgument(f"reference: expected {list(expected)}, got {list(array.shape)}")
    return array[: len(scores)]
