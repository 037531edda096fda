"""Figures 2 to 7 of paper 002, from stored runs. Computes nothing but the choice of what to draw.

Each draws on `ax` where Matplotlib axes are given, whose figure it returns, and raises InvalidArgument for anything else.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._files import replacing
from ..errors import InvalidArgument, axes_or_none, needed
from .paper import BASE_ACCURACY, BITS, TABLE_1
from .score import efficiency_score

with needed():
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "accuracy_over_bits",
    "accuracy_over_epochs",
    "density_over_bits",
    "draw",
    "efficiency_map",
    "efficiency_over_bits",
    "paper_runs",
    "train_accuracy_over_epochs",
]

Run = Mapping[str, Any]
_MARKERS = "osD^vPX<>h"


class _Shown(Figure):
    """A figure that a notebook shows when it is the value of a cell."""

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        self.savefig(stream, format="png", dpi=100)
        return stream.getvalue()


def paper_runs() -> list[dict[str, Any]]:
    """Table I of the paper as runs, without histories: figures 2 to 5 as the paper has them."""
    runs = []
    for gamma, cells in TABLE_1.items():
        for bits, (acc, density) in zip(BITS, cells, strict=True):
            score = {
                str(rho): efficiency_score(acc, BASE_ACCURACY, density / 100, bits, rho=rho)
                for rho in (1, 2, 3)
            }
            best = {"accuracy": acc / 100, "density": density / 100}
            runs.append(
                {"point": {"gamma": gamma, "bits": bits}, "best": best, "efficiency": score, "history": []}
            )
    return runs


def draw(
    runs: Sequence[Run],
    folder: str | os.PathLike[str],
    bits: int = 16,
    rho: int = 2,
    suffixes: Sequence[str] = (".png", ".svg"),
) -> list[Path]:
    """All figures that the runs have something for, as files figure-2 to figure-7 in `folder` (made where missing).

    Args:
        runs: as benchmarks/bench_train.py stores them: point (gamma, bits), best (accuracy and density as shares),
            efficiency ({"2": PE at ρ = 2, …}) and history (rows of `fit`).
        bits: of the runs in figures 6 and 7; the paper shows 16.
        rho: ρ of figures 4 and 5.
        suffixes: of the files.

    Raises InvalidArgument where there are no runs.
    """
    if not runs:
        raise InvalidArgument("figures: there are no runs to draw")
    drawn = {
        "figure-2": accuracy_over_bits(runs),
        "figure-3": density_over_bits(runs),
        "figure-4": efficiency_map(runs, rho),
        "figure-5": efficiency_over_bits(runs, rho),
    }
    if any(run["history"] and run["point"]["bits"] in (bits, 32) for run in runs):
        drawn["figure-6"] = accuracy_over_epochs(runs, bits)
        drawn["figure-7"] = train_accuracy_over_epochs(runs, bits)
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    paths = [place / f"{name}{suffix}" for name in drawn for suffix in suffixes]
    for path in paths:
        with replacing(path) as partial:
            drawn[path.stem].savefig(partial, dpi=160)
    return paths


def accuracy_over_bits(runs: Sequence[Run], ax: Axes | None = None) -> Figure:
    """Figure 2: accuracy against bits, one line for each γ; the best run where a pair has several."""
    return _over_bits(runs, "accuracy, %", lambda run: 100 * run["best"]["accuracy"], ax)


def density_over_bits(runs: Sequence[Run], ax: Axes | None = None) -> Figure:
    """Figure 3: density against bits, one line for each γ."""
    return _over_bits(runs, "density, %", lambda run: 100 * run["best"].get("density", 1.0), ax)


def efficiency_over_bits(runs: Sequence[Run], rho: int = 2, ax: Axes | None = None) -> Figure:
    """Figure 5: efficiency score against bits, one line for each γ."""
    return _over_bits(runs, f"efficiency score, ρ = {rho}", lambda run: run["efficiency"][str(rho)], ax)


def efficiency_map(runs: Sequence[Run], rho: int = 2, ax: Axes | None = None) -> Figure:
    """Figure 4: efficiency score by γ and bits; pairs without a run stay empty."""
    best = _best_of_pairs(runs)
    gammas, bits = sorted({g for g, _ in best}), sorted({b for _, b in best})
    values = np.full((len(gammas), len(bits)), np.nan)
    for (g, b), run in best.items():
        values[gammas.index(g), bits.index(b)] = run["efficiency"][str(rho)]
    figure, axes = _figure(ax)
    picture = axes.imshow(values, aspect="auto", origin="lower", cmap="viridis")
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "black" if value > middle else "white"
            axes.text(column, row, f"{value:.1f}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(bits)), [str(b) for b in bits])
    axes.set_yticks(range(len(gammas)), [f"{g:g}" for g in gammas])
    axes.set_xlabel("bits")
    axes.set_ylabel("γ")
    figure.colorbar(picture, ax=axes, label=f"efficiency score, ρ = {rho}")
    return figure


def accuracy_over_epochs(runs: Sequence[Run], bits: int = 16, ax: Axes | None = None) -> Figure:
    """Figure 6: accuracy in validation after each epoch of the runs with `bits`, and of the baseline."""
    return _over_epochs(runs, bits, "accuracy", "accuracy, %", ax)


def train_accuracy_over_epochs(runs: Sequence[Run], bits: int = 16, ax: Axes | None = None) -> Figure:
    """Figure 7: accuracy in training, the same way."""
    return _over_epochs(runs, bits, "train_accuracy", "accuracy in training, %", ax)


def _figure(ax: Axes | None) -> tuple[Figure, Axes]:
    """A new figure and its axes, or the axes given and their figure."""
    axes_or_none(ax)
    if ax is None:
        figure: Figure = _Shown(figsize=(5.6, 3.6), layout="constrained")
        return figure, figure.subplots()
    place = ax.figure
    while not isinstance(place, Figure):
        place = place.figure
    return place, ax


def _best_of_pairs(runs: Sequence[Run]) -> dict[tuple[float, int], Run]:
    best: dict[tuple[float, int], Run] = {}
    for run in runs:
        pair = run["point"]["gamma"], run["point"]["bits"]
        if pair not in best or run["best"]["accuracy"] > best[pair]["best"]["accuracy"]:
            best[pair] = run
    return best


def _over_bits(runs: Sequence[Run], label: str, value: Callable[[Run], float], ax: Axes | None) -> Figure:
    best = _best_of_pairs(runs)
    columns = sorted({b for _, b in best})
    figure, axes = _figure(ax)
    for i, gamma in enumerate(sorted({g for g, _ in best})):
        found = sorted(((b, run) for (g, b), run in best.items() if g == gamma), key=lambda pair: pair[0])
        where = [columns.index(b) for b, _ in found]
        marker = _MARKERS[i % len(_MARKERS)]
        axes.plot(where, [value(run) for _, run in found], marker=marker, label=f"γ = {gamma:g}")
    axes.set_xticks(range(len(columns)), [str(b) for b in columns])
    axes.set_xlabel("bits")
    _finish(axes, label)
    return figure


def _over_epochs(runs: Sequence[Run], bits: int, key: str, label: str, ax: Axes | None) -> Figure:
    figure, axes = _figure(ax)
    for run in sorted(runs, key=lambda run: run["point"]["gamma"]):
        point, history = run["point"], run["history"]
        baseline = point["gamma"] == 0 and point["bits"] == 32
        if not history or not (baseline or point["bits"] == bits):
            continue
        name = "baseline" if baseline else f"γ = {point['gamma']:g}, {point.get('keep', 'none')}"
        axes.plot([r["epoch"] for r in history], [100 * r[key] for r in history], marker=".", label=name)
    axes.set_xlabel("epoch")
    axes.set_title(f"{bits} bits", fontsize=10)
    _finish(axes, label)
    return figure


def _finish(axes: Axes, label: str) -> None:
    """Name, grid and legend; no share is above 100 %, where its axis ends."""
    axes.set_ylabel(label)
    if label.endswith("%"):
        axes.set_ylim(top=min(axes.get_ylim()[1], 100.0))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
