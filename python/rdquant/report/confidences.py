"""How confident several networks are of the same photos, side by side, as paper 000 shows them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .._files import replacing
from ..errors import axes_or_none, needed
from ..metrics import Confidences
from .drawing import STYLE, figure_of
from .svg import LIGHT, SERIES

with needed():
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_confidences"]

_SIZE = (6.0, 3.6)  # inches
_SHARE = 0.86  # of a bin's width that its bars take together


def plot_confidences(
    found: Confidences, path: str | os.PathLike[str] | None = None, ax: Axes | None = None
) -> Figure:
    """Histograms of confidences as a Matplotlib figure: a group of bars for each bin, a bar for each network.

    found: from `rdquant.metrics.compare_confidences`. path: file to write, by its suffix PNG, SVG, PDF …, whole or not
    at all; an existing one is replaced. ax: axes to draw on, whose figure is returned; new ones by default. Raises
    InvalidArgument for anything but axes.
    """
    axes_or_none(ax)
    with matplotlib.rc_context(STYLE):
        axes = Figure(figsize=_SIZE, layout="constrained").subplots() if ax is None else ax
        figure = figure_of(axes)
        _draw(axes, found)
        if path is not None:
            with replacing(Path(path)) as partial:
                figure.savefig(partial, dpi=200, facecolor="white")
    return figure


def _draw(axes: Axes, found: Confidences) -> None:
    width = (found.edges[1:] - found.edges[:-1]) * _SHARE / len(found.counts)
    left = found.edges[:-1] + (found.edges[1:] - found.edges[:-1]) * (1 - _SHARE) / 2
    for place, (name, counts) in enumerate(found.counts.items()):
        total = int(counts.sum())
        known = f"{total:,} detections, mean {found.mean[name]:.3f}" if total else "no detections"
        look: dict[str, Any] = {"color": LIGHT[SERIES[place % len(SERIES)]], "label": f"{name}, {known}"}
        axes.bar(left + place * width, counts, width, align="edge", **look)
    axes.set_xlim(found.edges[0], found.edges[-1])
    axes.set_xlabel("Confidence")
    axes.set_ylabel(f"Detections on {found.photos:,} photos")
    axes.legend()
