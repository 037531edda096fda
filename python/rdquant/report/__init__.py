"""The report of a study: one self-contained page, plots and tables as files. Reports compute nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .._files import replacing
from ..errors import InvalidArgument, axes_or_none, described, needed, number, path_of
from . import tables
from .confidences import plot_confidences
from .curves import close_up, rate_distortion
from .drawing import Drawing
from .histograms import distribution, distribution_pages
from .page import headline, page
from .rows import KEPT, StudyLike, View, arrange

with needed():
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["best_rows", "plot_confidences", "plot_curves", "summary", "write_report"]


def write_report(study: StudyLike, folder: str | os.PathLike[str], max_loss: float | None = None) -> Path:
    """Write `report.html` into `folder`, beside it every plot as PNG and SVG, every table as CSV and Parquet.

    `study` is a `Study` or anything with its `info`, `to_pandas`, `best`, `fits`, `histograms` and `tensors`.
    `max_loss` is the loss allowed in every metric, in percentage points; by default
    the study's own, else 0.8. Pieces that the study lacks are named in the page. Returns its path.

    Every file is written whole or not at all. Raises RdquantError, naming the file, where one cannot be.
    Raises InvalidArgument for anything else.
    """
    view = _view(study, max_loss)
    target = path_of("folder", folder)
    if target.exists() and not target.is_dir():
        raise InvalidArgument(f"folder: {target} is a file")
    target.mkdir(parents=True, exist_ok=True)
    stems = tables.save(view, target)
    curves = [(drawing, drawing.save(target)) for drawing in _curve_drawings(view)]
    histograms = []
    if view.spreads(""):
        drawings = [distribution(view, log) for log in (True, False)]
        histograms = [(drawing, drawing.save(target)) for drawing in drawings]
    pages = distribution_pages(view, view.drawn_tensors, target)
    path = target / "report.html"
    with replacing(path, KEPT) as partial:
        partial.write_text(page(view, curves, histograms, stems, pages), encoding="utf-8")
    return path


def summary(study: StudyLike, max_loss: float | None = None) -> dict[str, Any]:
    """The answer of `study`: headline, model, data, max_loss, notes and best (DataFrame).

    max_loss: percentage points; by default the study's own. Raises InvalidArgument for anything else.
    """
    view = _view(study, max_loss)
    return {
        "headline": headline(view),
        "model": view.info.get("model"),
        "data": view.info.get("data"),
        "max_loss": view.max_loss,
        "notes": view.notes,
        "best": view.best.assign(bits=view.best["bits"].astype("Int64")) if len(view.best) else view.best,
    }


def best_rows(study: StudyLike, max_loss: float | None = None) -> tuple[list[str], list[list[str]]]:
    """The table of best choices of `study` as text, for a terminal: head and rows. `max_loss` in percentage points, by default
    the study's own. Raises InvalidArgument for anything else.
    """
    view = _view(study, max_loss)
    head, rows = tables.best_cells(view)
    return head, [[text for text, _ in row] for row in rows]


def plot_curves(study: StudyLike, metric: str = "top1", ax: Axes | None = None) -> Figure:
    """Rate–distortion curves of `metric` against the size of the compressed file, as a Matplotlib figure.

    Against the entropy where not every file's size is known: points that were given up early, results of older versions.

    study: a Study, or what was read of one.
    ax: axes to draw on, whose figure is returned; new ones by default.

    Raises InvalidArgument where the study has no points of that metric.
    """
    view = _view(study, None)
    axes_or_none(ax)
    if not isinstance(metric, str):
        raise InvalidArgument(f"metric: expected a name, got {described(metric)}")
    for known in view.metrics if view.series else []:
        if known.name == metric:
            return rate_distortion(view, known, ax).figure
    names = ", ".join(known.name for known in view.metrics) or "none"
    raise InvalidArgument(f"metric: no points with {metric!r} in this study; it has {names}")


def _view(study: StudyLike, max_loss: float | None) -> View:
    if not hasattr(study, "info") or not hasattr(study, "to_pandas"):
        raise InvalidArgument(f"study: expected a Study, got {described(study)}")
    if max_loss is None:
        max_loss = (study.info.get("options") or {}).get("max_loss", 0.8)
    return arrange(study, number("max_loss", max_loss, least=0, most=100))


def _curve_drawings(view: View) -> list[Drawing]:
    drawings = []
    for metric in view.metrics if view.series else []:
        drawings.append(rate_distortion(view, metric))
        near = close_up(view, metric)
        drawings += [near] if near else []
    return drawings
