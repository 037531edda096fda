"""The report of a profile: latency, memory and steps of models side by side, from plain rows. It computes nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from .. import __version__
from .._files import replacing
from ..errors import axes_or_none, needed
from . import performance_figures as figures
from .page import document, figure, links, notes, origin, section
from .performance_figures import ProfileLike, condition, first_rows, model_colours, scored
from .rows import Metric, loss_text
from .tables import Cell, breakable, dot_html, html_table, metric_cells, number, rounded

with needed():
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ProfileLike", "headlines", "latency_figure", "performance_rows", "write_performance"]

_KEPT = "the results in profile.json are kept"
_SLOWEST = 12  # steps in the table of the roofline
_ALIKE = 0.02  # share by which times may differ and still be called alike
_UNBROKEN = "\u2060–\u2060"  # a dash that no line ends at
_SHORT = ""  # three significant digits
_LATENCY_CAPTION = (
    "Time of a run, and rows a second.",
    "Time of a run, rows a second, and accuracy on the images given.",
)
_OUTPUTS_CAPTION = "Size, differences of the outputs, confidences on the labelled images."
_CLOCK = {"spin_us": "a fixed loop, µs", "max_mhz": "highest clock, MHz"}
_BOARD = {
    "model": "board",
    "system": "system",
    "mhz": "clock at the start, MHz",
    "offline": "cores offline",
    "celsius": "at the start, °C",
    "limits_now": "limits at the start",
    "limits_since_boot": "limits since the machine started",
}
Column = tuple[str, str, str]  # heading, column of the rows, format
_LATENCY: Sequence[Column] = (
    ("p50 ms", "p50_ms", _SHORT),
    ("p90 ms", "p90_ms", _SHORT),
    ("p99 ms", "p99_ms", _SHORT),
    ("× as fast", "speedup", ".2f"),
    ("rows/s", "throughput", ",.0f"),
    ("runs", "runs", ".0f"),
)
_PROCESS: Sequence[Column] = (
    ("load ms", "load_ms", _SHORT),
    ("first run ms", "first_run_ms", _SHORT),
    ("start ratio", "first_ratio", ".2f"),
    ("CPU %", "cpu_percent", ".0f"),
    ("growth MB", "rss_growth_mb", _SHORT),
    ("growth ratio", "growth_ratio", ".2f"),
    ("mean MB", "rss_mean_mb", _SHORT),
    ("peak MB", "rss_peak_mb", _SHORT),
    ("joules/run", "joules_per_run", _SHORT),
    ("watts", "watts", _SHORT),
    ("least MHz", "mhz_least", ",.0f"),
    ("°C most", "celsius_most", ".0f"),
    ("throttled", "throttled", ".0f"),
    ("pauses s", "paused_s", ".0f"),
    ("memory GB/s", "bandwidth_gb_s", _SHORT),
)
_OUTPUTS: Sequence[Column] = (
    ("file bytes", "file_bytes", ",.0f"),
    ("largest difference", "max_difference", ".2e"),
    ("SQNR dB", "sqnr_db", ".1f"),
    ("same first class", "agreement", ".3f"),
    ("mean confidence", "confidence_mean", ".3f"),
    ("a tenth below", "confidence_p10", ".3f"),
    ("half below", "confidence_p50", ".3f"),
    ("nine tenths below", "confidence_p90", ".3f"),
)
_COLUMNS = (*_LATENCY, *_PROCESS, *_OUTPUTS)
_TERMINAL = ("p50_ms", "p99_ms", "speedup", "throughput", "load_ms", "rss_peak_mb", "sqnr_db", "agreement")


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
    drawings = [*figures.accuracy(profile, table), *figures.latencies(profile, table)]
    drawings += [figures.memory(profile, table), *figures.operations(profile, operations)]
    pictures = {drawing.name: figure(drawing, drawing.save(target)) for drawing in drawings}
    path = target / "report.html"
    with replacing(path, _KEPT) as partial:
        partial.write_text(_page(profile, table, operations, pictures, list(frames)), encoding="utf-8")
    return path


def latency_figure(profile: ProfileLike, ax: Axes | None = None) -> Figure:
    """Latency under the first condition's batch, as a Matplotlib figure; on `ax` where that is given."""
    return figures.latency(profile, axes_or_none(ax)).figure


def headlines(profile: ProfileLike) -> list[str]:
    """A sentence for each model but the first, under the first conditions, the fastest first."""
    return [f"{claim}{detail}" for claim, detail in _answers(profile)]


def _answers(profile: ProfileLike) -> list[tuple[str, str]]:
    """What each model is worth against the first, and the figures behind it."""
    table = profile.to_pandas()
    first, *others = first_rows(table)
    metric = scored(table)
    known = [row for row in others if pd.notna(row["speedup"])]
    known.sort(key=lambda row: -row["speedup"])
    return [(_claim(first, row, metric), _detail(first, row, metric)) for row in known]


def _claim(first: Mapping[Any, Any], row: Mapping[Any, Any], metric: Metric | None) -> str:
    speed = row["speedup"]
    found = f"{row['model']} is as fast as {first['model']}"
    if abs(speed - 1) > _ALIKE:
        found = f"{row['model']} is {speed:.{1 if speed >= 1.95 else 2}f}\u00a0× as fast as {first['model']}"
    if metric is None or pd.isna(row[metric.name]) or pd.isna(first[metric.name]):
        return found
    loss = loss_text(metric.sign * (first[metric.name] - row[metric.name]))
    return f"{found} and {loss} of {metric.label}"


def _detail(first: Mapping[Any, Any], row: Mapping[Any, Any], metric: Metric | None) -> str:
    times = f"{rounded(row['p50_ms'])} instead of {rounded(first['p50_ms'])}\u00a0ms a run"
    if pd.notna(row.get("speedup_low")):
        times += f" (95\u00a0% interval {row['speedup_low']:.2f}–{row['speedup_high']:.2f}\u00a0× as fast)"
    times += f", {condition(row)}"
    if metric is None or pd.isna(row[metric.name]):
        return f": {times}."
    interval = f" (95\u00a0% interval {metric.interval_text(row)})" if metric.interval(row) else ""
    value = f"{metric.label} {metric.text(row[metric.name])}{interval} on {int(row['images']):,} images"
    return f": {times}; {value}."


def performance_rows(profile: ProfileLike) -> tuple[list[str], list[list[str]]]:
    """What fits a terminal: latency, memory and accuracy as text, head and rows."""
    table = profile.to_pandas()
    head, rows = _cells(table, [column for column in _COLUMNS if column[1] in _TERMINAL], scored(table))
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

    def shown(name: str, caption: str, columns: Sequence[Column], metric: Metric | None = None) -> str:
        dots = [colours[model] for model in table["model"]]
        return html_table(name, caption, *_cells(table, columns, metric), dots=dots)

    colours, metric = model_colours(profile.models), scored(table)
    first = breakable(profile.models[0])
    latency = (
        "<p>Bars: the median run; lines reach to the slowest tenth and the slowest hundredth. All models ran in turns, in one "
        f"process. × as fast: as {first} under the same conditions, by the medians.</p>"
    )
    process = (
        f"<p>Each model in processes of its own; ratios are to {first}. Growth: resident memory from after the import to after "
        "ten runs. CPU: 100 is one core. A dash: unavailable here, or the clock changed or the processor was slowed down.</p>"
    )
    steps = "<p>Mean time of the steps, by what they do; one run, each step timed alone.</p>"
    outputs = f"<p>On the same inputs, before anything was timed, against {first}.</p>"
    accuracy = drawn("accuracy").replace('<div class="figures">', "").removesuffix("</div>")
    pair = drawn("latency").replace('<div class="figures">', f'<div class="figures">{accuracy}')
    sections = [
        _header(profile, colours),
        notes(profile.notes),
        section(
            "latency",
            "Latency and accuracy" if metric else "Latency and throughput",
            latency + pair + shown("latency", _LATENCY_CAPTION[metric is not None], _LATENCY, metric),
        ),
        section(
            "memory",
            "Start and memory",
            process + drawn("memory") + shown("process", "Start, processor, memory, energy.", _PROCESS),
        ),
        section(
            "steps",
            "Where the time goes",
            steps + drawn("operations") + _step_tables(profile, operations, colours),
        ),
        section(
            "outputs",
            "Outputs",
            outputs + shown("outputs", _OUTPUTS_CAPTION, _OUTPUTS),
        ),
        section("machine", "Machine", _machine(profile)),
        section("files", "Files beside this page", f'<ul class="files">{_files(stems, list(pictures))}</ul>'),
    ]
    return document(", ".join(profile.models), sections)


def _files(stems: Sequence[str], pictures: Sequence[str]) -> str:
    return links(["profile"], ("json", "csv")) + links(stems[1:], ("csv",)) + links(pictures, ("png", "svg"))


def _header(profile: ProfileLike, colours: Mapping[str, str]) -> str:
    run = profile.runs[profile.rows[0]["run"]]
    facts = [
        ("processor", run["machine"]["cpu"]),
        ("cores", run["machine"]["cores"]),
        ("date", str(run["created"])[:10]),
        ("rdquant", __version__),
    ]
    names = [
        f'<span class="name">{dot_html(colours[name])}{breakable(name)}</span>' for name in profile.models
    ]
    sentences = "".join(
        f"<li><b>{breakable(claim)}</b><span>{escape(detail[2:]).replace('–', _UNBROKEN)}</span></li>"
        for claim, detail in _answers(profile)
    )
    answers = f'<ul class="answers">{sentences}</ul>' if sentences else ""
    return f'<header><p class="kind">Profile</p><h1>{" ".join(names)}</h1>{origin(facts)}{answers}</header>'


def _cells(
    table: pd.DataFrame, columns: Sequence[Column], metric: Metric | None = None
) -> tuple[list[str], list[list[Cell]]]:
    """Head and rows; columns without a single value are left out. Accuracy and its interval come last."""
    kept = [column for column in columns if column[1] in table and table[column[1]].notna().any()]
    head = ["model", "conditions", *(heading for heading, _, _ in kept)]
    if metric is not None:
        head += [metric.label] + ["95 % interval"] * metric.counted + ["images"]
    rows: list[list[Cell]] = []
    for row in table.to_dict("records"):
        cells: list[Cell] = [(row["model"], row["model"]), (condition(row), condition(row))]
        for _, key, pattern in kept:
            value = row[key] if pd.notna(row[key]) else None
            cells.append((number(value, pattern) if pattern else rounded(value), value))
        if metric is not None:
            known = pd.notna(row[metric.name])
            cells += metric_cells(metric, row)
            cells.append((f"{row['images']:,.0f}" if known else "–", row["images"] if known else None))
        rows.append(cells)
    return head, rows


def _operations_table(operations: pd.DataFrame, colours: Mapping[str, str]) -> str:
    rows: list[list[Cell]] = []
    for row in operations.to_dict("records"):
        cells: list[Cell] = [(text, text) for text in (row["model"], condition(row), row["op"])]
        cells += [(str(row["steps"]), row["steps"]), (rounded(row["mean_us"]), row["mean_us"])]
        cells.append((number(100 * row["share"], ".1f"), row["share"]))
        rows.append(cells)
    head = ["model", "conditions", "operation", "steps", "µs", "% of the run"]
    dots = [colours[model] for model in operations["model"]] if len(operations) else []
    return html_table("operations", "Steps grouped by operation.", head, rows, dots=dots) if rows else ""


def _step_tables(profile: ProfileLike, operations: pd.DataFrame, colours: Mapping[str, str]) -> str:
    return _operations_table(operations, colours) + _roofline_table(profile, colours)


def _roofline_table(profile: ProfileLike, colours: Mapping[str, str]) -> str:
    """The slowest steps, and what bounds each."""
    known = sorted((s for s in profile.steps if s.get("bound")), key=lambda s: -s["mean_us"])[:_SLOWEST]
    rows: list[list[Cell]] = []
    for step in known:
        cells: list[Cell] = [
            (t, t) for t in (step["model"], condition(step), step["op"], step["node"], step["bound"])
        ]
        for name, pattern in (("mean_us", ""), ("gmac_s", ""), ("gb_s", ""), ("of_roof", ".2f")):
            cells.append((number(step[name], pattern) if pattern else rounded(step[name]), step[name]))
        rows.append(cells)
    head = [
        "model",
        "conditions",
        "operation",
        "node",
        "bound by",
        "µs",
        "GMAC/s",
        "GB/s",
        "share of the roof",
    ]
    caption = (
        "The slowest steps under the roofline: the memory's bandwidth, measured by copying, and the fastest step's "
        "multiply-accumulates. Above 1: data stayed in the caches."
    )
    return (
        html_table("roofline", caption, head, rows, dots=[colours[s["model"]] for s in known]) if rows else ""
    )


def _machine(profile: ProfileLike) -> str:
    run = profile.runs[profile.rows[0]["run"]]
    clock = {_CLOCK.get(name, name): value for name, value in run["clock"].items()}
    board = {
        _BOARD[name]: _listed(run["board"][name])
        for name in _BOARD
        if (run.get("board") or {}).get(name) is not None
    }
    facts = {**run["machine"], **run["machine"]["packages"], **clock, **board}
    items = "".join(
        f"<div><dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(_fact(value))}</dd></div>"
        for name, value in facts.items()
        if name != "packages" and value is not None
    )
    made = dict.fromkeys(run["command"] for run in profile.runs if run.get("command"))
    commands = "".join(f'<p class="command"><code>{escape(command)}</code></p>' for command in made)
    return f'<dl class="facts">{items}</dl>{commands}'


def _listed(value: Any) -> Any:
    """A list in words; None where nothing is in it to tell."""
    if not isinstance(value, list):
        return value
    return ", ".join("offline" if item is None else str(item) for item in value) or "none"


def _fact(value: Any) -> str:
    return rounded(value) if isinstance(value, float) else str(value)
