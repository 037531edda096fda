"""The command rdquant profile: time, memory and energy on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .inputs import load_images
from .options import HELP, Command, Debug, Json, Open, Preprocess, check_data, parse_names
from .terminal import INTERRUPTED, keep_hint, log, print_json, print_table

if TYPE_CHECKING:
    from ..profile import Profile

__all__ = ["register"]

_EPILOG = (
    "\b\nExamples\n"
    "  rdquant profile net.onnx net.static.onnx net.dynamic.onnx -o prof/ --threads 1,2 --batch 1,32\n"
    "  rdquant profile net.onnx --backend native,onnxruntime --shape image=1,3,224,224\n\n"
    "The first model is what the others are related to. Running the same command again measures only what is missing; more "
    "models may be added. Ctrl-C keeps what was measured."
)

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
    """Add the command to `app`."""
    app.command(cls=Command, epilog=_EPILOG, context_settings=HELP, no_args_is_help=True)(profile)


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
    from ..runtime import BACKENDS

    chosen = parse_names(backend, BACKENDS, "--backend")
    counts = [None] if threads is None else _numbers(threads, "--threads")
    batches = _numbers(batch, "--batch")
    shapes = _shapes(shape or [])
    if data is not None:
        check_data(data, preprocess)
    from ..graph import load
    from ..profile import profile as measure

    named = _named(models)
    images = None
    if data is not None:
        images = load_images(data, preprocess, max(batches), load(models[0]))
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
    from ..report.performance import performance_rows

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
    from ..errors import InvalidArgument
    from ..profile.inputs import parse_shape

    try:
        return dict(parse_shape(text) for text in given)
    except InvalidArgument as error:
        raise typer.BadParameter(str(error), param_hint="--shape") from None
