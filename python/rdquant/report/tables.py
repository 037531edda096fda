"""The report's tables: frames for CSV and Parquet, and their HTML with numbers as a reader wants them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from .._files import replacing
from ..errors import needed
from .rows import KEPT, Metric, View, family_name, points_text

with needed():
    import pandas as pd

__all__ = [
    "best_cells",
    "best_html",
    "breakable",
    "dot_html",
    "html_table",
    "metric_cells",
    "number",
    "points_html",
    "ranking",
    "rankings_html",
    "rounded",
    "save",
    "summary_html",
    "tensors_html",
]

Cell = tuple[str, Any]  # text to show, value to sort by
FLOAT_NOTE = (
    "File bytes: of the file that rdquant compress writes, effort fast; × smaller: than the model's own file; bits per "
    "weight: in that file. Entropy H: bits per weight without tables and headers; ideal CR = 32/H. H of float32 is the "
    "entropy of its distinct values (Tonin, “Codificação de redes neurais sem retreino”, 2021, section 3), which need a "
    "table of their own: it has no CR. Intervals: Wilson."
)
_WORD_ENDS = re.compile(r"(?<=[_.:/\\-])(?=[^\W\d])|(?<=[a-z0-9])(?=[A-Z])")
_PLACES = ("1st", "2nd", "3rd")


def number(value: Any, pattern: str = ".4g") -> str:
    """`value` by `pattern`, a dash where there is none, U+2212 for minus."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    text = format(value, pattern)
    if not any(digit in text for digit in "123456789"):
        text = text.removeprefix("-")  # nothing is left of a small negative number
    return text.replace("-", "−")


def rounded(value: Any, digits: int = 3) -> str:
    """`value` to so many significant digits, all before the point: 0.0107, 1.24, 1,236."""
    if value is None or not math.isfinite(value):
        return "–"
    places = max(digits - 1 - math.floor(math.log10(abs(value))), 0) if value else 0
    return number(round(value, places), f",.{places}f")


def breakable(name: str) -> str:
    """`name` as markup that may break after its signs and before its capitals, where words end."""
    return "<wbr>".join(escape(part) for part in _WORD_ENDS.split(name))


def ranking(view: View, criterion: str) -> pd.DataFrame:
    """Columns tensor, 1st, 2nd, 3rd: families of least `criterion` ("kl", "sse"); thesis Tables 3.2, 3.3."""
    rows = []
    for tensor, part in view.fits.groupby("tensor", sort=False) if len(view.fits) else []:
        names = [family_name(name) for name in part.sort_values(criterion)["family"].head(3)]
        rows.append([tensor, *names, *[""] * (3 - len(names))])
    table: pd.DataFrame = pd.DataFrame(rows, columns=["tensor", *_PLACES])
    return table


def save(view: View, folder: Path) -> list[str]:
    """Write every table as CSV and Parquet into `folder`; the stems of those that have rows."""
    fits, tensors = view.fits, view.tensors
    if len(fits):
        fits = fits.assign(parameters=[json.dumps(value) for value in fits["parameters"]])
    if len(tensors):
        tensors = tensors.assign(shape=[str(value) for value in tensors["shape"]])
    spans = [
        (name, low, high, json.dumps([int(count) for count in counts]))
        for name, (low, high, counts) in view.histograms.items()
    ]
    frames = {
        "best": view.best,
        "points": view.points,
        "ranking-sse": ranking(view, "sse"),
        "ranking-kl": ranking(view, "kl"),
        "fits": fits,
        "tensors": tensors,
        "histograms": pd.DataFrame(spans, columns=["tensor", "low", "high", "counts"]),
    }
    kept = {stem: frame for stem, frame in frames.items() if len(frame)}
    for stem in kept.keys() & {"best", "points"}:
        kept[stem] = kept[stem].assign(bits=kept[stem]["bits"].astype("Int64"))
        if "range" in kept[stem] and kept[stem]["range"].map(lambda value: isinstance(value, str)).any():
            given = kept[stem]["range"]  # "max" among numbers: Parquet takes one type in a column
            kept[stem]["range"] = given.map(str).where(given.notna(), None)
    for stem, frame in kept.items():
        with replacing(folder / f"{stem}.csv", KEPT) as path:
            frame.to_csv(path, index=False)
        with replacing(folder / f"{stem}.parquet", KEPT) as path:
            frame.to_parquet(path, index=False)
    return list(kept)


def summary_html(view: View) -> str:
    """Facts about the model as a list of terms; thesis Table 3.1's figures among them."""
    summary = dict(view.info.get("model_summary") or {})
    facts: list[tuple[str, str]] = []
    known: list[tuple[str, str, Callable[[Any], str]]] = [
        ("parameters", "parameters", lambda v: f"{v:,}".replace(",", "\u202f")),
        ("file_bytes", "file", lambda v: f"{v / 1e6:.2f} MB"),
        ("weight_share", "of it weights", lambda v: f"{100 * v:.3f} %"),
        ("tensors", "tensors", str),
        ("nodes", "nodes", str),
        ("opset", "opset", str),
    ]
    for key, label, show in known:
        if summary.get(key) is not None:
            facts.append((label, show(summary[key])))
    operators = summary.get("operators")
    if isinstance(operators, dict):
        facts.append(("operators", ", ".join(f"{name} {count}" for name, count in operators.items())))
    items = "".join(f"<div><dt>{escape(label)}</dt><dd>{escape(text)}</dd></div>" for label, text in facts)
    return f'<dl class="facts">{items}</dl>' if items else ""


def best_cells(view: View) -> tuple[list[str], list[list[Cell]]]:
    """Head and rows of the best choices, thesis Tables 3.9, 3.10: method, bits i, size, metrics, losses, H, CR."""
    head = ["method", "bits i"]
    head += ["file bytes", "× smaller", "bits per weight"] if view.knows_files else []
    for metric in view.metrics:
        head += [metric.label] + ["95 % interval"] * metric.counted
        head += ["loss (points)"] * (metric in view.losses)
    head += ["entropy H", "ideal CR"]
    rows = []
    for row in view.best.to_dict("records"):
        cells: list[Cell] = [(row["quantizer"], row["quantizer"]), (number(row["bits"], ".0f"), row["bits"])]
        cells += [(number(row[key], pattern), row[key]) for key, pattern in _SIZES if view.knows_files]
        for metric in view.metrics:
            cells += metric_cells(metric, row)
            if metric in view.losses:
                loss = row[f"loss_{metric.name}"]
                cells.append((number(100 * loss, ".2f") if metric.share else number(loss), loss))
        cells += [(number(row[key], pattern), row[key]) for key, pattern in _IDEAL]
        rows.append(cells)
    return head, rows


def metric_cells(metric: Metric, row: dict[Any, Any]) -> list[Cell]:
    """The value, and its interval where it is a share of images."""
    cells: list[Cell] = [(metric.text(row.get(metric.name)), row.get(metric.name))]
    if metric.counted:
        cells.append((metric.interval_text(row), (metric.interval(row) or (math.nan,))[0]))
    return cells


def best_html(view: View) -> str:
    """The best choices as a table of the page, with the command that writes the file below each."""
    least = "smallest file" if view.knows_files else "least entropy H"
    caption = (
        f"Best choice of every quantizer: the {least} whose loss stays within "
        f"{points_text(view.tolerance)} points in every metric, smallest first. Below each, the command that writes that file, "
        "to the byte. Entropy H: bits per weight without tables and headers; ideal CR = 32/H."
    )
    head, rows = best_cells(view)
    commands = list(view.best["command"]) if "command" in view.best else []
    return html_table("best", caption, head, rows, commands)


def rankings_html(view: View) -> str:
    """The three families of least SSE and of least KL, whole model first."""
    by_sse, by_kl = ranking(view, "sse"), ranking(view, "kl").set_index("tensor")
    head = ["weights", *(f"{place} by SSE" for place in _PLACES), *(f"{place} by KL" for place in _PLACES)]
    order = by_sse.assign(last=by_sse["tensor"] != "").sort_values("last", kind="stable")
    rows = []
    for row in order.itertuples(index=False):
        name = row.tensor or "whole model"
        names = [*row[1:4], *by_kl.loc[row.tensor]]
        rows.append([(text, text) for text in (name, *names)])
    criterion = {"mle": "maximum likelihood", "kl": "least KL divergence", "sse": "least SSE"}
    used = criterion.get(view.fits["criterion"].iloc[0], view.fits["criterion"].iloc[0])
    caption = (
        f"Distribution families, fitted by {used}, ranked by the sum of squared errors (SSE) and by the KL "
        "divergence between histogram and density."
    )
    return html_table("rankings", caption, head, rows)


def tensors_html(view: View) -> str:
    """Every tensor with its shape and moments."""
    rows = []
    for row in view.tensors.to_dict("records"):
        shape = row["shape"]
        sizes = json.loads(shape) if isinstance(shape, str) else list(shape)
        text = " × ".join(str(size) for size in sizes) or "scalar"
        cells: list[Cell] = [(row["name"], row["name"]), (row["role"], row["role"]), (text, row["count"])]
        cells.append((f"{row['count']:,}".replace(",", "\u202f"), row["count"]))
        cells += [(number(row[key]), row[key]) for key in ("mean", "std", "min", "max", "kurtosis")]
        rows.append(cells)
    head = ["tensor", "role", "shape", "count", "mean", "std", "min", "max", "kurtosis"]
    return html_table("tensors", "Weights and biases in the order of the graph.", head, rows)


def points_html(view: View) -> str:
    """Every evaluated point."""
    scoped = view.points["scope"].nunique() > 1
    sizes = [s for s in _SIZES if s[0] in view.points and view.points[s[0]].notna().any()]
    head = ["quantizer", "bits", *(["scope"] if scoped else [])]
    head += [_HEADS[key] for key, _ in [*sizes, *_IDEAL]] + ["SQNR (dB)"]
    for metric in view.metrics:
        head += [metric.label] + ["95 % interval"] * metric.counted
    head += ["images", "state"]
    rows = []
    for row in view.points.to_dict("records"):
        cells: list[Cell] = [(row["quantizer"], row["quantizer"]), (number(row["bits"], ".0f"), row["bits"])]
        cells += [(row["scope"], row["scope"])] if scoped else []
        for key, pattern in (*sizes, *_IDEAL, ("sqnr_db", ".2f")):
            value = None if key == "cr" and row["family"] == "float" else row[key]
            cells.append((number(value, pattern), value))
        for metric in view.metrics:
            cells += metric_cells(metric, row)
        verdict = f" ({row['verdict']})" if isinstance(row["verdict"], str) else ""
        cells += [(number(row["images"], ".0f"), row["images"]), (row["state"] + verdict, row["state"])]
        rows.append(cells)
    return html_table("points", f"All points of the study. {FLOAT_NOTE}", head, rows)


_SIZES = (("file_bytes", ",.0f"), ("ratio", ".2f"), ("real_bits", ".3f"))
_IDEAL = (("entropy", ".3f"), ("cr", ".2f"))
_HEADS = {
    "file_bytes": "file bytes",
    "ratio": "× smaller",
    "real_bits": "bits per weight",
    "entropy": "entropy H",
    "cr": "ideal CR",
}


def html_table(
    name: str,
    caption: str,
    head: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    commands: Sequence[str] = (),
    dots: Sequence[str] = (),
) -> str:
    """A sortable table in a box that scrolls by itself; columns of numbers are set flush right.

    commands: the command behind each row, printed below it. dots: the name of a colour for each row, shown as a dot
    before it.
    """
    numeric = [
        bool(rows) and all(not isinstance(row[i][1], str) or row[i][0] == "–" for row in rows)
        for i in range(len(head))
    ]
    kinds = [' class="number"' if flag else "" for flag in numeric]
    heads = "".join(
        f'<th scope="col"{kind}><button type="button">{escape(text)}</button></th>'
        for text, kind in zip(head, kinds, strict=True)
    )
    body = []
    for place, row in enumerate(rows):
        cells = [
            _cell(cell, kind, first=i == 0, dot=dots[place] if i == 0 and dots else "")
            for i, (cell, kind) in enumerate(zip(row, kinds, strict=True))
        ]
        body.append(f"<tr>{''.join(cells)}</tr>")
        if place < len(commands) and commands[place]:
            code = f"<code>{escape(commands[place])}</code>"
            body.append(f'<tr class="made"><td colspan="{len(head)}">{code}</td></tr>')
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}">'
        f'<table id="table-{name}"><caption><span>{escape(caption)}</span></caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def dot_html(colour: str) -> str:
    """A dot in a colour of the page, before the name that it belongs to."""
    return f'<i class="dot {colour}" aria-hidden="true"></i>' if colour else ""


def _cell(cell: Cell, kind: str, first: bool, dot: str) -> str:
    text, value = cell
    missing = value is None or (isinstance(value, float) and not math.isfinite(value))
    key = "" if missing or str(value) == text else f' data-key="{escape(str(value))}"'
    tag = 'th scope="row"' if first else "td"
    shown = dot_html(dot) + breakable(str(text)) if first else escape(str(text))
    return f"<{tag}{kind}{key}>{shown}</{tag[:2]}>"
