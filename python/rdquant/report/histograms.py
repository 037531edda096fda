"""Histograms of weights with the densities fitted to them, in light colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._files import replacing
from ..errors import InvalidArgument, needed
from ..stats import Distribution
from .drawing import STYLE, Drawing, canvas, metadata
from .rows import KEPT, View, family_name
from .svg import LIGHT

with needed():
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

__all__ = ["bars", "distribution", "distribution_pages", "fitted"]


def fitted(view: View, tensor: str, x: Any, most: int = 3) -> list[tuple[str, str, Any]]:
    """(label, colour's name, densities at `x`) of the `most` families of least KL fitted to `tensor`."""
    rows = view.fits[view.fits["tensor"] == tensor] if len(view.fits) else view.fits
    curves: list[tuple[str, str, Any]] = []
    for row in rows.sort_values("kl").to_dict("records") if len(rows) else []:
        if len(curves) == most:
            break
        try:
            values = Distribution(row["family"], row["parameters"]).pdf(x)
        except InvalidArgument:
            continue  # a family of another version, or one without width, whose scale is 0
        curves.append(
            (
                family_name(row["family"]),
                view.family_colours[row["family"]],
                np.nan_to_num(values, posinf=0.0),
            )
        )
    return curves


def bars(histogram: tuple[float, float, Any]) -> tuple[Any, Any]:
    """Edges (n+1) and densities (n) of a stored histogram, float64."""
    low, high, counts = histogram
    counts = np.asarray(counts, np.float64)
    edges = np.linspace(low, high, len(counts) + 1)
    return edges, counts / (counts.sum() * (edges[1] - edges[0]))


def distribution(view: View, log: bool) -> Drawing:
    """Histogram of all weights with the densities fitted to them."""
    kind = "log" if log else "linear"
    scale = "logarithmic" if log else "linear"
    drawing = canvas(f"histogram-{kind}", f"Histogram of all weights with fitted densities, {scale} scale")
    axes = drawing.figure.axes[0]
    with matplotlib.rc_context(STYLE):
        _histogram(axes, view, "", log)
        _tell_bins(drawing, view)
        axes.set_xlabel("weight")
        axes.set_ylabel(f"density ({scale})")
        handles, labels = axes.get_legend_handles_labels()
        drawing.figure.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=4)
    return drawing


def _tell_bins(drawing: Drawing, view: View) -> None:
    """Bars that are not seen over those of the histogram, which say what a bin holds."""
    edges, heights = bars(view.histograms[""])
    low, high = drawing.axes.get_ylim()
    for i, height in enumerate(heights):
        share, gid = 100 * height * (edges[i + 1] - edges[i]), f"bar-{i}"
        span = float(edges[i + 1] - edges[i])
        top = max(min(float(height), high) - low, 0.0)
        drawn = drawing.axes.bar(edges[i], top, span, bottom=low, align="edge", alpha=0.0, label="_")
        drawn.patches[0].set_gid(gid)
        drawing.tips[gid] = [
            f"{edges[i]:.3g} to {edges[i + 1]:.3g}: {share:.3g} % of the weights, density {height:.3g}"
        ]


def _histogram(axes: Any, view: View, tensor: str, log: bool) -> None:
    edges, heights = bars(view.histograms[tensor])
    seen = heights[heights > 0]
    floor = float(seen.min()) / 2 if log else 0.0
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylim(floor, float(seen.max()) * (2.0 if log else 1.25))
    axes.set_xlim(edges[0], edges[-1])
    look = {"color": LIGHT["bars"], "linewidth": 0, "label": "histogram"}
    axes.stairs(np.maximum(heights, floor), edges, baseline=floor, fill=True, **look)
    grid = np.linspace(edges[0], edges[-1], 401)
    for label, name, values in fitted(view, tensor, grid):
        axes.plot(grid, values, color=LIGHT[name], linewidth=1.5, label=label)


def distribution_pages(view: View, names: Sequence[str], folder: Path, per_page: int = 30) -> list[str]:
    """Small histograms of `names`, a few dozen to a page, as PNG and SVG in `folder`; the files' stems."""
    stems = []
    for start in range(0, len(names), per_page):
        part = names[start : start + per_page]
        rows = math.ceil(len(part) / 5)
        with matplotlib.rc_context({**STYLE, "font.size": 6.5, "axes.grid": False}):
            figure = Figure(figsize=(11, 1.6 * rows + 0.2))
            grid = figure.subplots(rows, 5, squeeze=False).ravel()
            edge = 0.25 / (1.6 * rows + 0.2)
            figure.subplots_adjust(0.03, edge, 0.99, 1 - edge, wspace=0.22, hspace=0.5)
            for axes, name in zip(grid, part, strict=False):
                _histogram(axes, view, name, log=True)
                axes.minorticks_off()
                axes.legend(
                    *(part[1:] for part in axes.get_legend_handles_labels()), fontsize=5, handlelength=1
                )
                axes.locator_params(axis="x", nbins=4)
                axes.set_title(name if len(name) <= 34 else f"…{name[-33:]}", fontsize=6.5, parse_math=False)
            for axes in grid[len(part) :]:
                axes.set_visible(False)
            stems.append(f"histograms-tensors-{start // per_page + 1}")
            for kind in ("png", "svg"):
                with replacing(folder / f"{stems[-1]}.{kind}", KEPT) as path:
                    figure.savefig(path, dpi=150, facecolor="white", metadata=metadata(kind))
    return stems
