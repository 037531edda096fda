"""The command `rdquant`: a thin skin over the Python API."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._terminal import Group, keep_hint, log, print_json, print_table, records, set_debug

if TYPE_CHECKING:
    import pandas as pd

    from .quant.spec import QuantizerSpec
    from .sweep import Study

__all__ = ["app", "main", "parse_bits", "parse_quantizers"]

_EPILOG = (
    "\b\nExamples\n"
    "  rdquant demo --open\n"
    "  rdquant fit model.onnx --criterion kl\n"
    "  rdquant sweep model.onnx --data images/ -o study/\n\n"
    "Exit codes: 0 done, 1 the work failed, 2 the command line is wrong, 130 interrupted."
)
_HELP: dict[str, Any] = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="rdquant",
    cls=Group,
    epilog=_EPILOG,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=_HELP,
    no_args_is_help=True,
)


class Criterion(str, enum.Enum):
    """How a family's parameters are found."""

    mle = "mle"
    kl = "kl"
    sse = "sse"


class Per(str, enum.Enum):
    """What is fitted at once."""

    model = "model"
    tensor = "tensor"


class Scope(str, enum.Enum):
    """What shares one step."""

    model = "model"
    tensor = "tensor"
    channel = "channel"


class Strategy(str, enum.Enum):
    """Which points are evaluated."""

    grid = "grid"
    adaptive = "adaptive"


ModelFile = Annotated[
    Path, typer.Argument(help="ONNX model.", exists=True, dir_okay=False, metavar="MODEL.onnx")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of a table.")]
Open = Annotated[bool, typer.Option("--open", help="Open the report in the browser.")]
Debug = Annotated[
    bool,
    typer.Option("--debug", help="Show the traceback of an error.", callback=set_debug, expose_value=False),
]
DataSource = Annotated[
    str, typer.Option(help="Folder of images (labels.csv, or a folder per class), .npz file, or digits.")
]
Quantizers = Annotated[
    str | None,
    typer.Option(
        help="Comma-separated: midtread, midrise, deadzone:δ (0 to 1), mulaw:µ, minifloat (Table 3.5) or "
        "minifloat:exponent/mantissa, half, bfloat16, codebook (default: the thesis')."
    ),
]
Range = Annotated[
    str | None,
    typer.Option(
        "--range",
        help="Range of the levels: 1 is ±1, max is ±max|w| (default: 1 for --scope model, as in "
        "the thesis, else max).",
    ),
]
Images = Annotated[
    int | None, typer.Option(help="Use this many images, evenly spread (default: all).", min=1)
]
Threads = Annotated[int | None, typer.Option(help="Threads of the network (default: all cores).", min=1)]
StudyFolder = Annotated[Path, typer.Option("-o", "--output", help="Folder of the study.", file_okay=False)]


def parse_bits(text: str) -> list[int]:
    """Bits from "2-16", "4,6,8" or a mixture, ascending and without repeats; each within 1..24.

    Raises typer.BadParameter, which names the part that is wrong.
    """
    bits: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            low, high = int(first), int(last if dash else first)
        except ValueError:
            message = f"{part.strip()!r}: expected a number or a range such as 2-16"
            raise typer.BadParameter(message, param_hint="--bits") from None
        if not 1 <= low <= high <= 24:
            message = f"{part.strip()!r}: expected bits from 1 to 24, the lower number first"
            raise typer.BadParameter(message, param_hint="--bits")
        bits.update(range(low, high + 1))
    return sorted(bits)


def parse_quantizers(text: str) -> list[QuantizerSpec]:
    """Quantizers from a comma-separated list such as "midtread,deadzone:0.4,minifloat:4/3".

    Raises typer.BadParameter, which names the part that is wrong and what is allowed.
    """
    from .errors import InvalidArgument
    from .quant.spec import parse_quantizers as parse

    try:
        return parse(text)
    except InvalidArgument as error:
        raise typer.BadParameter(str(error), param_hint="--quantizers") from None


def _parse_range(text: str | None) -> str | float | None:
    if text is None or text == "max":
        return text
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise typer.BadParameter(f"{text!r}: expected a number above 0, or max", param_hint="--range")
    return value


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


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
    epilog="Example: rdquant info squeezenet1.1-7.onnx --json", context_settings=_HELP, no_args_is_help=True
)
def info(model: ModelFile, as_json: Json = False, debug: Debug = False) -> None:
    """What a model holds: size, share of weights (thesis Table 3.1), parameters by role, operators."""
    from .graph import load

    loaded = load(model)
    summary = loaded.summary()
    if as_json:
        print_json({"model": loaded.name, **summary})
        return
    rows = [[key.replace("_", " "), _fact(value)] for key, value in summary.items()]
    print_table(loaded.name, ["figure", "value"], rows)


def _fact(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {count:,}" for key, count in value.items())
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


@app.command(
    epilog="Example: rdquant fit model.onnx --families laplace,gaussian --per tensor --csv fits.csv",
    context_settings=_HELP,
    no_args_is_help=True,
)
def fit(
    model: ModelFile,
    criterion: Annotated[
        Criterion, typer.Option(help="Maximum likelihood, least KL divergence, least SSE.")
    ] = Criterion.mle,
    families: Annotated[str | None, typer.Option(help="Families, comma-separated (default: all).")] = None,
    bins: Annotated[
        int, typer.Option(help="Bins of the histogram that KL and SSE are taken over.", min=2)
    ] = 100,
    per: Annotated[Per, typer.Option(help="All weights together, or every tensor by itself.")] = Per.model,
    plot: Annotated[
        Path | None, typer.Option(help="Picture of histogram and densities (with --per model).")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the table as CSV.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Fit distribution families to the weights and biases, and rank them."""
    if plot is not None and per is Per.tensor:
        raise typer.BadParameter("one picture needs --per model", param_hint="--plot")
    from . import stats
    from .graph import load

    loaded = load(model)
    chosen = _names(families) if families else None
    fitted = stats.fit(loaded, chosen, criterion.value, bins, per=per.value, threads=0)
    table = fitted.to_pandas()
    if plot is not None:
        from matplotlib.figure import Figure

        figure = Figure(layout="constrained")
        fitted.plot(log=True, ax=figure.subplots())
        figure.savefig(plot, dpi=160)
    if csv is not None:
        table.to_csv(csv, index=False)
    if as_json:
        print_json({"model": loaded.name, "criterion": criterion.value, "bins": bins, "fits": records(table)})
        return
    shown = ["rank", "family", "parameters", "kl", "sse", "aic", "bic", "ks"]
    head = ["tensor", *shown] if per is Per.tensor else shown
    print_table(
        f"{loaded.name}: families by {criterion.value}", head, _fit_rows(table[head]), left=len(head) - 5
    )


def _fit_rows(table: pd.DataFrame) -> list[list[str]]:
    def text(value: Any) -> str:
        if isinstance(value, dict):
            return ", ".join(f"{key} {number:.4g}" for key, number in value.items())
        return f"{value:.4g}" if isinstance(value, float) else str(value) or "whole model"

    return [[text(value) for value in row] for row in table.itertuples(index=False)]


@app.command(
    epilog="Example: rdquant sweep model.onnx --data images/ --quantizers midtread,deadzone:0.4 -o study/\n\n"
    "Running the same command again goes on where it stopped.",
    context_settings=_HELP,
    no_args_is_help=True,
)
def sweep(
    model: ModelFile,
    data: DataSource,
    preprocess: Annotated[str | None, typer.Option(help="imagenet, caffe, tf, efficientnet-lite.")] = None,
    quantizers: Quantizers = None,
    bits: Annotated[str, typer.Option(help="Bits per level, 1 to 24: 2-16, or 4,6,8.")] = "2-16",
    scope: Annotated[Scope, typer.Option(help="What shares one step.")] = Scope.model,
    range_: Range = None,
    strategy: Annotated[
        Strategy, typer.Option(help="All points, or only those that decide the best choice.")
    ] = Strategy.grid,
    tolerance: Annotated[
        float, typer.Option(help="Loss allowed in every metric, percentage points.", min=0)
    ] = 0.8,
    metrics: Annotated[
        str, typer.Option(help="Metrics, comma-separated: top1, top5, kl, f1, …")
    ] = "top1,top5,kl",
    images: Images = None,
    batch_size: Annotated[int, typer.Option(help="Images per run of the network.", min=1)] = 32,
    threads: Threads = None,
    output: StudyFolder = Path("study"),
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Rate–distortion study: what each quantizer costs in bits per weight and in accuracy."""
    options: dict[str, Any] = {
        "bits": parse_bits(bits),
        "range": _parse_range(range_),
        "scope": scope.value,
        "strategy": strategy.value,
        "tolerance": tolerance / 100,
        "metrics": tuple(_names(metrics)),
    }
    if quantizers is not None:
        options["quantizers"] = parse_quantizers(quantizers)
    from .data import open_dataset
    from .graph import load
    from .sweep import sweep as run_sweep

    loaded = load(model)
    dataset = open_dataset(data, preprocess, batch_size=batch_size, model=loaded)
    if images is not None and images < len(dataset):
        dataset = dataset.take([i * len(dataset) // images for i in range(images)])
    keep_hint(f"Every finished point is kept in {output}; run the same command again to go on.")
    study = run_sweep(loaded, dataset, store=output, threads=threads, progress=True, **options)
    _finish(study, output, tolerance / 100, as_json)


@app.command(epilog="Example: rdquant report study/ --open", context_settings=_HELP, no_args_is_help=True)
def report(
    study: Annotated[Path, typer.Argument(help="Folder of a study, with its results.sqlite.", exists=True)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder of the report (default: that of the study).")
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(help="Loss allowed in every metric, percentage points (default: the study's).", min=0),
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


@app.command(epilog="Example: rdquant demo --open", context_settings=_HELP)
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
        print_table(facts["headline"], head, rows)
    log(f"Report: {path.resolve()}")
    if show:
        typer.launch(path.resolve().as_uri())


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(app())
