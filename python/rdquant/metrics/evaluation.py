"""From a model and a dataset to scores and metrics."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from .._arrays import as_float32
from ..data import Data, Dataset, open_dataset
from ..data.checks import warn_of_one_class
from ..detection import Detector
from ..errors import InvalidArgument, Unsupported, described, flag, several
from . import formulas
from .coco import require_evaluator
from .detection import average_precision, detections
from .feeding import fitted, single_input
from .registry import DETECTION_METRICS, METRICS

if TYPE_CHECKING:
    from ..graph import AnyModel
    from ..runtime import Session

__all__ = ["TABLES", "evaluate", "outputs", "scores_of"]

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
"""Names of `evaluate` that give arrays: float32 or float64 [n, classes], [classes, classes] or [classes]."""


def evaluate(
    model: AnyModel | None,
    data: Data,
    backend: str = "auto",
    threads: int | None = None,
    metrics: str | Iterable[str] | None = None,
    reference: ArrayLike | None = None,
    progress: bool = False,
    session: Session | None = None,
    output: str | None = None,
    partial: bool = False,
    detector: Detector | str | None = None,
) -> dict[str, Any]:
    """Run a classifier, or a detector, over a dataset and measure it.

    Args:
        model: what `rdquant.load` takes; not used where a `session` is given.
        data: images and labels: what `rdquant.data.open_dataset` takes; for a detector, photos with boxes, such as
            `rdquant.CocoFolder`.
        backend, threads: as for `rdquant.Session`.
        metrics: for a classifier, names in `METRICS` (floats; accuracies are fractions 0..1) and in `TABLES` (arrays:
            "scores" float32 [n, classes], "confusion" int64 [classes, classes], "precision_by_class" … float64
            [classes]), default "top1" and "top5"; for a detector, names in `DETECTION_METRICS` (fractions 0..1; they
            need pycocotools), default "map50" and "map".
        reference: the float network's scores [n, classes], from `outputs`, for the metrics that compare
            with it.
        progress: show a bar on stderr.
        session: an open session to run instead of `model`.
        output: name of the output that holds the scores, for networks with several.
        partial: on Ctrl-C, give what is known of a classifier's images so far; KeyboardInterrupt where there is none.
        detector: how a detector's outputs become detections: the name of its head ("yolox", "yolov8"), or a
            `rdquant.detection.Detector` with thresholds of one's own; default: the head whose shapes the outputs have.

    Returns a dict: every metric by name, "predictions" (int64 [n], −1 where scores are NaN; for a detector a list of n
    `rdquant.detection.Detections`, boxes in pixels of the photo) and "images" (n).

    NaN scores count as wrong answers, with a warning (see `rdquant.metrics.formulas`). With fewer than five classes, top-5
    is 1.

    Raises InvalidArgument for an unknown metric, inputs that do not fit the network, a label outside its
    classes (naming the file), or a missing or misshapen reference; Unsupported for networks that are neither
    classifiers nor known detectors; BackendUnavailable for a detector's metrics without pycocotools.
    """
    flag("progress", progress)
    flag("partial", partial)
    if session is None:
        if model is None:
            raise InvalidArgument("model: expected a model, as no session is given")
        from ..runtime import Session

        session = Session(model, backend=backend, threads=threads)
    elif not hasattr(session, "run") or not hasattr(session, "inputs"):
        raise InvalidArgument(f"session: expected a Session, got {described(session)}")
    data = open_dataset(data, model=session)
    detects = data.task == "detect"
    names = _names(metrics, detects, reference is not None)
    if detects:
        require_evaluator()
    elif detector is not None:
        raise InvalidArgument(f"detector: {data.name} has labels, but no boxes to detect")
    if detects:
        found = detections(session, data, detector, progress=progress, output=output)
        statistics = average_precision(data, found)
        return {"images": len(data), "predictions": found} | {name: statistics[name] for name in names}
    warn_of_one_class(data)
    parts: list[Scores] = []
    try:
        for part in _scored(session, data, progress, output):
            parts.append(part)
    except KeyboardInterrupt:
        if not (partial and parts):
            raise
    scores = np.concatenate(parts)
    _warn_of_nan(scores, data.name)
    labels = data.labels[: len(scores)]
    compared = _reference(reference, scores, len(data))
    result: dict[str, Any] = {"images": len(scores), "predictions": formulas.predictions(scores)}
    for name in names:
        if name in METRICS:
            result[name] = METRICS[name](scores, labels, compared)
        else:
            result[name] = TABLES[name](scores, labels)
    return result


def _warn_of_nan(scores: Scores, source: str) -> None:
    """NaN counts as a wrong answer, and so looks like a poor network rather than a broken one."""
    broken = int(np.isnan(scores).any(axis=1).sum())
    if broken:
        warnings.warn(
            f"{source}: the network's scores of {broken} of {len(scores)} images hold NaN; they count as wrong answers",
            stacklevel=3,
        )


def _names(metrics: str | Iterable[str] | None, detects: bool, compares: bool) -> tuple[str, ...]:
    """The metrics asked for, checked."""
    allowed = [*DETECTION_METRICS] if detects else [*METRICS, *TABLES]
    if metrics is None:
        return ("map50", "map") if detects else ("top1", "top5")
    names = tuple(several(metrics))
    if not names or not all(isinstance(name, str) for name in names):
        raise InvalidArgument(f"metrics: expected some of {', '.join(allowed)}, got {described(metrics)}")
    for name in names:
        if name not in allowed:
            known = [*DETECTION_METRICS, *METRICS, *TABLES]
            what = ("for photos with boxes" if detects else "for labelled images") if name in known else ""
            raise InvalidArgument(
                f"metrics: no metric {name!r}{' ' * bool(what)}{what}; allowed: {', '.join(allowed)}"
            )
        if name in METRICS and METRICS[name].needs_reference and not compares:
            raise InvalidArgument(f"metrics: {name} compares with the float model: give reference=")
    return names


def outputs(
    session: Session,
    data: Data,
    indices: ArrayLike | None = None,
    *,
    progress: bool = False,
    output: str | None = None,
) -> Scores:
    """float32 [n, classes]: the scores that `session` gives the items of `data`, or those at `indices`, in order.

    Runs batches of `data.batch_size`. Outputs such as [n, classes, 1, 1] are reshaped. `progress` shows a bar on stderr;
    `output` names the output to read, for networks with several. Raises as `evaluate` does.
    """
    from ..runtime import Session

    if not isinstance(session, Session):
        raise InvalidArgument(f"session: expected a Session, got {described(session)}")
    progress = flag("progress", progress)
    data = open_dataset(data, model=session, labelled=False)
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
    tensor = single_input(session)
    return scores_of(session.run({tensor.name: fitted(tensor, source, x)}), len(x), output)


def scores_of(results: Mapping[str, NDArray[Any]], count: int, output: str | None) -> Scores:
    """float32: the one of `results` that is [count, classes] once dimensions of 1 are dropped; `output` names one of several.

    Raises InvalidArgument where several fit, Unsupported where none does.
    """
    if output is not None and (not isinstance(output, str) or output not in results):
        raise InvalidArgument(f"output: no {described(output)} among {', '.join(results)}")
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
            f"only classifiers are evaluated: expected an output [n, classes], found {shapes} for n = {count}. For a "
            "detector: rdquant compress --bits 8 --scope channel, then rdquant run on photos with boxes for its mAP"
        )
    raise InvalidArgument(f"output: several outputs may hold the scores ({shapes}); name one")


def _reference(reference: ArrayLike | None, scores: Scores, count: int) -> Scores | None:
    """The rows of the `count` reference scores that `scores` are compared with."""
    if reference is None:
        return None
    array = as_float32(reference, "reference")
    expected = (count, *scores.shape[1:])
    if array.shape != expected:
        raise InvalidArgument(f"reference: expected {list(expected)}, got {list(array.shape)}")
    return array[: len(scores)]
