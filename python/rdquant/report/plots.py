"""The report's figures: rate–distortion curves and histograms, drawn with Matplotlib in light colours."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from .._files import replacing
from ..errors import InvalidArgument
from ..stats import Distribution
from .rows import KEPT, Metric, Series, View, family_name
from .svg import LIGHT, SERIES, inline

__all__ = ["MARKERS", "STYLE", "Drawing", "close_up", "distribution", "distribution_pages", "rate_distortion"]

MARKERS = "osD^vPX<>h"
_DASHES: list[Any] = ["-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (7, 1.5, 1.5, 1.5))]
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "rdquant",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.edgecolor": LIGHT["muted"],
    "axes.labelcolor": LIGHT["ink"],
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LIGHT["grid"],
    "grid.linewidth": 0.8,
    "text.color": LIGHT["ink"],
    "xtick.color": LIGHT["muted"],
    "ytick.color": LIGHT["muted"],
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "legend.frameon": False,
    "legend.fontsize": 8,
}
_MOST_LABELS = 20  # stopped points that get their number of images written beside them
_SIZE = (5.2, 3.9)  # inches: text stays readable on a page 360 px wide


@dataclass
class Drawing:
    """A figure with its name (file name and id), its title in words and the tooltips of its markers."""

    name: str
    title: str
    figure: Figure
    tips: dict[str, list[str]] = field(default_factory=dict)

    def save(self, folder: Path) -> str:
        """Write NAME.png and NAME.svg into `folder`; return the markup for the page, without the legend."""
        with matplotlib.rc_context(STYLE):
            whole: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.06}
            for kind in ("png", "svg"):
                look: dict[str, Any] = {"dpi": 200, "facecolor": "white", "metadata": _metadata(kind)}
                with replacing(folder / f"{self.name}.{kind}", KEPT) as path:
                    self.figure.savefig(path, **look, **whole)
            for legend in [*self.figure.legends]:
                legend.remove()
            text = io.StringIO()
            self.figure.savefig(text, format="svg", transparent=True, metadata=_metadata("svg"), **whole)
        return inline(text.getvalue(), self.name, self.title, self.tips)


def _metadata(kind: str) -> dict[str, Any]:
    return {"Date": None} if kind == "svg" else {}


def colour(series: Series) -> str:
    """Light colour of a series; the palette is used again, with another dash, after its last."""
    return LIGHT[SERIES[series.slot % len(SERIES)]]


def rate_distortion(view: View, metric: Metric) -> Drawing:
    """Entropy against `metric`, one line per quantizer, the float model dashed, the tolerance as a band."""
    title = f"{metric.label} against entropy, one line per quantizer"
    drawing = _canvas(f"rd-{metric.name}", title)
    axes = drawing.figure.axes[0]
    rates = view.points.loc[view.points["family"] != "float", "entropy"]
    axes.set_xscale("log", base=2)
    axes.set_xlim(max(0.4, float(rates.min()) * 0.9), max(1.0, float(rates.max()) * 1.06))
    ticks = [tick for tick in (0.5, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32) if _within(tick, axes.get_xlim())]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    values = view.points[metric.name].dropna()
    if metric.share:
        top = max(float(values.max()), 1e-3)
        axes.set_ylim(0, 100 * top * 1.12)
    else:
        _log_limits(axes, values)
    _curves(drawing, view, metric)
    return drawing


def close_up(view: View, metric: Metric) -> Drawing | None:
    """The neighbourhood of the tolerance in `metric` with all rings; None without a float model or points there."""
    base = (view.reference or {}).get(metric.name)
    if base is None or not metric.share or not len(view.best):
        return None
    worse, better = base - metric.sign * 5 * view.tolerance, base + metric.sign * 2.5 * view.tolerance
    low, high = sorted((100 * worse, 100 * better))
    rows = view.points[view.points["family"] != "float"]
    near = rows[(100 * rows[metric.name]).between(low, high)]
    if not len(near):
        return None
    drawing = _canvas(f"close-{metric.name}", f"{metric.label} against entropy, close to the tolerance")
    axes = drawing.figure.axes[0]
    chosen = _chosen(view)
    rates, heights = chosen["entropy"].astype(float), 100 * chosen[metric.name].astype(float)
    left, right = min(float(near["entropy"].min()), rates.min()), max(2 * rates.iloc[0], 1.05 * rates.max())
    margin = 0.05 * (high - low)
    axes.set_xlim(0.85 * left, right)
    axes.set_ylim(min(low, heights.min() - margin), max(high, heights.max() + margin))
    _curves(drawing, view, metric)
    return drawing


def _canvas(name: str, title: str) -> Drawing:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=_SIZE)
        figure.subplots()
    return Drawing(name, title, figure)


def _log_limits(axes: Any, values: Any) -> None:
    positive = values[values > 0]
    if len(positive):
        axes.set_yscale("log")
        axes.set_ylim(max(float(positive.min()) / 1.6, 1e-6), float(positive.max()) * 1.6)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _curves(drawing: Drawing, view: View, metric: Metric) -> None:
    with matplotlib.rc_context(STYLE):
        axes = drawing.figure.axes[0]
        axes.set_xlabel("entropy (bits per weight)")
        axes.set_ylabel(metric.axis)
        scale = 100 if metric.share else 1
        _reference(axes, view, metric, scale)
        few = int((view.points["state"] == "stopped").sum()) <= _MOST_LABELS
        for series in view.series:
            _line(drawing, axes, series, metric, scale, few)
        _best(axes, view, metric, scale)
        _ratio_axis(axes)
        handles, labels = axes.get_legend_handles_labels()
        drawing.figure.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=3)


def _reference(axes: Any, view: View, metric: Metric, scale: int) -> None:
    base = (view.reference or {}).get(metric.name)
    if base is None or not metric.share:
        return
    band = (scale * base, scale * (base - metric.sign * view.tolerance))
    axes.axhspan(*band, color=LIGHT["band"], linewidth=0, zorder=0.5, label="tolerance")
    axes.axhline(scale * base, color=LIGHT["ink"], linewidth=1.2, linestyle=(0, (4, 2)), label="float32")
    axes.annotate(
        f"float32 {metric.text(base)}",
        (0, scale * base),
        xycoords=("axes fraction", "data"),
        xytext=(4, 3),
        textcoords="offset points",
        fontsize=8,
        color=LIGHT["ink"],
    )


def _line(
    drawing: Drawing, axes: Any, series: Series, metric: Metric, scale: int, label_images: bool
) -> None:
    paint, marker = colour(series), MARKERS[series.slot % len(MARKERS)]
    dash = _DASHES[series.slot // len(SERIES) % len(_DASHES)]
    rows = series.points[series.points[metric.name].notna()]
    done, stopped = rows[rows["state"] == "done"], rows[rows["state"] == "stopped"]
    if series.joined:
        path = {"color": paint, "linestyle": dash, "linewidth": 1.5, "gid": f"series-{series.slot}"}
        axes.plot(done["entropy"], scale * done[metric.name], **path)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    for number, (part, face) in enumerate([(done, paint), (stopped, LIGHT["surface"])]):
        y = scale * part[metric.name]
        part = part[part["entropy"].between(left, right) & y.between(bottom, top)]
        gid = f"points-{series.slot}-{number}"
        drawing.tips[gid] = [_tip(row, metric) for row in part.to_dict("records")]
        look = {"markersize": 4.6, "markeredgewidth": 1.1, "markeredgecolor": paint, "markerfacecolor": face}
        axes.plot(part["entropy"], scale * part[metric.name], linestyle="", marker=marker, gid=gid, **look)
        if face != paint and label_images:
            for x, height, images in zip(
                part["entropy"], scale * part[metric.name], part["images"], strict=True
            ):
                place = {"xytext": (0, -9), "textcoords": "offset points", "ha": "center", "fontsize": 6}
                axes.annotate(
                    f"{int(images)}", (x, height), color=LIGHT["muted"], gid=f"series-{series.slot}", **place
                )
    linestyle = dash if series.joined else ""
    axes.plot([], [], color=paint, linestyle=linestyle, marker=marker, markersize=4.6, label=series.label)


def _tip(row: dict[str, Any], metric: Metric) -> str:
    bits = "" if row["bits"] is None or math.isnan(row["bits"]) else f", {int(row['bits'])} bits"
    state = f", stopped after {int(row['images'])} images" if row["state"] == "stopped" else ""
    return (
        f"{row['quantizer']}{bits}: {row['entropy']:.3f} bits per weight, {row['cr']:.2f} × smaller, "
        f"{metric.label} {metric.text(row[metric.name])}{state}"
    )


def _best(axes: Any, view: View, metric: Metric, scale: int) -> None:
    if not len(view.best) or metric.name not in view.best:
        return
    horizontal, vertical = axes.get_xlim(), axes.get_ylim()
    rows = _chosen(view)
    rows = rows[rows["entropy"].between(*horizontal) & (scale * rows[metric.name]).between(*vertical)]
    ring = {
        "marker": "o",
        "markersize": 9,
        "markerfacecolor": "none",
        "markeredgewidth": 0.9,
        "linestyle": "",
    }
    axes.plot(
        rows["entropy"], scale * rows[metric.name], markeredgecolor=LIGHT["ink"], label="best choices", **ring
    )
    first = view.best.iloc[0]
    place = (float(first["entropy"]), float(scale * first[metric.name]))
    if not (_within(place[0], horizontal) and _within(place[1], vertical)):
        return
    bits = "" if math.isnan(first["bits"]) else f", {int(first['bits'])} bits"
    across = axes.transAxes.inverted().transform(axes.transData.transform(place))[0]
    aside = {"xytext": (0.05, 0.07), "textcoords": "axes fraction", "ha": "left"}  # below a falling curve
    if metric.share:
        aside = {"xytext": (20, -74), "textcoords": "offset points", "ha": "left"}
        if across > 0.58:
            aside = {"xytext": (0.99, 0.07), "textcoords": "axes fraction", "ha": "right"}
    side = (0, 0.5) if metric.share else (1, 0.5)
    arrow = {"arrowstyle": "-", "color": LIGHT["ink"], "linewidth": 0.9, "shrinkB": 5, "relpos": side}
    axes.annotate(
        f"{first['quantizer']}{bits}\n{first['entropy']:.2f} bits per weight\n{first['cr']:.1f} × smaller",
        place,
        fontsize=8.5,
        fontweight="bold",
        linespacing=1.35,
        arrowprops=arrow,
        **aside,
    )


def _chosen(view: View) -> pd.DataFrame:
    """The best choice of every line: of the formats of minifloats, which form one, the smallest."""
    small = view.best["family"] == "minifloat"
    rows: pd.DataFrame = view.best[~small | (small & ~small.duplicated())]
    return rows


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def _ratio_axis(axes: Any) -> None:
    """Compression ratio 32/H (3.1) along the top, at round values that have room."""
    into = axes.transData + axes.transAxes.inverted()
    kept: dict[int, float] = {}
    for ratio in (10, 4, 2, 6, 3, 20, 8, 5, 16, 40, 12, 7, 32, 9, 64):
        place = float(into.transform((32 / ratio, axes.get_ylim()[0]))[0])
        if 0 <= place <= 1 and all(abs(place - other) > 0.075 for other in kept.values()):
            kept[ratio] = place
    twin = axes.twiny()
    twin.set_xscale(axes.get_xscale())
    twin.set_xlim(axes.get_xlim())
    twin.minorticks_off()
    twin.set_xticks([32 / ratio for ratio in kept], [f"{ratio}×" for ratio in kept])
    twin.tick_params(length=3, labelsize=8)
    twin.set_xlabel("compression ratio", fontsize=8, color=LIGHT["muted"])
    twin.grid(False)


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
        curves.append((family_name(row["family"]), SERIES[len(curves)], np.nan_to_num(values, posinf=0.0)))
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
    drawing = _canvas(f"histogram-{kind}", f"Histogram of all weights with fitted densities, {scale} scale")
    axes = drawing.figure.axes[0]
    with matplotlib.rc_context(STYLE):
        _histogram(axes, view, "", log)
        axes.set_xlabel("weight")
        axes.set_ylabel(f"density ({scale})")
        handles, labels = axes.get_legend_handles_labels()
        drawing.figure.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=4)
    return drawing


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
                    figure.savefig(path, dpi=150, facecolor="white", metadata=_metadata(kind))
    return stems
