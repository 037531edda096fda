"""The report's curves: their axes, and labels that nothing covers."""

from __future__ import annotations

import re
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from rdquant.report.curves import close_up, rate_distortion
from rdquant.report.drawing import path_points, text_points
from rdquant.report.rows import arrange
from rdquant.sweep import Study
from synthetic_study import write_study


def test_curves_without_known_files_are_drawn_against_the_entropy(tmp_path: Path) -> None:
    study = Study.open(write_study(tmp_path, layers=1, metrics=("top1",), files=False))
    view = arrange(study, 0.8)
    assert rate_distortion(view, view.metrics[0]).axes.get_xlabel() == "entropy (bits per weight)"


def test_labels_lie_where_no_curve_runs(study: Study) -> None:
    view = arrange(study, 0.8)
    axes = rate_distortion(view, view.metrics[0]).axes
    labels = [text for text in axes.texts if "bytes" in text.get_text() or "float32" in text.get_text()]
    assert len(labels) == 2
    for label in labels:
        covered = text_points(axes, label)
        (left, bottom), (right, top) = covered.min(axis=0), covered.max(axis=0)
        for line in axes.lines:
            x, y = line.get_xdata(), line.get_ydata()
            if len(x) > 2 and line.get_linestyle() == "-" and line.get_drawstyle() == "default":
                points = path_points(axes, x, y)
                inside = (points > (left, bottom)).all(axis=1) & (points < (right, top)).all(axis=1)
                assert not inside.any(), label.get_text()


def test_labels_do_not_cover_each_other(study: Study) -> None:
    view = arrange(study, 0.8)
    for metric in [metric for metric in view.metrics if metric.share]:
        for drawing in (rate_distortion(view, metric), close_up(view, metric)):
            assert drawing is not None
            canvas = FigureCanvasAgg(drawing.figure)
            canvas.draw()
            named = [t for t in drawing.axes.texts if re.search("bytes|float32", t.get_text())]
            one, other = (Text.get_window_extent(text, canvas.get_renderer()) for text in named)
            assert not one.overlaps(other), drawing.name
