"""The command rdquant run: accuracy on this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .inputs import load_images, spread
from .options import (
    HELP,
    Backend,
    BatchSize,
    Command,
    DataSource,
    Debug,
    Images,
    Json,
    ModelFile,
    Preprocess,
    Threads,
    given,
    parse_names,
    speaks_for,
)
from .terminal import INTERRUPTED, keep_hint, log, print_json, print_table, share_text

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ..data import Dataset
    from ..graph import EngineModel, Model, TensorInfo
    from ..runtime import Session

__all__ = ["register"]

_RUN_EPILOG = (
    "\b\nExamples\n"
    "  rdquant run net.int8.onnx --data photos/ --preprocess imagenet\n"
    "  rdquant run net.onnx --data digits --backend reference --metrics top1,f1 --json\n\n"
    "Ctrl-C prints the results for the images so far."
)


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        cls=Command,
        epilog=_RUN_EPILOG,
        context_settings=HELP,
        no_args_is_help=True,
        rich_help_panel="Inference",
    )(run)


class _Timed:
    """A session that adds up the seconds of its runs."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.seconds = 0.0
        self.backend = session.backend

    @property
    def inputs(self) -> list[TensorInfo]:
        """Of the session."""
        return self._session.inputs

    def run(self, feeds: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
        """As the session's."""
        start = time.perf_counter()
        found = self._session.run(feeds)
        self.seconds += time.perf_counter() - start
        self.backend = self._session.backend  # another one where the first refuses
        return found


@speaks_for("rdquant.metrics:evaluate", "rdquant.data:open_dataset")
def run(
    model: ModelFile,
    data: DataSource,
    preprocess: Preprocess = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated, out of: {metrics} (default: top1,top5); for photos with boxes map50,map, …"
        ),
    ] = None,
    images: Images = None,
    batch_size: BatchSize = None,
    backend: Backend = None,
    threads: Threads = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run a model on labelled images, or a detector on photos with boxes: accuracy and images per second."""
    from ..metrics import evaluate
    from ..runtime import BACKENDS, Session
    from ..runtime.session import open_model

    keep_hint("There are no results yet.")
    if backend is not None:
        parse_names(backend, BACKENDS, "--backend")
    loaded = _checked(open_model(model), data)
    everything = load_images(data, preprocess, loaded, batch_size=batch_size)
    dataset = spread(everything, images)
    titles, names = _metrics(metrics, dataset)
    session = _Timed(Session(_runnable(loaded, model), **given(backend=backend, threads=threads)))
    start = time.perf_counter()
    found = evaluate(
        None,
        dataset,
        metrics=names,
        progress=True,
        session=session,  # type: ignore[arg-type]  # it has what evaluate asks of one
        partial=True,
    )
    wall, done = time.perf_counter() - start, found["images"]
    result = {
        "model": loaded.name,
        "data": dataset.name,
        "backend": session.backend,
        "images": done,
        "of": len(everything),
        "interrupted": done < len(dataset),
        **_values(found, names),
        "images_per_second": done / session.seconds,
        "images_per_second_with_reading": done / wall,
    }
    if as_json:
        print_json(result)
    else:
        rows = [*_rows(found, names, titles), *_speeds(result)]
        title = f"{loaded.name} on {done} of {len(everything)} images of {dataset.name}, {session.backend}"
        print_table(title, ["figure", "value"], rows)
    if result["interrupted"]:
        log("[bold]Interrupted.[/] The figures are of the images so far.")
        raise typer.Exit(INTERRUPTED)


def _runnable(loaded: Model | EngineModel, path: Path) -> Model | Path:
    """What a Session takes: without the package onnx, the file."""
    from ..graph import EngineModel

    return path if isinstance(loaded, EngineModel) else loaded


def _checked(model: Model | EngineModel, data: str) -> Model | EngineModel:
    """`model`; raises typer.BadParameter for a classifier, by the shapes of its outputs, on photos with boxes."""
    from ..data.boxes import holds_boxes

    shapes = [[size for size in out.shape[1:] if size != 1] for out in model.outputs]
    if holds_boxes(Path(data)) and shapes and all(len(s) == 1 and isinstance(s[0], int) for s in shapes):
        listed = ", ".join(f"{out.name} {list(out.shape)}" for out in model.outputs)
        raise typer.BadParameter(
            f"{data!r} holds photos with boxes, but {model.name} is a classifier by its outputs ({listed}); expected a "
            "folder with labels.csv or a folder per class",
            param_hint="--data",
        )
    return model


def _metrics(requested: str | None, images: Dataset) -> tuple[dict[str, tuple[str, bool]], list[str]]:
    """Title, and whether it is a fraction, of every metric that fits the images; the names requested."""
    from ..metrics import DETECTION_METRICS, METRICS

    if images.task == "detect":
        titles = {name: (metric.title, True) for name, metric in DETECTION_METRICS.items()}
        return titles, parse_names(requested or "map50,map", titles, "--metrics")
    titles = {
        name: (metric.title, metric.unit == "fraction")
        for name, metric in METRICS.items()
        if not metric.needs_reference
    }
    return titles, parse_names(requested or "top1,top5", titles, "--metrics")


def _values(found: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The metrics, and the 95 % intervals of those that are shares of images."""
    from ..metrics import COUNTED, wilson

    counted = [name for name in names if name in COUNTED]
    intervals = {f"{name}_interval": wilson(found[name], found["images"]) for name in counted}
    return {**{name: found[name] for name in names}, **intervals}


def _rows(
    found: Mapping[str, Any], names: Sequence[str], titles: Mapping[str, tuple[str, bool]]
) -> list[list[str]]:
    """The same as text."""
    from ..metrics import COUNTED

    images = found["images"]
    return [
        [titles[name][0], _figure(found[name], titles[name][1], images if name in COUNTED else None)]
        for name in names
    ]


def _speeds(result: Mapping[str, Any]) -> list[list[str]]:
    return [
        ["images per second, network alone", f"{result['images_per_second']:,.1f}"],
        ["images per second, with reading", f"{result['images_per_second_with_reading']:,.1f}"],
    ]


def _figure(value: float, share: bool, images: int | None) -> str:
    """images: of which it is a share, which has an interval."""
    if images is not None:
        return share_text(value, images, places=2)
    return f"{100 * value:.2f} %" if share else f"{value:.4g}"
