"""The command `rdquant`: a thin skin over the Python API."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._arguments import (
    HELP,
    Backend,
    Command,
    Criterion,
    DataSource,
    Debug,
    Families,
    Images,
    Interval,
    Jobs,
    Json,
    ModelFile,
    Open,
    Per,
    Quantizers,
    Range,
    Scopes,
    Seed,
    Strategy,
    StudyFolder,
    Threads,
    check_data,
    check_picture,
    parse_bits,
    parse_interval,
    parse_names,
    parse_quantizers,
    parse_range,
)
from ._coding_commands import compressed_rows, is_compressed, print_compressed, register
from ._files import replacing
from ._quantizing import register as register_quantize
from ._running import register as register_run
from ._terminal import Group, fact_rows, keep_hint, log, print_json, print_table, records
from ._training import register as register_train

if TYPE_CHECKING:
    import pandas as pd

    from .graph import Model
    from .sweep import Study

__all__ = ["app", "main", "parse_bits", "parse_quantizers"]

_EPILOG = (
    "\b\nExamples\n"
    "  rdquant demo --open\n"
    "  rdquant fit model.onnx --criterion kl\n"
    "  rdquant sweep model.onnx --data images/ -o study/\n\n"
    "Exit codes: 0 done, 1 the work failed, 2 the command line is wrong, 130 interrupted."
)

app = typer.Typer(
    name="rdquant",
    cls=Group,
    epilog=_EPILOG,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=HELP,
    no_args_is_help=True,
)


def _print_version(value: bool) -> None:
    if value:
        from . import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Make trained neural networks small, and show the price of every bit."""


@app.command(
    epilog="Example: rdquant info squeezenet1.1-7.onnx --json", context_settings=HELP, no_args_is_help=True
)
def info(model: ModelFile, as_json: Json = False, debug: Debug = False) -> None:
    """What a model, .onnx or .rdq, holds: size, share of weights (thesis Table 3.1), weights by role, operators."""
    from .graph import load

    loaded = load(model)
    summary = loaded.summary()
    held = compressed_rows(model) if is_compressed(model) else {}
    if held:  # the weights are larger than the file
        del summary["weight_share"]
    if as_json:
        print_json({"model": loaded.name, **summary, **held})
        return
    print_table(loaded.name, ["figure", "value"], fact_rows(summary))
    if held:
        print_compressed(held)


_RANKED = {
    Criterion.mle: "greatest likelihood, ranked by BIC",
    Criterion.kl: "least KL divergence, ranked by it",
    Criterion.sse: "least sum of squared errors (SSE), ranked by it",
}


@app.command(
    cls=Command,
    epilog="Example: rdquant fit model.onnx --families laplace,gaussian --per tensor --csv fits.csv",
    context_settings=HELP,
    no_args_is_help=True,
)
def fit(
    model: ModelFile,
    criterion: Annotated[
        Criterion,
        typer.Option(
            help="What the parameters make best: the likelihood (the table is then ranked by BIC), the KL "
            "divergence (ranked by KL), or the squared errors (ranked by SSE)."
        ),
    ] = Criterion.mle,
    families: Families = None,
    bins: Annotated[
        int, typer.Option(help="Bins of the histogram that KL and SSE are taken over.", min=2, max=2**20)
    ] = 100,
    range_: Interval = None,
    per: Annotated[Per, typer.Option(help="All weights together, or every tensor by itself.")] = Per.model,
    dependence: Annotated[
        bool, typer.Option("--dependence", help="Instead: are neighbouring weights independent (memoryless)?")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Picture of histogram and densities (with --per model).")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the table as CSV.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Fit distribution families to the weights and biases, and rank them."""
    if plot is not None:
        if per is Per.tensor or dependence:
            raise typer.BadParameter("one picture needs --per model, and a fit", param_hint="--plot")
        check_picture(plot)
    interval = parse_interval(range_)
    from . import stats

    chosen = None if families is None else parse_names(families, stats.FAMILIES, "--families")
    loaded = _load(model)
    if dependence:
        _dependence(loaded, csv, as_json)
        return
    with _naming(loaded):
        fitted = stats.fit(loaded, chosen, criterion.value, bins, interval, per=per.value, threads=0)
    table = fitted.to_pandas()
    if plot is not None:
        from matplotlib.figure import Figure

        figure = Figure(layout="constrained")
        fitted.plot(log=True, ax=figure.subplots())
        with replacing(plot) as path:
            figure.savefig(path, dpi=160)
    _write_csv(table, csv)
    if as_json:
        print_json({"model": loaded.name, "criterion": criterion.value, "bins": bins, "fits": records(table)})
        return
    shown = ["rank", "family", "parameters", "kl", "sse", "aic", "bic", "ks"]
    head = ["tensor", *shown] if per is Per.tensor else shown
    title = f"{loaded.name}: families of {_RANKED[criterion]}"
    note = (
        f"kl: KL divergence of thesis equation 2.41, in nats, over the histogram of {bins} bins, with a floor of "
        "1e-10 under both densities (see rdquant.fit)."
    )
    print_table(title, head, _fit_rows(table[head]), left=len(head) - 5, notes=[note])


def _dependence(model: Model, csv: Path | None, as_json: bool) -> None:
    """The table of `rdquant.stats.dependence`."""
    from .stats import dependence

    with _naming(model):
        table = dependence(model)
    _write_csv(table, csv)
    independent = int(table["memoryless"].sum())
    if as_json:
        print_json({"model": model.name, "memoryless": independent, "dependence": records(table)})
        return
    title = f"{model.name}: {independent} of {len(table)} pairs of tensor and axis look memoryless"
    note = (
        "bound: 5 % of independent tensors have a larger |correlation| of neighbours, or more mutual information "
        "(bits) than information_bound."
    )
    print_table(title, list(table.columns), _fit_rows(table), notes=[note])


def _write_csv(table: pd.DataFrame, path: Path | None) -> None:
    if path is not None:
        with replacing(path) as partial:
            table.to_csv(partial, index=False)


def _load(path: Path) -> Model:
    """The model; InvalidArgument, naming its file, where it has no weights or one that is not finite."""
    from .errors import InvalidArgument
    from .graph import load
    from .stats import moments

    model = load(path)
    if not any(values.size for values in model.weights().values()):
        raise InvalidArgument(f"{path}: this model holds no weights")
    with _naming(model):
        moments(model)
    return model


@contextlib.contextmanager
def _naming(model: Model) -> Iterator[None]:
    """Errors about weights name the model's file too."""
    from .errors import InvalidArgument

    try:
        yield
    except InvalidArgument as error:
        if model.source in str(error):
            raise
        raise InvalidArgument(f"{model.source}: {error}") from error


def _fit_rows(table: pd.DataFrame) -> list[list[str]]:
    def text(value: Any) -> str:
        if isinstance(value, dict):
            return ", ".join(f"{key} {number:.4g}" for key, number in value.items())
        return f"{value:.4g}" if isinstance(value, float) else str(value) or "whole model"

    return [[text(value) for value in row] for row in table.itertuples(index=False)]


@app.command(
    cls=Command,
    epilog="Example: rdquant sweep model.onnx --data images/ --quantizers midtread,deadzone:0.4 -o study/\n\n"
    "Running the same command again goes on where it stopped.",
    context_settings=HELP,
    no_args_is_help=True,
)
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
    from .data import open_dataset
    from .metrics import METRICS
    from .runtime import BACKENDS
    from .sweep import sweep as run_sweep
    from .sweep.point import TOP_K

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
    loaded = _load(model)
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

    from .sweep.point import begin_worker

    with ProcessPoolExecutor(jobs, get_context("spawn"), begin_worker) as executor:
        yield executor


@app.command(epilog="Example: rdquant report study/ --open", context_settings=HELP, no_args_is_help=True)
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
    from .sweep import Study

    folder = study if study.is_dir() else study.parent
    allowed = None if tolerance is None else tolerance / 100
    _finish(Study.open(study), output or folder, allowed, as_json, show)


@app.command(epilog="Example: rdquant demo --open", context_settings=HELP)
def demo(
    output: StudyFolder = Path("demo"),
    show: Open = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """The whole study in under a minute, on a small network and data that the package carries."""
    from .demo import TOLERANCE, run_demo

    keep_hint(f"Every finished point is kept in {output}; run the same command again to go on.")
    _finish(run_demo(output), output, TOLERANCE, as_json, show)


def _finish(study: Study, folder: Path, tolerance: float | None, as_json: bool, show: bool = False) -> None:
    """Write the report, print the best choices, say where the report is."""
    from .report import best_rows, summary, write_report

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


register(app)
register_quantize(app)
register_run(app)
register_train(app)


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(app())
