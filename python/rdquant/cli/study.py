"""The commands of a study: rdquant sweep, report and demo."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .inputs import load_weights
from .options import (
    HELP,
    Backend,
    Command,
    DataSource,
    Debug,
    Images,
    Jobs,
    Json,
    ModelFile,
    Open,
    Quantizers,
    Range,
    Scopes,
    Seed,
    Strategy,
    StudyFolder,
    Threads,
    check_data,
    parse_bits,
    parse_names,
    parse_quantizers,
    parse_range,
)
from .terminal import keep_hint, log, print_json, print_table, records

if TYPE_CHECKING:
    from ..sweep import Study

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(
        cls=Command,
        epilog="Example: rdquant sweep model.onnx --data images/ --quantizers midtread,deadzone:0.4 -o study/\n\n"
        "Running the same command again goes on where it stopped.",
        context_settings=HELP,
        no_args_is_help=True,
    )(sweep)
    app.command(epilog="Example: rdquant report study/ --open", context_settings=HELP, no_args_is_help=True)(
        report
    )
    app.command(epilog="Example: rdquant demo --open", context_settings=HELP)(demo)


def sweep(
    model: ModelFile,
    data: DataSource,
    preprocess: Annotated[str | None, typer.Option(help="{presets} (default for images: imagenet).")] = None,
    quantizers: Quantizers = None,
    bits: Annotated[str, typer.Option(help="Bits per level, 1 to 24: 2-16, or 4,6,8.")] = "2-16",
    scope: Scopes = "model",
    range_: Range = None,
    strategy: Annotated[
        Strategy, typer.Option(help="All points, or only those that decide the best choice.")
    ] = Strategy.grid,
    tolerance: Annotated[
        float, typer.Option(help="Loss allowed in every metric, percentage points.", min=0, max=100)
    ] = 0.8,
    metrics: Annotated[str, typer.Option(help="Comma-separated, out of: {metrics}.")] = "top1,top5,kl",
    images: Images = None,
    batch_size: Annotated[int, typer.Option(help="Images per run of the network.", min=1)] = 32,
    threads: Threads = None,
    jobs: Jobs = 1,
    backend: Backend = "auto",
    seed: Seed = 0,
    output: StudyFolder = Path("study"),
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Rate–distortion study: what each quantizer costs in bits per weight and in accuracy."""
    check_data(data, preprocess)
    from ..data import open_dataset
    from ..metrics import METRICS
    from ..runtime import BACKENDS
    from ..sweep import sweep as run_sweep
    from ..sweep.point import TOP_K

    options: dict[str, Any] = {
        "bits": parse_bits(bits),
        "range": parse_range(range_),
        "scope": parse_names(scope, ("model", "tensor", "channel"), "--scope"),
        "strategy": strategy.value,
        "tolerance": tolerance / 100,
        "metrics": tuple(parse_names(metrics, METRICS, "--metrics")),
        "backend": parse_names(backend, BACKENDS, "--backend")[0],
        "seed": seed,
        "threads": threads or (max(1, (os.cpu_count() or 1) // jobs) if jobs > 1 else None),
    }
    if quantizers is not None:
        options["quantizers"] = parse_quantizers(quantizers)
    if strategy is Strategy.adaptive and not set(options["metrics"]) & set(TOP_K):
        raise typer.BadParameter(
            f"--strategy adaptive needs one of {', '.join(TOP_K)}", param_hint="--metrics"
        )
    loaded = load_weights(model)
    dataset = open_dataset(data, preprocess, batch_size=batch_size, model=loaded)
    if images is not None and images > len(dataset):
        log(f"--images {images}: there are {len(dataset)}; all are used.")
    elif images is not None:
        dataset = dataset.take([i * len(dataset) // images for i in range(images)])
    keep_hint(f"Every finished point is kept in {output}; run the same command again to go on.")
    with _processes(jobs) as executor:
        study = run_sweep(loaded, dataset, store=output, executor=executor, progress=True, **options)
    _finish(study, output, tolerance / 100, as_json)


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


def report(
    study: Annotated[Path, typer.Argument(help="Folder of a study, with its results.sqlite.", exists=True)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder of the report (default: that of the study).")
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Loss allowed in every metric, percentage points (default: the study's).", min=0, max=100
        ),
    ] = None,
    show: Open = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Rebuild tables, plots and report.html from the stored results of a study."""
    from ..sweep import Study

    folder = study if study.is_dir() else study.parent
    allowed = None if tolerance is None else tolerance / 100
    _finish(Study.open(study), output or folder, allowed, as_json, show)


def demo(
    output: StudyFolder = Path("demo"),
    show: Open = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """The whole study in under a minute, on a small network and data that the package carries."""
    from ..demo import TOLERANCE, run_demo

    keep_hint(f"Every finished point is kept in {output}; run the same command again to go on.")
    _finish(run_demo(output), output, TOLERANCE, as_json, show)


def _finish(study: Study, folder: Path, tolerance: float | None, as_json: bool, show: bool = False) -> None:
    """Write the report, print the best choices, say where the report is."""
    from ..report import best_rows, summary, write_report

    path = write_report(study, folder, tolerance)
    facts = summary(study, tolerance)
    if as_json:
        print_json({"report": str(path), **facts, "best": records(facts["best"])})
    else:
        head, rows = best_rows(study, tolerance)
        notes = [note for note in facts["notes"] if note != facts["headline"]]
        print_table(facts["headline"], head, rows, notes=notes)
    log(f"Report: {path.resolve()}")
    if show:
        typer.launch(path.resolve().as_uri())
