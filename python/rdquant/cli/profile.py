"""The command rdquant profile: time, memory and energy on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .inputs import load_images
from .options import HELP, Command, Debug, Json, Open, Preprocess, given, parse_names, speaks_for
from .terminal import INTERRUPTED, command_line, keep_hint, log, print_json, print_table

if TYPE_CHECKING:
    from ..data import Dataset
    from ..graph import EngineModel, Model
    from ..profile import Profile

__all__ = ["register"]

_EPILOG = (
    "\b\nExamples\n"
    "  rdquant profile net.onnx net.static.onnx net.dynamic.onnx -o prof/ --threads 1,2 --batch 1,32\n"
    "  rdquant profile net.onnx --backend native,onnxruntime --shape image=1,3,224,224\n"
    "  rdquant profile net.onnx net.int8.onnx --host pi@raspberrypi --remote-rdquant venv/bin/rdquant\n\n"
    "The other models are compared with the first. Running the same command again measures only what is missing. Table "
    "and report show the models that the command names; results of others stay in the folder until they are named "
    "again. Ctrl-C keeps what was measured."
)

Models = Annotated[
    list[Path],
    typer.Argument(
        help="Models to compare; the first is the baseline.",
        exists=True,
        dir_okay=False,
        metavar="MODEL",
    ),
]
ProfileFolder = Annotated[
    Path,
    typer.Option(
        "-o",
        "--output",
        help="Folder of results and report; results of other models in it are kept, not shown.",
        file_okay=False,
    ),
]
Counts = Annotated[
    str | None, typer.Option(help="Threads within a run, such as 1,2 (default, and 0: all cores).")
]
Batches = Annotated[str | None, typer.Option(help="Rows in a run, such as 1,32.")]
Backends = Annotated[
    str | None, typer.Option(help="Backends that run the networks, comma-separated: {backends}.")
]
Repeat = Annotated[
    int | None, typer.Option(help="Runs of each model (default: what fits into --seconds).", min=1)
]
Seconds = Annotated[
    float | None,
    typer.Option(help="Time for each model: for its latency, and again in its new processes.", min=0.01),
]
Processes = Annotated[
    int | None,
    typer.Option(help="New processes per model to measure start and memory; medians are reported.", min=1),
]
Shape = Annotated[
    list[str] | None,
    typer.Option(help="Sizes of an input whose sizes are open; --batch replaces the first. Repeatable."),
]
ProfileData = Annotated[
    str | None,
    typer.Option(
        help="Images instead of noise: folder, .npz file, or digits; where they have labels, accuracy is measured too."
    ),
]
Seed = Annotated[int | None, typer.Option(help="Seed of the noise.", min=0)]
CoolBelow = Annotated[
    float | None,
    typer.Option(
        help="Wait, 5 minutes at most, until the processor is cooler than so many °C before each measurement.",
        min=1,
    ),
]
Host = Annotated[
    str | None,
    typer.Option(
        help="Measure on this machine, over ssh: user@pi. Models and data are copied there, the result comes back."
    ),
]
RemoteRdquant = Annotated[
    str | None,
    typer.Option(
        help="With --host: how rdquant is called there, such as venv/bin/rdquant (default: rdquant)."
    ),
]
Ssh = Annotated[
    str | None, typer.Option(help="With --host: how ssh is called here, with its options (default: ssh).")
]
Mix = Annotated[
    bool, typer.Option("--mix", help="Allow stored results of another machine, clock or version.")
]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        cls=Command, epilog=_EPILOG, context_settings=HELP, no_args_is_help=True, rich_help_panel="Inference"
    )(profile)


@speaks_for("rdquant.profile:profile", shape="shapes", output="store")
def profile(
    context: typer.Context,
    models: Models,
    output: ProfileFolder = Path("profile"),
    threads: Counts = None,
    batch: Batches = None,
    backend: Backends = None,
    repeat: Repeat = None,
    seconds: Seconds = None,
    processes: Processes = None,
    shape: Shape = None,
    data: ProfileData = None,
    preprocess: Preprocess = None,
    seed: Seed = None,
    mix: Mix = False,
    cool_below: CoolBelow = None,
    host: Host = None,
    remote_rdquant: RemoteRdquant = None,
    ssh: Ssh = None,
    show: Open = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare models: latency, throughput, first inference, CPU, memory, energy where the machine reports it, steps."""
    from ..runtime import BACKENDS

    options = given(
        backend=None if backend is None else parse_names(backend, BACKENDS, "--backend"),
        threads=None if threads is None else _numbers(threads, "--threads", 0),
        batch=None if batch is None else _numbers(batch, "--batch", 1),
        shapes=_shapes(shape or []),
        repeat=repeat,
        seconds=seconds,
        processes=processes,
        seed=seed,
        cool_below=cool_below,
    )
    if host is None and (remote_rdquant or ssh):
        raise typer.BadParameter(
            "it says how to reach --host, which is not given", param_hint="--remote-rdquant / --ssh"
        )
    if host is not None:
        found = _remote(context, host, given(rdquant=remote_rdquant, ssh=ssh), models, output, mix)
    else:
        found = _here(models, data, preprocess, options, store=output, mix=mix, command=command_line(context))
    _finish(found, as_json, show)


def _here(
    models: list[Path], data: str | None, preprocess: str | None, options: dict[str, Any], **more: Any
) -> Profile:
    from ..profile import profile as measure
    from ..runtime.session import open_model

    named, images = _named(models), None
    if data is not None:
        images = _images(data, preprocess, open_model(models[0]), max(options.get("batch", [1])))
    keep_hint("Nothing was measured.")
    return measure(named, images, progress=True, **more, **options)


def _remote(
    context: typer.Context, host: str, calls: dict[str, str], models: list[Path], output: Path, mix: bool
) -> Profile:
    """The same command on another machine, which takes the files by their names."""
    from ..profile import Profile
    from ..profile.remote import profile_on

    named = enumerate(_named(models).items())
    files = {path.name if name == path.name else f"{i}-{path.name}": path for i, (name, path) in named}
    words = list(files)
    chosen = context.params
    for name in (
        "threads",
        "batch",
        "backend",
        "repeat",
        "seconds",
        "processes",
        "preprocess",
        "seed",
        "cool_below",
    ):
        if chosen.get(name) is not None:
            words += [f"--{name.replace('_', '-')}", str(chosen[name])]
    for shape in chosen.get("shape") or []:
        words += ["--shape", shape]
    data = chosen.get("data")
    if data is not None and Path(data).exists():
        files[f"data/{Path(data).name}"] = Path(data)
        data = f"data/{Path(data).name}"
    words += [] if data is None else ["--data", data]
    words += ["--mix"] if mix else []
    keep_hint("Nothing was brought back.")
    profile_on(host, files, words, output, command_line(context), **calls)
    return Profile.open(output, mix).only(list(files)[: len(models)])


def _finish(found: Profile, as_json: bool, show: bool) -> None:
    from ..errors import MissingPackage

    path: Path | None = None
    try:
        path = found.report()
    except MissingPackage as lacking:
        from rich.markup import escape

        log(f"No page with plots: {escape(str(lacking))}. The results are kept in profile.json.")
    if as_json:
        print_json({"report": None if path is None else str(path), **found.to_dict()})
    else:
        head, rows = found.lines()
        notes = [*found.headlines, *found.notes]
        print_table(f"Compared with {found.models[0]}", head, rows, left=2, notes=notes)
    if path is not None:
        log(f"Report: {path.resolve()}")
        if show:
            typer.launch(path.resolve().as_uri())
    if found.interrupted:
        log("[bold]Interrupted.[/] What was measured is kept; run the same command again to resume.")
        raise typer.Exit(INTERRUPTED)


def _images(data: str, preprocess: str | None, model: Model | EngineModel, batch: int) -> Dataset:
    """With labels where there are any: the accuracy then stands beside the latency."""
    from ..errors import InvalidArgument

    try:
        return load_images(data, preprocess, model, batch_size=batch)
    except InvalidArgument:
        return load_images(data, preprocess, model, batch_size=batch, labelled=False)


def _named(models: list[Path]) -> dict[str, Path]:
    """Models by file name; by path where two have the same."""
    names = [path.name for path in models]
    named = {path.name if names.count(path.name) == 1 else str(path): path for path in models}
    if len(named) < len(models):
        raise typer.BadParameter("a model is named twice", param_hint="MODEL")
    return named


def _numbers(text: str, option: str, least: int) -> list[int]:
    try:
        numbers = list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        numbers = [-1]
    if min(numbers) < least:
        raise typer.BadParameter(
            f"{text!r}: expected whole numbers ≥ {least}, such as 1,2", param_hint=option
        )
    return numbers


def _shapes(given: list[str]) -> dict[str, tuple[int, ...]]:
    from ..errors import InvalidArgument
    from ..profile.inputs import parse_shape

    try:
        return dict(parse_shape(text) for text in given)
    except InvalidArgument as error:
        raise typer.BadParameter(str(error), param_hint="--shape") from None
