"""Rate–distortion curves: what a quantizer costs against how well the network still does, in light colours."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import needed
from .drawing import STYLE, Drawing, canvas, free_place, path_points, text_points, text_size
from .rows import Metric, Series, View
from .svg import LIGHT, SERIES

with needed():
    import matplotlib
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

__all__ = ["MARKERS", "close_up", "rate_distortion"]

MARKERS = "osD^vPX<>h"
_DASHES: list[Any] = ["-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (7, 1.5, 1.5, 1.5))]
_MOST_LABELS = 20  # stopped points that get their number of images written beside them
_STEPS = (1, 2, 5, 3, 1.5, 4, 8, 6, 7, 2.5)  # of ticks, the rounder first
_APART = 0.085  # of an axis, between two ticks
_RATIOS = (10, 4, 2, 6, 3, 20, 8, 5, 16, 40, 12, 7, 32, 9, 64, 100, 15, 30)


def rate_distortion(view: View, metric: Metric, ax: Axes | None = None) -> Drawing:
    """Size against `metric`, one line per quantizer, the float model dashed, the tolerance as a band."""
    scale = view.scale
    title = f"{metric.label} against {scale.name}, one line per quantizer"
    drawing = canvas(f"rd-{metric.name}", title, ax)
    axes = drawing.axes
    sizes = scale.of(view.points[view.points["family"] != "float"])
    axes.set_xscale("log", base=2)
    axes.set_xlim(
        max(scale.least, float(sizes.min()) * 0.9), max(2.5 * scale.least, float(sizes.max()) * 1.06)
    )
    values = view.points[metric.name].dropna()
    if metric.share:
        # No share of images is above 100 %: the axis ends there.
        axes.set_ylim(0, min(100.0, 112 * max(float(values.max()), 1e-3)))
    else:
        _log_limits(axes, values)
    _curves(drawing, view, metric, whiskers=False)
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
    scale = view.scale
    drawing = canvas(f"close-{metric.name}", f"{metric.label} against {scale.name}, close to the tolerance")
    chosen = _chosen(view)
    rates, heights = scale.of(chosen), 100 * chosen[metric.name].astype(float)
    left, right = min(float(scale.of(near).min()), rates.min()), max(2 * rates.iloc[0], 1.05 * rates.max())
    margin = 0.05 * (high - low)
    drawing.axes.set_xscale("log", base=2)
    drawing.axes.set_xlim(0.85 * left, right)
    drawing.axes.set_ylim(min(low, heights.min() - margin), min(100.0, max(high, heights.max() + margin)))
    _curves(drawing, view, metric, whiskers=True)
    return drawing


def _log_limits(axes: Axes, values: Any) -> None:
    positive = values[values > 0]
    if len(positive):
        axes.set_yscale("log")
        axes.set_ylim(max(float(positive.min()) / 1.6, 1e-6), float(positive.max()) * 1.6)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _curves(drawing: Drawing, view: View, metric: Metric, whiskers: bool) -> None:
    with matplotlib.rc_context(STYLE):
        axes = drawing.axes
        axes.set_xlabel(view.scale.label)
        axes.set_ylabel(metric.axis)
        _round_ticks(axes)
        _reference(axes, view, metric)
        front = _front(axes, view, metric)
        few = int((view.points["state"] == "stopped").sum()) <= _MOST_LABELS
        taken = [line for series in view.series for line in _line(drawing, view, series, metric, few)]
        _best(axes, view, metric, [*taken, front], whiskers)
        _name_float(axes, view, metric, [*taken, front])
        _ratio_axis(axes, view)
        handles, labels = axes.get_legend_handles_labels()
        if drawing.owns_figure:
            drawing.figure.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=3)
        else:
            axes.legend(handles, labels, fontsize=7)


def _round_ticks(axes: Axes) -> None:
    low, high = axes.get_xlim()
    places: list[float] = []
    for step in _STEPS:
        for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
            value = step * 10.0**power
            x = _across(axes, value)
            if 0 <= x <= 1 and all(abs(x - _across(axes, other)) > _APART for other in places):
                places.append(value)
    axes.xaxis.set_major_locator(FixedLocator(sorted(places)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _across(axes: Axes, x: float) -> float:
    """Place of `x` along the axis, 0..1."""
    into = axes.transData + axes.transAxes.inverted()
    return float(into.transform((x, axes.get_ylim()[0]))[0])


def _reference(axes: Axes, view: View, metric: Metric) -> None:
    """The float model's line, and the band of what is tolerated."""
    base = (view.reference or {}).get(metric.name)
    if base is None or not metric.share:
        return
    height = 100 * base
    band = (height, height - 100 * metric.sign * view.tolerance)
    axes.axhspan(*band, color=LIGHT["band"], linewidth=0, zorder=0.5, label="tolerance")
    axes.axhline(height, color=LIGHT["ink"], linewidth=1.2, linestyle=(0, (4, 2)), label="float32")


def _front(axes: Axes, view: View, metric: Metric) -> NDArray[np.float64]:
    """The Pareto front of all finished points: the best that can be had up to a size."""
    rows = view.points[(view.points["family"] != "float") & (view.points["state"] == "done")]
    rows = rows[rows[metric.name].notna()]
    order = np.lexsort((-metric.sign * rows[metric.name], view.scale.of(rows)))
    x, y = view.scale.of(rows).to_numpy()[order], metric.shown(rows).to_numpy()[order]
    best = np.maximum.accumulate(metric.sign * y)
    kept = np.concatenate([[True], best[1:] > best[:-1]]) if len(y) else np.zeros(0, bool)
    if not kept.any():
        return np.empty((0, 2))
    x, y = np.append(x[kept], axes.get_xlim()[1]), np.append(y[kept], y[kept][-1])
    look = {"color": LIGHT["bars"], "linewidth": 4.0, "solid_capstyle": "butt", "zorder": 1.2}
    axes.step(x, y, where="post", label="Pareto front", **look)
    corners = np.repeat(np.arange(len(x)), 2)
    return path_points(axes, x[corners[1:]], y[corners[:-1]])


def _line(
    drawing: Drawing, view: View, series: Series, metric: Metric, label_images: bool
) -> list[NDArray[np.float64]]:
    """One series; what it covers, in pixels."""
    axes, scale = drawing.axes, view.scale
    paint, marker = LIGHT[SERIES[series.slot % len(SERIES)]], MARKERS[series.slot % len(MARKERS)]
    dash = _DASHES[series.slot // len(SERIES) % len(_DASHES)]
    rows = series.points[series.points[metric.name].notna()]
    done, stopped = rows[rows["state"] == "done"], rows[rows["state"] == "stopped"]
    taken = []
    if series.joined:
        path = {"color": paint, "linestyle": dash, "linewidth": 1.5, "gid": f"series-{series.slot}"}
        axes.plot(scale.of(done), metric.shown(done), **path)
        taken.append(path_points(axes, scale.of(done), metric.shown(done)))
    for number, (part, face) in enumerate([(done, paint), (stopped, LIGHT["surface"])]):
        part = _inside(axes, view, part, metric)
        gid = f"points-{series.slot}-{number}"
        drawing.tips[gid] = [_tip(view, row, metric) for row in part.to_dict("records")]
        look: dict[str, Any] = {
            "markersize": 4.6,
            "markeredgewidth": 1.1,
            "markeredgecolor": paint,
            "markerfacecolor": face,
        }
        x, y = scale.of(part), metric.shown(part)
        axes.plot(x, y, linestyle="", marker=marker, gid=gid, clip_on=False, zorder=3, **look)
        if len(part):
            taken.append(axes.transData.transform(np.column_stack([x, y])))
        if face != paint and label_images:
            for place in zip(x, y, part["images"], strict=True):
                _images(axes, series, *place)
    linestyle = dash if series.joined else ""
    axes.plot([], [], color=paint, linestyle=linestyle, marker=marker, markersize=4.6, label=series.label)
    return taken


def _inside(axes: Axes, view: View, rows: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """Those of the points that lie within the axes."""
    x, y = view.scale.of(rows), metric.shown(rows)
    kept: pd.DataFrame = rows[x.between(*axes.get_xlim()) & y.between(*axes.get_ylim())]
    return kept


def _images(axes: Axes, series: Series, x: float, y: float, images: int) -> None:
    place: dict[str, Any] = {"xytext": (0, -9), "textcoords": "offset points", "ha": "center", "fontsize": 6}
    axes.annotate(f"{int(images)}", (x, y), color=LIGHT["muted"], gid=f"series-{series.slot}", **place)


def _tip(view: View, row: dict[Any, Any], metric: Metric) -> str:
    bits = "" if row["bits"] is None or math.isnan(row["bits"]) else f", {int(row['bits'])} bits"
    state = f", stopped after {int(row['images'])} images" if row["state"] == "stopped" else ""
    interval = f" ({metric.interval_text(row)})" if metric.counted else ""
    return (
        f"{row['quantizer']}{bits}: {view.size_text(row)}, {metric.label} {metric.text(row[metric.name])}"
        f"{interval}{state}"
    )


def _best(axes: Axes, view: View, metric: Metric, taken: list[NDArray[np.float64]], whiskers: bool) -> None:
    """Rings around the best choices, the first with its figures."""
    if not len(view.best) or metric.name not in view.best:
        return
    rows = _inside(axes, view, _chosen(view), metric)
    x, y = view.scale.of(rows), metric.shown(rows)
    ring: dict[str, Any] = {"marker": "o", "markersize": 9, "markerfacecolor": "none", "markeredgewidth": 0.9}
    axes.plot(
        x,
        y,
        markeredgecolor=LIGHT["ink"],
        label="best choices",
        linestyle="",
        clip_on=False,
        zorder=3,
        **ring,
    )
    if whiskers and metric.counted and len(rows):
        ends = 100 * np.array([metric.interval(row) for row in rows.to_dict("records")])
        axes.vlines(x, *ends.T, color=LIGHT["ink"], linewidth=0.8, zorder=2.5, label="95 % intervals")
        taken = [*taken, *(path_points(axes, [a, a], pair) for a, pair in zip(x, ends, strict=True))]
    _name_first(axes, view, metric, taken)


def _name_first(axes: Axes, view: View, metric: Metric, taken: list[NDArray[np.float64]]) -> None:
    first = view.best.iloc[:1]
    if not len(_inside(axes, view, first, metric)):
        return
    row = dict(first.iloc[0])
    place = (float(view.scale.of(first).iloc[0]), float(metric.shown(first).iloc[0]))
    base = (view.reference or {}).get(metric.name)
    if base is not None and metric.share:
        taken = [*taken, path_points(axes, axes.get_xlim(), (100 * base, 100 * base))]
    bits = "" if math.isnan(row["bits"]) else f", {int(row['bits'])} bits"
    text = "\n".join([f"{row['quantizer']}{bits}", *view.size_text(row).split(", ")[:2]])
    look: dict[str, Any] = {"fontsize": 8.5, "fontweight": "bold", "linespacing": 1.35}
    centre = free_place(axes, text_size(axes, text, **look), place, taken)
    arrow = {"arrowstyle": "-", "color": LIGHT["ink"], "linewidth": 0.9, "shrinkB": 5}
    middle: dict[str, Any] = {"textcoords": "axes fraction", "ha": "center", "va": "center"}
    box = {"facecolor": LIGHT["surface"], "edgecolor": "none", "alpha": 0.85, "pad": 1.5}
    axes.annotate(text, place, centre, arrowprops=arrow, bbox=box, zorder=4, **middle, **look)


def _name_float(axes: Axes, view: View, metric: Metric, taken: list[NDArray[np.float64]]) -> None:
    """What the dashed line is, beside its left end where there is room."""
    base = (view.reference or {}).get(metric.name)
    if base is None or not metric.share:
        return
    left, right = axes.get_xlim()
    line = path_points(axes, (left, right), (100 * base, 100 * base))
    others = [text_points(axes, note) for note in axes.texts]
    text = f"float32 {metric.text(base)}"
    look: dict[str, Any] = {"fontsize": 8, "color": LIGHT["ink"]}
    centre = free_place(axes, text_size(axes, text, **look), (left, 100 * base), [*taken, line, *others])
    axes.text(*centre, text, transform=axes.transAxes, ha="center", va="center", zorder=4, **look)


def _chosen(view: View) -> pd.DataFrame:
    """The best choice of every line: of the formats of minifloats, which form one, the smallest."""
    small = view.best["family"] == "minifloat"
    rows: pd.DataFrame = view.best[~small | (small & ~small.duplicated())]
    return rows


def _ratio_axis(axes: Axes, view: View) -> None:
    """Compression ratio along the top, at round values that have room."""
    kept: dict[int, float] = {}
    for ratio in _RATIOS:
        place = _across(axes, view.scale.whole / ratio)
        if 0 <= place <= 1 and all(abs(place - other) > _APART for other in kept.values()):
            kept[ratio] = place
    twin = axes.twiny()
    twin.set_xscale("log", base=2)
    twin.set_xlim(axes.get_xlim())
    twin.xaxis.set_minor_locator(NullLocator())
    twin.set_xticks([view.scale.whole / ratio for ratio in kept], [f"{ratio}×" for ratio in kept])
    twin.tick_params(length=3, labelsize=8)
    twin.set_xlabel(view.scale.ratio_label, fontsize=8, color=LIGHT["muted"])
    twin.grid(False)
