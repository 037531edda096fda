"""The report of a study: one self-contained page, and its plots and tables as files. Reports compute nothing."""

from __future__ import annotations

import os
from pathlib import Path

from . import plots, tables
from .page import headline, page
from .rows import StudyLike, View, arrange

__all__ = ["headline", "write_report"]


def write_report(study: StudyLike, folder: str | os.PathLike[str], tolerance: float | None = None) -> Path:
    """Write `report.html` into `folder`, with every plot as PNG and SVG and every table as CSV and Parquet beside it.

    `study` is a `Study` or anything with its `info`, `to_pandas`, `best`, `fits`, `histograms` and `tensors`.
    `tolerance` is the loss allowed in every metric, a fraction (0.008 is 0.8 percentage points); by default the
    study's own, else 0.008. Pieces that the study lacks are named in the page. Returns the path of the page.
    """
    view = arrange(study, float(study.info.get("tolerance") or 0.008) if tolerance is None else tolerance)
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    stems = tables.save(view, target)
    curves = [(drawing, drawing.save(target)) for drawing in _curve_drawings(view)]
    histograms = []
    if "" in view.histograms:
        drawings = [plots.distribution(view, "", log) for log in (True, False)]
        histograms = [(drawing, drawing.save(target)) for drawing in drawings]
    pages = plots.distribution_pages(view, [name for name in view.histograms if name], target)
    path = target / "report.html"
    partial = path.with_suffix(".html.part")
    partial.write_text(page(view, curves, histograms, stems, pages), encoding="utf-8")
    partial.replace(path)
    return path


def _curve_drawings(view: View) -> list[plots.Drawing]:
    drawings = []
    for metric in view.metrics if view.series else []:
        drawings.append(plots.rate_distortion(view, metric))
        near = plots.close_up(view, metric)
        drawings += [near] if near else []
    return drawings
