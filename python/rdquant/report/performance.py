"""The report of a profile: latency, memory and steps of models side by side, from plain rows. It computes nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Protocol

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from .. import __version__
from .._files import replacing
from .drawing import STYLE, Drawing, canvas
from .page import document, figure, links, notes, origin, section, tiles
from .svg import LIGHT, SERIES
from .tables import Cell, html_table, number

__all__ = ["ProfileLike", "latency_figure", "performance_rows", "write_performance"]

_KEPT = "the results in profile.json are kept"
_MOST_OPERATIONS = 8  # kinds of steps that a plot tells apart; the others are one
Column = tuple[str, str, str]  # heading, column of the rows, format
_LATENCY: Sequence[Column] = (
    ("p50 ms", "p50_ms", ".4g"),
    ("p90 ms", "p90_ms", ".4g"),
    ("p99 ms", "p99_ms", ".4g"),
    ("p50 ratio", "latency_ratio", ".3f"),
    ("rows/s", "throughput", ",.0f"),
    ("rows/s ratio", "throughput_ratio", ".3f"),
    ("runs", "runs", ".0f"),
)
_PROCESS: Sequence[Column] = (
    ("load ms", "load_ms", ".4g"),
    ("first run ms", "first_run_ms", ".4g"),
    ("start ratio", "first_ratio", ".3f"),
    ("CPU %", "cpu_percent", ".0f"),
    ("growth MB", "rss_growth_mb", ".1f"),
    ("growth ratio", "growth_ratio", ".3f"),
    ("mean MB", "rss_mean_mb", ".1f"),
    ("peak MB", "rss_peak_mb", ".1f"),
    ("joules/run", "joules_per_run", ".3g"),
    ("°C after", "celsius_after", ".0f"),
    ("throttled", "throttled", ".0f"),
)
_OUTPUTS: Sequence[Column] = (
    ("file bytes", "file_bytes", ",.0f"),
    ("largest difference", "max_difference", ".2e"),
    ("SQNR dB", "sqnr_db", ".1f"),
    ("same first class", "agreement", ".3f"),
)


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


def write_performance(profile: ProfileLike, folder: str | os.PathLike[str]) -> Path:
    """Write `report.html` into `folder`, beside it plots as PNG and SVG and tables as CSV; its path.

    Every file is written whole or not at all. Raises RdquantError, naming the file, where one cannot be.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    table, operations = profile.to_pandas(), profile.operations()
    frames = {"profile": table, "operations": operations, "steps": pd.DataFrame(profile.steps)}
    for stem, frame in frames.items():
        with replacing(target / f"{stem}.csv", _KEPT) as path:
            frame.to_csv(path, index=False)
    drawings = [*_latencies(profile, table), _memory(profile, table), *_operations(profile, operations)]
    pictures = {drawing.name: figure(drawing, drawing.save(target)) for drawing in drawings}
    path = target / "report.html"
    with replacing(path, _KEPT) as partial:
        partial.write_text(_page(profile, table, operations, pictures, list(frames)), encoding="utf-8")
    return path


def latency_figure(profile: ProfileLike) -> Figure:
    """Latency under the first condition's batch, as a Matplotlib figure."""
    return _latencies(profile, profile.to_pandas())[0].figure


def performance_rows(profile: ProfileLike) -> tuple[list[str], list[list[str]]]:
    """Latency and memory as text, for a terminal: head and rows."""
    columns = [*_LATENCY[:5], *_PROCESS[:3], _PROCESS[4], _PROCESS[5], _PROCESS[7], *_OUTPUTS[2:]]
    head, rows = _cells(profile.to_pandas(), columns)
    return head, [[text for text, _ in row] for row in rows]


def _page(
    profile: ProfileLike,
    table: pd.DataFrame,
    operations: pd.DataFrame,
    pictures: Mapping[str, str],
    stems: Sequence[str],
) -> str:
    def drawn(start: str) -> str:
        markup = "".join(text for name, text in pictures.items() if name.startswith(start))
        return f'<div class="figures">{markup}</div>' if markup else ""

    first = escape(profile.models[0])
    latency = (
        "<p>Bars: the median run; lines reach to the slowest tenth and the slowest hundredth. All models ran in turns, in one "
        f"process. Ratios are to {first} under the same conditions.</p>"
    )
    process = (
        "<p>Each model in processes of its own. Growth: resident memory from after the import to after ten runs. CPU: 100 "
        "is one core. A dash: this machine does not tell, or the clock changed.</p>"
    )
    steps = "<p>Mean time of the steps, by what they do; one run, each step timed alone.</p>"
    outputs = f"<p>On the same inputs, before anything was timed, against {first}.</p>"
    sections = [
        _header(profile, table),
        notes(profile.notes),
        section(
            "latency",
            "Latency and throughput",
            latency
            + drawn("latency")
            + _table("latency", "Time of a run, and rows a second.", table, _LATENCY),
        ),
        section(
            "memory",
            "Start and memory",
            process
            + drawn("memory")
            + _table("process", "Start, processor, memory, energy.", table, _PROCESS),
        ),
        section("steps", "Where the time goes", steps + drawn("operations") + _operations_table(operations)),
        section(
            "outputs",
            "Outputs",
            outputs + _table("outputs", "Size, and differences of the outputs.", table, _OUTPUTS),
        ),
        section("machine", "Machine", _machine(profile)),
        section("files", "Files beside this page", f'<ul class="files">{_files(stems, list(pictures))}</ul>'),
    ]
    return document(", ".join(profile.models), sections)


def _files(stems: Sequence[str], pictures: Sequence[str]) -> str:
    return links(["profile"], ("json", "csv")) + links(stems[1:], ("csv",)) + links(pictures, ("png", "svg"))


def _header(profile: ProfileLike, table: pd.DataFrame) -> str:
    run = profile.runs[profile.rows[0]["run"]]
    facts = [
        ("processor", run["machine"]["cpu"]),
        ("cores", run["machine"]["cores"]),
        ("date", str(run["created"])[:10]),
        ("rdquant", __version__),
    ]
    condition = table[table["model"] == profile.models[0]].iloc[0]
    same = (table[["backend", "threads", "batch"]] == condition[["backend", "threads", "batch"]]).all(axis=1)
    found = [
        (
            f"{row['latency_ratio']:.2f} ×",
            f"the time of {profile.models[0]}: {row['model']}, {_condition(row)}",
        )
        for row in table[same].to_dict("records")
        if row["model"] != profile.models[0] and pd.notna(row["latency_ratio"])
    ]
    return (
        f'<header><p class="kind">Profile</p><h1>{escape(", ".join(profile.models))}</h1>'
        f"{origin(facts)}{tiles(found) if found else ''}</header>"
    )


def _condition(row: Mapping[Any, Any]) -> str:
    threads = f"{row['threads']} thread{'s' if row['threads'] > 1 else ''}"
    backend = "" if row["backend"] == "auto" else f", {row['backend']}"
    return f"{threads}, batch {row['batch']}{backend}"


def _cells(table: pd.DataFrame, columns: Sequence[Column]) -> tuple[list[str], list[list[Cell]]]:
    """Head and rows; columns without a single value are left out."""
    kept = [column for column in columns if column[1] in table and table[column[1]].notna().any()]
    rows: list[list[Cell]] = []
    for row in table.to_dict("records"):
        cells: list[Cell] = [(row["model"], row["model"]), (_condition(row), _condition(row))]
        for _, key, pattern in kept:
            value = row[key] if pd.notna(row[key]) else None
            cells.append((number(value, pattern), value))
        rows.append(cells)
    return ["model", "conditions", *(heading for heading, _, _ in kept)], rows


def _table(name: str, caption: str, table: pd.DataFrame, columns: Sequence[Column]) -> str:
    return html_table(name, caption, *_cells(table, columns))


def _operations_table(operations: pd.DataFrame) -> str:
    rows: list[list[Cell]] = []
    for row in operations.to_dict("records"):
        cells: list[Cell] = [(text, text) for text in (row["model"], _condition(row), row["op"])]
        cells += [(str(row["steps"]), row["steps"]), (number(row["mean_us"]), row["mean_us"])]
        cells.append((number(100 * row["share"], ".1f"), row["share"]))
        rows.append(cells)
    head = ["model", "conditions", "operation", "steps", "µs", "% of the run"]
    return html_table("operations", "Steps grouped by operation.", head, rows) if rows else ""


def _machine(profile: ProfileLike) -> str:
    run = profile.runs[profile.rows[0]["run"]]
    facts = {**run["machine"], **run["machine"]["packages"], **run["clock"]}
    items = "".join(
        f"<div><dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(str(value))}</dd></div>"
        for name, value in facts.items()
        if name != "packages" and value is not None
    )
    return f'<dl class="facts">{items}</dl>'


def _paint(profile: ProfileLike, model: str) -> str:
    return LIGHT[SERIES[profile.models.index(model) % len(SERIES)]]


def _bars(name: str, title: str, labels: Sequence[str], axis: str) -> tuple[Drawing, Any]:
    """A drawing with a place for a bar per label, the first on top."""
    drawing = canvas(name, title)
    drawing.figure.set_size_inches(5.2, 0.9 + 0.34 * len(labels))
    axes = drawing.figure.axes[0]
    axes.set_yticks(range(len(labels)), labels, parse_math=False)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlabel(axis)
    axes.grid(False, axis="y")
    return drawing, axes


def _label(row: Mapping[Any, Any]) -> str:
    backend = "" if row["backend"] == "auto" else f", {row['backend']}"
    return f"{_short(row['model'])}, {row['threads']} thr.{backend}"


def _short(label: str) -> str:
    return label if len(label) <= 34 else f"…{label[-33:]}"


def _latencies(profile: ProfileLike, table: pd.DataFrame) -> list[Drawing]:
    """A drawing per batch: medians as bars, lines up to p90 (thick) and p99."""
    drawings = []
    for batch, part in table.groupby("batch", sort=False):
        rows = part[part["p50_ms"].notna()].to_dict("records")
        labels = [_label(row) for row in rows]
        with matplotlib.rc_context(STYLE):
            title = f"Milliseconds of a run, batch {batch}: median, 90 % and 99 % of the runs"
            drawing, axes = _bars(f"latency-batch-{batch}", title, labels, "milliseconds")
            edge = 1.3 * max((row["p90_ms"] for row in rows), default=1.0)
            for place, row in enumerate(rows):
                axes.barh(place, row["p50_ms"], height=0.6, color=_paint(profile, row["model"]))
                for reach, width in (("p90_ms", 2.5), ("p99_ms", 0.9)):
                    end = min(row[reach], edge)
                    axes.plot([row["p50_ms"], end], [place, place], color=LIGHT["ink"], linewidth=width)
                if row["p99_ms"] > edge:  # a few slow runs must not make all bars short
                    axes.text(edge, place - 0.12, f"to {row['p99_ms']:.3g}", ha="right", fontsize=6.5)
            axes.set_xlim(0, edge)
        drawings.append(drawing)
    return drawings


def _memory(profile: ProfileLike, table: pd.DataFrame) -> Drawing:
    rows = table[table["rss_growth_mb"].notna()].to_dict("records")
    labels = [f"{_label(row)}, batch {row['batch']}" for row in rows]
    with matplotlib.rc_context(STYLE):
        title = "Growth of resident memory from after the import to after ten runs, 10⁶ bytes"
        drawing, axes = _bars("memory", title, labels, "MB")
        for place, row in enumerate(rows):
            axes.barh(place, row["rss_growth_mb"], height=0.6, color=_paint(profile, row["model"]))
    return drawing


def _operations(profile: ProfileLike, operations: pd.DataFrame) -> list[Drawing]:
    """Stacked times of the first model's first condition, a bar per model."""
    if not len(operations):
        return []
    keys = ["backend", "threads", "batch"]
    part = operations[(operations[keys] == operations.iloc[0][keys]).all(axis=1)]
    models = list(dict.fromkeys(part["model"]))
    kinds = list(part.groupby("op")["mean_us"].sum().sort_values(ascending=False).index)
    with matplotlib.rc_context(STYLE):
        title = f"Microseconds of a run by operation, {_condition(part.iloc[0].to_dict())}"
        drawing, axes = _bars("operations", title, [_short(model) for model in models], "microseconds")
        ends = dict.fromkeys(models, 0.0)
        for i, kind in enumerate(kinds):
            shown = i < _MOST_OPERATIONS
            label = kind if shown else "others" if i == _MOST_OPERATIONS else None
            colour = LIGHT[SERIES[i]] if shown else LIGHT["bars"]
            for row in part[part["op"] == kind].to_dict("records"):
                place = models.index(row["model"])
                axes.barh(
                    place, row["mean_us"], left=ends[row["model"]], height=0.6, color=colour, label=label
                )
                ends[row["model"]] += row["mean_us"]
                label = None
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, -0.35), ncols=3)
    return [drawing]
