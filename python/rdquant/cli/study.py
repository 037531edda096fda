"""The commands of a study: rdquant sweep, report and demo."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import require
from .inputs import load_images, load_weights
from .options import (
    HELP,
    Backend,
    BatchSize,
    Command,
    DataSource,
    Debug,
    Images,
    Jobs,
    Json,
    ModelFile,
    Open,
    Preprocess,
    QuantizedRoles,
    Quantizers,
    Range,
    Scopes,
    Seed,
    Strategy,
    StudyFolder,
    Threads,
    check_data,
    given,
    parse_bits,
    parse_names,
    parse_quantizers,
    parse_range,
    speaks_for,
)
from .terminal import keep_hint, log, print_json, print_table, records

if TYPE_CHECKING:
    from ..sweep import Study

__all__ = ["register"]

MaxLoss = Annotated[float | None, typer.Option(help="Tolerated loss in every metric, in percentage points.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(
        cls=Command,
        epilog="Example: rdquant sweep model.onnx --data images/ --quantizers midtread,deadzone:0.4 -o study/\n\n"
        "Run again, the same command resumes where it stopped.",
        context_settings=HELP,
        no_args_is_help=True,
        rich_help_panel="Studies",
    )(sweep)
    app.command(
        cls=Command,
        epilog="Example: rdquant report study/ --open",
        context_settings=HELP,
        no_args_is_help=True,
        rich_help_panel="Studies",
    )(report)
    app.command(
        cls=Command, epilog="Example: rdquant demo --open", context_settings=HELP, rich_help_panel="Studies"
    )(demo)


@speaks_for("rdquant.sweep:sweep", "rdquant.data:open_dataset", range_="range", output="store")
def sweep(
    model: ModelFile,
    data: DataSource,
    preprocess: Preprocess = None,
    quantizers: Quantizers = None,
    bits: Annotated[str | None, typer.Option(help="Bits per level, 1 to 24: 2-16, or 4,6,8.")] = None,
    scope: Scopes = None,
    range_: Range = None,
    roles: QuantizedRoles = None,
    strategy: Annotated[
        Strategy | None,
        typer.Option(
            help="Evaluate all points (grid), or only those that decide the best choice (adaptive)."
        ),
    ] = None,
    max_loss: MaxLoss = None,
    metrics: Annotated[str | None, typer.Option(help="Comma-separated, out of: {metrics}.")] = None,
    images: Images = None,
    batch_size: BatchSize = None,
    threads: Threads = None,
    jobs: Jobs = 1,
    backend: Backend = None,
    seed: Seed = None,
    output: StudyFolder = Path("study"),
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run a rate–distortion study: what each quantizer costs in bits per weight and in accuracy."""
    require("study")
    check_data(data, preprocess)
    from ..graph import ROLES
    from ..metrics import METRICS
    from ..runtime import BACKENDS
    from ..sweep import sweep as run_sweep

    if not threads and jobs > 1:
        threads = max(1, (os.cpu_count() or 1) // jobs)
    options = given(
        quantizers=None if quantizers is None else parse_quantizers(quantizers),
        bits=None if bits is None else parse_bits(bits),
        range=parse_range(range_),
        scope=None if scope is None else parse_names(scope, ("model", "tensor", "channel"), "--scope"),
        roles=None if roles is None else parse_names(roles, ROLES, "--roles"),
        strategy=None if strategy is None else strategy.value,
        max_loss=max_loss,
        metrics=None if metrics is None else parse_names(metrics, METRICS, "--metrics"),
        backend=None if backend is None else parse_names(backend, BACKENDS, "--backend")[0],
        seed=seed,
        threads=threads,
    )
    loaded = load_weights(model)
    dataset = load_images(data, preprocess, loaded, batch_size=batch_size, images=images)
    if images is not None and images > len(dataset):
        log(f"--images {images}: there are {len(dataset)}; all are used.")
    keep_hint(f"Every finished point is kept in {output}; run the same command again to resume.")
    with _processes(jobs) as executor:
        study = run_sweep(loaded, dataset, store=output, executor=executor, progress=True, **options)
    _finish(study, output, None, as_json)


@contextlib.contextmanager
def _processes(jobs: int) -> Iterator[Executor | None]:
    """An executor of `jobs` processes, which leave Ctrl-C to this one; None for one job, done here."""
    if jobs == 1:
        yield None
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from ..sweep.point import begin_worker

    with ProcessPoolExecutor(jobs, get_context("spawn"), begin_worker) as executor:
        yield executor


@speaks_for("rdquant.report:write_report")
def report(
    study: Annotated[Path, typer.Argument(help="Folder of a study, with its results.sqlite.", exists=True)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder of the report (default: the study's).")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Name of the model, where the folder holds several studies (default: that of the one swept last)."
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Name of the data set, where the folder holds several studies.")
    ] = None,
    max_loss: Annotated[
        float | None,
        typer.Option(help="Tolerated loss in every metric, in percentage points (default: the study's)."),
    ] = None,
    show: Open = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Rebuild tables, plots and report.html from the stored results of a study."""
    require("study")
    from ..sweep import Study

    folder = study if study.is_dir() else study.parent
    _finish(Study.open(study, model, data), output or folder, max_loss, as_json, show)


def demo(
    output: StudyFolder = Path("demo"),
    show: Open = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run a whole study in under a minute, on the small network and data that come with the package."""
    require("study")
    from ..demo import run_demo

    keep_hint(f"Every finished point is kept in {output}; run the same command again to resume.")
    _finish(run_demo(output), output, None, as_json, show)


def _finish(study: Study, folder: Path, max_loss: float | None, as_json: bool, show: bool = False) -> None:
    """Write the report, print the best choices, say where the report is."""
    from rich.markup import escape

    from ..report import best_rows, summary, write_report

    path = write_report(study, folder, max_loss)
    facts = summary(study, max_loss)
    if as_json:
        print_json({"report": str(path), **facts, "best": records(facts["best"])})
    else:
        head, rows = best_rows(study, max_loss)
        notes = [note for note in facts["notes"] if note != facts["headline"]]
        commands = list(facts["best"]["command"][:1]) if rows else []
        print_table(facts["headline"], head, rows, notes=notes, commands=commands)
    log(f"Report: {path.resolve()}")
    if study.others:
        named = ", ".join(f"{model} on {data}" for model, data in study.others)
        log(
            escape(
                f"{study.folder} also holds studies of {named}; this report is of {study.info['model']} on "
                f"{study.info['data']}. rdquant report {study.folder} --model NAME --data NAME reports another."
            )
        )
    if show:
        typer.launch(path.resolve().as_uri())
