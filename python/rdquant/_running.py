"""The commands that run models on this machine: rdquant run (accuracy) and rdquant profile (time and memory)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._arguments import (
    HELP,
    Backend,
    Command,
    DataSource,
    Debug,
    Json,
    ModelFile,
    Open,
    Threads,
    check_data,
    parse_names,
)
from ._terminal import INTERRUPTED, keep_hint, log, print_json, print_table

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from .data import Dataset
    from .graph import Model, TensorInfo
    from .profile import Profile
    from .runtime import Session

__all__ = ["register"]

_RUN_EPILOG = (
    "\b\nExamples\n"
    "  rdquant run net.int8.onnx --data photos/ --preprocess imagenet\n"
    "  rdquant run net.onnx --data digits --backend reference --metrics top1,f1 --json\n\n"
    "Ctrl-C prints what is known of the images so far."
)
_PROFILE_EPILOG = (
    "\b\nExamples\n"
    "  rdquant profile net.onnx net.static.onnx net.dynamic.onnx -o prof/ --threads 1,2 --batch 1,32\n"
    "  rdquant profile net.onnx --backend native,onnxruntime --shape image=1,3,224,224\n\n"
    "The first model is what the others are related to. Running the same command again measures only what is missing; more "
    "models may be added. Ctrl-C keeps what was measured."
)

Preprocess = Annotated[
    str | None, typer.Option(help="What the images become: {presets} (default: imagenet).")
]
Limit = Annotated[int | None, typer.Option(help="Use this many images, evenly spread.", min=1)]
BatchSize = Annotated[int, typer.Option(help="Images per run of the network.", min=1)]
Models = Annotated[
    list[Path],
    typer.Argument(
        help="Models; the others are related to the first.",
        exists=True,
        dir_okay=False,
        metavar="MODEL.onnx…",
    ),
]
ProfileFolder = Annotated[
    Path, typer.Option("-o", "--output", help="Folder of results and report.", file_okay=False)
]
Counts = Annotated[str | None, typer.Option(help="Threads within a run, such as 1,2 (default: all cores).")]
Batches = Annotated[str, typer.Option(help="Rows in a run, such as 1,32.")]
Backends = Annotated[str, typer.Option(help="What runs the networks, comma-separated: {backends}.")]
Repeat = Annotated[
    int | None, typer.Option(help="Runs of each model (default: what fits into --seconds).", min=1)
]
Seconds = Annotated[
    float, typer.Option(help="For each model: for its latency, and again in its processes.", min=0.01)
]
Processes = Annotated[
    int, typer.Option(help="New processes per model for start and memory; medians are given.", min=1)
]
Shape = Annotated[
    list[str] | None,
    typer.Option(help="Sizes of an input that leaves them open; the first becomes the batch. Repeatable."),
]
ProfileData = Annotated[
    str | None, typer.Option(help="Images instead of noise: folder, .npz file, or digits.")
]
Seed = Annotated[int, typer.Option(help="Of the noise.", min=0)]
Mix = Annotated[
    bool, typer.Option("--mix", help="Compare even where stored results are of another machine or clock.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(cls=Command, epilog=_RUN_EPILOG, context_settings=HELP, no_args_is_help=True)(run)
    app.command(cls=Command, epilog=_PROFILE_EPILOG, context_settings=HELP, no_args_is_help=True)(profile)


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
    limit: Limit = None,
    batch_size: BatchSize = 32,
    backend: Backend = "auto",
    threads: Threads = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run a model over labelled images, or a detector over photos with boxes: its accuracy, and images per second."""
    check_data(data, preprocess)
    from .graph import load
    from .metrics import evaluate
    from .runtime import BACKENDS, Session

    parse_names(backend, BACKENDS, "--backend")
    loaded = load(model)
    images = _images(data, preprocess, batch_size, loaded, limit)
    titles, names = _metrics(metrics, images)
    session = _Timed(Session(loaded, backend, threads))
    keep_hint("No image was through.")
    start = time.perf_counter()
    found = evaluate(
        None,
        images,
        metrics=names,
        progress=True,
        session=session,  # type: ignore[arg-type]  # it has what evaluate asks of one
        partial=True,
    )
    wall, done = time.perf_counter() - start, found["images"]
    result = {
        "model": loaded.name,
        "data": images.name,
        "backend": session.backend,
        "images": done,
        "of": len(images),
        "interrupted": done < len(images),
        **{name: found[name] for name in names},
        "images_per_second": done / session.seconds,
        "images_per_second_with_reading": done / wall,
    }
    if as_json:
        print_json(result)
    else:
        rows = [[titles[n][0], _figure(found[n], titles[n][1])] for n in names]
        rows.append(["images per second, network alone", f"{result['images_per_second']:,.1f}"])
        rows.append(["images per second, with reading", f"{result['images_per_second_with_reading']:,.1f}"])
        title = f"{loaded.name} on {done} of {len(images)} images of {images.name}, {session.backend}"
        print_table(title, ["figure", "value"], rows)
    if result["interrupted"]:
        log("[bold]Interrupted.[/] The figures are of the images so far.")
        raise typer.Exit(INTERRUPTED)


def _images(
    source: str, preprocess: str | None, batch_size: int, model: Model, limit: int | None = None
) -> Dataset:
    """The data set that --data means; `limit` items of it, evenly spread. Every kind of data set comes in here."""
    from .data import open_dataset

    images = open_dataset(source, preprocess, batch_size=batch_size, model=model)
    if limit is None or limit >= len(images):
        return images
    return images.take([i * len(images) // limit for i in range(limit)])


def _metrics(asked: str | None, images: Dataset) -> tuple[dict[str, tuple[str, bool]], list[str]]:
    """Title, and whether it is a fraction, of every metric that fits the images; the names asked for."""
    from .metrics import DETECTION_METRICS, METRICS

    if images.task == "detect":
        titles = {name: (metric.title, True) for name, metric in DETECTION_METRICS.items()}
        return titles, parse_names(asked or "map50,map", titles, "--metrics")
    titles = {
        name: (metric.title, metric.unit == "fraction")
        for name, metric in METRICS.items()
        if not metric.needs_reference
    }
    return titles, parse_names(asked or "top1,top5", titles, "--metrics")


def _figure(value: float, share: bool) -> str:
    return f"{100 * value:.2f} %" if share else f"{value:.4g}"


def profile(
    models: Models,
    output: ProfileFolder = Path("profile"),
    threads: Counts = None,
    batch: Batches = "1",
    backend: Backends = "auto",
    repeat: Repeat = None,
    seconds: Seconds = 2.0,
    processes: Processes = 3,
    shape: Shape = None,
    data: ProfileData = None,
    preprocess: Preprocess = None,
    seed: Seed = 0,
    mix: Mix = False,
    show: Open = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Models side by side: latency, throughput, first inference, CPU, memory, energy where the machine tells, steps."""
    from .runtime import BACKENDS

    chosen = parse_names(backend, BACKENDS, "--backend")
    counts = [None] if threads is None else _numbers(threads, "--threads")
    batches = _numbers(batch, "--batch")
    shapes = _shapes(shape or [])
    if data is not None:
        check_data(data, preprocess)
    from .graph import load
    from .profile import profile as measure

    named = _named(models)
    images = None
    if data is not None:
        images = _images(data, preprocess, max(batches), load(models[0]))
    keep_hint("Nothing was measured.")
    found = measure(
        named,
        images,
        threads=counts,
        batch=batches,
        backend=chosen,
        repeat=repeat,
        seconds=seconds,
        processes=processes,
        shapes=shapes,
        seed=seed,
        store=output,
        mix=mix,
        progress=True,
    )
    _finish(found, as_json, show)


def _finish(found: Profile, as_json: bool, show: bool) -> None:
    from .report.performance import performance_rows

    path = found.report()
    if as_json:
        print_json({"report": str(path), **found.to_dict()})
    else:
        head, rows = performance_rows(found)
        print_table(f"Related to {found.models[0]}", head, rows, left=2, notes=found.notes)
    log(f"Report: {path.resolve()}")
    if show:
        typer.launch(path.resolve().as_uri())
    if found.interrupted:
        log("[bold]Interrupted.[/] What was measured is kept; run the same command again to go on.")
        raise typer.Exit(INTERRUPTED)


def _named(models: list[Path]) -> dict[str, Path]:
    """Models by file name; by path where two have the same."""
    names = [path.name for path in models]
    named = {path.name if names.count(path.name) == 1 else str(path): path for path in models}
    if len(named) < len(models):
        raise typer.BadParameter("a model is named twice", param_hint="MODEL.onnx…")
    return named


def _numbers(text: str, option: str) -> list[int]:
    try:
        numbers = list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        numbers = [0]
    if min(numbers) < 1:
        raise typer.BadParameter(f"{text!r}: expected whole numbers ≥ 1, such as 1,2", param_hint=option)
    return numbers


def _shapes(given: list[str]) -> dict[str, tuple[int, ...]]:
    from .errors import InvalidArgument
    from .profile.inputs import parse_shape

    try:
        return dict(parse_shape(text) for text in given)
    except InvalidArgument as error:
        raise typer.BadParameter(str(error), param_hint="--shape") from None
