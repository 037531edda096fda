"""The figures of a profile: bars of latency, memory and steps, accuracy against latency. One colour a model or operator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from ..errors import needed
from .drawing import STYLE, Drawing, canvas, free_place, path_points, text_size
from .rows import Metric, metric_of
from .svg import LIGHT, SERIES
from .tables import rounded

with needed():
    import matplotlib
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.ticker import MaxNLocator

__all__ = [
    "ProfileLike",
    "accuracy",
    "condition",
    "first_rows",
    "latencies",
    "latency",
    "memory",
    "model_colours",
    "operations",
    "scored",
]

_MOST_OPERATIONS = 8  # kinds of steps that a plot shows; all others are one
_LEAST_OPERATIONS = 3  # however many models there are
_TICK = 12.0  # pixels between a label and its bar
_KEYS = ("backend", "threads", "batch")
Row = Mapping[Any, Any]


class ProfileLike(Protocol):
    """What the report reads of a profile; `rdquant.Profile` is one."""

    @property
    def models(self) -> list[str]: ...
    @property
    def rows(self) -> list[dict[str, Any]]: ...
    @property
    def steps(self) -> list[dict[str, Any]]: ...
    @property
    def runs(self) -> list[dict[str, Any]]: ...
    @property
    def notes(self) -> list[str]: ...
    def to_pandas(self) -> pd.DataFrame: ...
    def operations(self) -> pd.DataFrame: ...


def condition(row: Row) -> str:
    """What a row was measured under, in words."""
    threads = f"{row['threads']} thread{'s' if row['threads'] > 1 else ''}"
    backend = "" if row["backend"] == "auto" else f", {row['backend']}"
    return f"{threads}, batch {row['batch']}{backend}"


def first_rows(table: pd.DataFrame) -> list[dict[Any, Any]]:
    """The rows of all models under the first one's first conditions."""
    first = table.iloc[0]
    same = (table[list(_KEYS)] == first[list(_KEYS)]).all(axis=1)
    rows: list[dict[Any, Any]] = table[same].to_dict("records")
    return rows


def scored(table: pd.DataFrame) -> Metric | None:
    """The accuracy that the rows have, if any."""
    found = [name for name in ("top1", "map50") if name in table and table[name].notna().any()]
    return metric_of(found[0]) if found else None


def model_colours(models: Sequence[str]) -> dict[str, str]:
    """Name of a colour for each model. Where there are many they come again, for operators keep some of their own."""
    most = len(SERIES) - _LEAST_OPERATIONS
    return {model: SERIES[place % most] for place, model in enumerate(models)}


def latency(profile: ProfileLike, ax: Axes | None = None) -> Drawing:
    """Latency under the first condition's batch."""
    table = profile.to_pandas()
    return _latency(profile, table, table.iloc[0]["batch"], ax)


def latencies(profile: ProfileLike, table: pd.DataFrame) -> Iterator[Drawing]:
    """A drawing per batch."""
    for batch in dict.fromkeys(table["batch"]):
        yield _latency(profile, table, batch)


def _latency(profile: ProfileLike, table: pd.DataFrame, batch: int, ax: Axes | None = None) -> Drawing:
    """Medians as bars, lines up to p90 (thick) and p99."""
    rows = table[(table["batch"] == batch) & table["p50_ms"].notna()].to_dict("records")
    title = f"Milliseconds of a run, batch {batch}: median, 90 % and 99 % of the runs"
    with matplotlib.rc_context(STYLE):
        drawing = _bars(f"latency-batch-{batch}", title, [_label(row) for row in rows], "milliseconds", ax)
        edge = 1.3 * max((row["p90_ms"] for row in rows), default=1.0)
        colours = model_colours(profile.models)
        for place, row in enumerate(rows):
            tip = f"{row['model']}, {condition(row)}: median {rounded(row['p50_ms'])} ms, 90 % of the runs within "
            tip += f"{rounded(row['p90_ms'])} ms, 99 % within {rounded(row['p99_ms'])} ms"
            _bar(drawing, place, place, row["p50_ms"], 0.0, colours[row["model"]], tip)
            for reach, width in (("p90_ms", 2.5), ("p99_ms", 0.9)):
                end = min(row[reach], edge)
                drawing.axes.plot([row["p50_ms"], end], [place, place], color=LIGHT["ink"], linewidth=width)
            if row["p99_ms"] > edge:  # a few slow runs must not make all bars short
                drawing.axes.text(
                    edge, place - 0.12, f"to {rounded(row['p99_ms'])}", ha="right", fontsize=7.5
                )
        drawing.axes.set_xlim(0, edge)
    return drawing


def memory(profile: ProfileLike, table: pd.DataFrame) -> Drawing:
    """Growth of memory, a bar for each row."""
    rows = table[table["rss_growth_mb"].notna()].to_dict("records")
    labels = [f"{_label(row)}, batch {row['batch']}" for row in rows]
    with matplotlib.rc_context(STYLE):
        title = "Growth of resident memory from after the import to after ten runs, 10⁶ bytes"
        drawing = _bars("memory", title, labels, "MB")
        colours = model_colours(profile.models)
        for place, row in enumerate(rows):
            tip = f"{row['model']}, {condition(row)}: {rounded(row['rss_growth_mb'])} MB"
            _bar(drawing, place, place, row["rss_growth_mb"], 0.0, colours[row["model"]], tip)
    return drawing


def operations(profile: ProfileLike, table: pd.DataFrame) -> list[Drawing]:
    """Stacked times of the first model's first condition, a bar per model."""
    if not len(table):
        return []
    part = pd.DataFrame(first_rows(table))
    models = list(dict.fromkeys(part["model"]))
    kinds = list(part.groupby("op")["mean_us"].sum().sort_values(ascending=False).index)
    taken = set(model_colours(profile.models).values())
    free = [name for name in SERIES if name not in taken][:_MOST_OPERATIONS]
    with matplotlib.rc_context(STYLE):
        title = f"Microseconds of a run by operation, {condition(part.iloc[0].to_dict())}"
        drawing = _bars("operations", title, [_short(model) for model in models], "microseconds")
        ends = dict.fromkeys(models, 0.0)
        for i, kind in enumerate(kinds):
            label = kind if i < len(free) else "others" if i == len(free) else None
            colour = free[i] if i < len(free) else "bars"
            for row in part[part["op"] == kind].to_dict("records"):
                tip = f"{row['model']}, {kind}: {rounded(row['mean_us'])} µs, {100 * row['share']:.0f} % of the run"
                place, start = models.index(row["model"]), ends[row["model"]]
                _bar(drawing, len(drawing.tips), place, row["mean_us"], start, colour, tip, label)
                ends[row["model"]] += row["mean_us"]
                label = None
        handles, labels = drawing.axes.get_legend_handles_labels()
        drawing.axes.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, -0.35), ncols=3)
    return [drawing]


def accuracy(profile: ProfileLike, table: pd.DataFrame) -> list[Drawing]:
    """Accuracy against latency under the first conditions, with 95 % intervals where it is a share of images."""
    metric = scored(table)
    if metric is None:
        return []
    rows = [row for row in first_rows(table) if pd.notna(row.get(metric.name)) and pd.notna(row["p50_ms"])]
    if not rows:
        return []
    ends = [metric.interval(row) or (row[metric.name], row[metric.name]) for row in rows]
    low, high = 100 * min(end[0] for end in ends), 100 * max(end[1] for end in ends)
    margin = max(0.15 * (high - low), 0.5)
    with matplotlib.rc_context(STYLE):
        title = f"{metric.label} against the milliseconds of a run, {condition(rows[0])}"
        drawing = canvas("accuracy", title + (", with 95 % intervals" if metric.counted else ""))
        axes = drawing.axes
        axes.set_xlim(0, 1.25 * max(row["p50_ms"] for row in rows))
        axes.set_ylim(max(0.0, low - margin), min(100.0, high + margin))
        axes.set_xlabel("milliseconds, median")
        axes.set_ylabel(metric.axis)
        taken = []
        for row, end in zip(rows, ends, strict=True):
            x, y = [row["p50_ms"]] * 2, [100 * share for share in end]
            axes.vlines(x[0], *y, color=LIGHT["muted"], linewidth=1, zorder=2)
            taken.append(path_points(axes, x, y))
        for place, row in enumerate(rows):
            _point(drawing, place, row, metric, model_colours(profile.models)[row["model"]], taken)
    return [drawing]


def _point(drawing: Drawing, place: int, row: Row, metric: Metric, colour: str, taken: list[Any]) -> None:
    """A model's mark and name; what they cover joins `taken`."""
    axes, x, y = drawing.axes, row["p50_ms"], 100 * row[metric.name]
    gid = f"points-{place}"
    said = f" (95 % interval {metric.interval_text(row)})" if metric.interval(row) else ""
    drawing.tips[gid] = [
        f"{row['model']}: {metric.label} {metric.text(row[metric.name])}{said}, {rounded(x)} ms"
    ]
    axes.plot([x], [y], "o", color=LIGHT[colour], gid=gid, markersize=7, clip_on=False, zorder=3)
    look: dict[str, Any] = {
        "fontsize": 8.5,
        "color": LIGHT[colour],
        "fontweight": "bold",
        "parse_math": False,
    }
    text = _short(row["model"])
    width, height = text_size(axes, text, **look)
    centre = free_place(axes, (width, height), (x, y), taken)
    axes.text(*centre, text, transform=axes.transAxes, ha="center", va="center", zorder=4, **look)
    middle = axes.transAxes.transform(centre)
    box = [
        [middle[0] + dx * width / 2, middle[1] + dy * height / 2] for dx in (-1, 0, 1) for dy in (-1, 0, 1)
    ]
    taken.append(pd.DataFrame(box).to_numpy())


def _bars(name: str, title: str, labels: Sequence[str], axis: str, ax: Axes | None = None) -> Drawing:
    """A drawing with a place for a bar per label, the first on top."""
    drawing = canvas(name, title, ax)
    axes = drawing.axes
    if drawing.owns_figure:
        drawing.figure.set_size_inches(5.2, 0.9 + 0.4 * len(labels))
        widest = max(
            (text_size(axes, label, fontsize=9, parse_math=False)[0] for label in labels), default=0.0
        )
        left = (widest + _TICK) / (drawing.figure.get_figwidth() * drawing.figure.dpi)
        drawing.figure.subplots_adjust(left=left, right=0.98)
    axes.set_yticks(range(len(labels)), labels, parse_math=False)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlabel(axis)
    axes.grid(False, axis="y")
    return drawing


def _bar(
    drawing: Drawing,
    number: int,
    place: int,
    length: float,
    start: float,
    colour: str,
    tip: str,
    label: str | None = None,
) -> None:
    """A bar at `place` that says `tip`."""
    bars = drawing.axes.barh(place, length, left=start, height=0.6, color=LIGHT[colour], label=label)
    gid = f"bar-{number}"
    bars.patches[0].set_gid(gid)
    drawing.tips[gid] = [tip]


def _label(row: Row) -> str:
    backend = "" if row["backend"] == "auto" else f", {row['backend']}"
    return f"{_short(row['model'])}\n{row['threads']} thr.{backend}"


def _short(label: str, most: int = 26) -> str:
    return label if len(label) <= most else f"…{label[1 - most :]}"
