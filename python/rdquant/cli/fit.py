"""The command rdquant fit: how a model's weights are distributed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .._files import replacing, target_of
from ..errors import needed
from .inputs import load_weights, naming
from .options import (
    HELP,
    Command,
    Criterion,
    Debug,
    Families,
    Interval,
    Json,
    ModelFile,
    Per,
    check_picture,
    given,
    parse_interval,
    parse_names,
    signature_defaults,
    speaks_for,
)
from .terminal import print_json, print_table, records

if TYPE_CHECKING:
    import pandas as pd

    from ..graph import Model
    from ..stats import FitTable

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        cls=Command,
        epilog="Example: rdquant fit model.onnx --families laplace,gaussian --per tensor --csv fits.csv",
        context_settings=HELP,
        no_args_is_help=True,
        rich_help_panel="Models",
    )(fit)


_RANKED = {
    Criterion.mle: "greatest likelihood, ranked by BIC",
    Criterion.kl: "least KL divergence, ranked by it",
    Criterion.sse: "least sum of squared errors (SSE), ranked by it",
}


@speaks_for("rdquant.stats:fit", range_="range")
def fit(
    model: ModelFile,
    criterion: Annotated[
        Criterion | None,
        typer.Option(
            help="What the parameters optimize: mle, the likelihood (ranked by BIC); kl, the KL divergence (ranked "
            "by KL); sse, the squared errors (ranked by SSE)."
        ),
    ] = None,
    families: Families = None,
    bins: Annotated[
        int | None,
        typer.Option(help="Bins of the histogram from which KL and SSE are computed.", min=2, max=2**20),
    ] = None,
    range_: Interval = None,
    per: Annotated[
        Per | None, typer.Option(help="Fit all weights together, or each tensor separately.")
    ] = None,
    dependence: Annotated[
        bool,
        typer.Option(
            "--dependence", help="Test instead whether neighbouring weights are independent (memoryless)."
        ),
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Write a picture of histogram and densities (with --per model).")
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
    if csv is not None:
        target_of("csv", csv, model=model)
    interval = parse_interval(range_)
    from .. import stats

    settings = signature_defaults("rdquant.stats:fit") | given(
        families=None if families is None else parse_names(families, stats.FAMILIES, "--families"),
        criterion=None if criterion is None else criterion.value,
        bins=bins,
        range=interval,
        per=None if per is None else per.value,
        threads=0,
    )
    loaded = load_weights(model)
    if dependence:
        _dependence(loaded, csv, as_json)
        return
    with naming(loaded):
        fitted = stats.fit(loaded, **settings)
    if plot is not None:
        _draw(fitted, plot)
    _show(loaded, fitted, settings, csv, as_json)


def _draw(fitted: FitTable, plot: Path) -> None:
    with needed():
        from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    fitted.plot(log=True, ax=figure.subplots())
    with replacing(plot) as path:
        figure.savefig(path, dpi=160)


def _show(
    model: Model, fitted: FitTable, settings: Mapping[str, Any], csv: Path | None, as_json: bool
) -> None:
    """Write and print the table."""
    table, criterion, bins = fitted.to_pandas(), settings["criterion"], settings["bins"]
    _write_csv(table, csv)
    if as_json:
        print_json({"model": model.name, "criterion": criterion, "bins": bins, "fits": records(table)})
        return
    shown = ["rank", "family", "parameters", "kl", "sse", "aic", "bic", "ks"]
    head = ["tensor", *shown] if settings["per"] == "tensor" else shown
    title = f"{model.name}: families of {_RANKED[Criterion(criterion)]}"
    note = (
        f"kl: KL divergence of thesis equation 2.41, in nats, over the histogram of {bins} bins, with a floor of "
        "1e-10 under both densities (see rdquant.fit)."
    )
    print_table(title, head, _fit_rows(table[head]), left=len(head) - 5, notes=[note])


def _dependence(model: Model, csv: Path | None, as_json: bool) -> None:
    """The table of `rdquant.stats.dependence`."""
    from ..stats import dependence

    with naming(model):
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


def _fit_rows(table: pd.DataFrame) -> list[list[str]]:
    def text(value: Any) -> str:
        if isinstance(value, dict):
            return ", ".join(f"{key} {number:.4g}" for key, number in value.items())
        return f"{value:.4g}" if isinstance(value, float) else str(value) or "whole model"

    return [[text(value) for value in row] for row in table.itertuples(index=False)]
