"""What the report's figures share: their look, their files, and places for labels that no curve crosses."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._files import replacing
from ..errors import needed
from .rows import KEPT
from .svg import LIGHT, inline

with needed():
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation, Text

__all__ = [
    "STYLE",
    "Drawing",
    "canvas",
    "figure_of",
    "free_place",
    "metadata",
    "path_points",
    "text_points",
    "text_size",
]

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
_SIZE = (5.2, 3.9)  # inches: text stays readable on a page 360 px wide
_GRID = 25  # places across and along that a label is tried at
_ROOM = 9.0  # pixels between a label and a curve
_CROSSED = 3.0  # what a curve below a label costs, in diagonals of the axes


@dataclass
class Drawing:
    """A figure with its name (file name and id), its title in words and the tooltips of its marks."""

    name: str
    title: str
    figure: Figure
    axes: Axes
    owns_figure: bool = True
    tips: dict[str, list[str]] = field(default_factory=dict)

    def save(self, folder: Path) -> str:
        """Write NAME.png and NAME.svg into `folder`; return the markup for the page, without the legend."""
        with matplotlib.rc_context(STYLE):
            whole: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.06}
            for kind in ("png", "svg"):
                look: dict[str, Any] = {"dpi": 200, "facecolor": "white", "metadata": metadata(kind)}
                with replacing(folder / f"{self.name}.{kind}", KEPT) as path:
                    self.figure.savefig(path, **look, **whole)
            for legend in [*self.figure.legends]:
                legend.remove()
            text = io.StringIO()
            self.figure.savefig(text, format="svg", transparent=True, metadata=metadata("svg"), **whole)
        return inline(text.getvalue(), self.name, self.title, self.tips)


def metadata(kind: str) -> dict[str, Any]:
    return {"Date": None} if kind == "svg" else {}


def canvas(name: str, title: str, ax: Axes | None = None) -> Drawing:
    """A figure with one pair of axes, or that of the axes given."""
    if ax is not None:
        return Drawing(name, title, figure_of(ax), ax, owns_figure=False)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=_SIZE)
        axes = figure.subplots()
    return Drawing(name, title, figure, axes)


def figure_of(ax: Axes) -> Figure:
    """The figure that axes are on."""
    figure = ax.figure
    while not isinstance(figure, Figure):
        figure = figure.figure
    return figure


def path_points(axes: Axes, x: Iterable[float], y: Iterable[float]) -> NDArray[np.float64]:
    """Points along a line through (x, y), a few pixels apart: pixels [n, 2]."""
    corners = axes.transData.transform(np.column_stack([list(x), list(y)]))
    if len(corners) < 2:
        return np.asarray(corners, np.float64)
    share = np.linspace(0, 1, 60)[:, None]
    return np.concatenate([a + share * (b - a) for a, b in pairwise(corners)])


def free_place(
    axes: Axes, size: tuple[float, float], near: tuple[float, float], taken: Sequence[NDArray[np.float64]]
) -> tuple[float, float]:
    """The centre of a label of `size` (pixels) that lies nearest to `near` (data) and crosses nothing where possible.

    taken: pixels [n, 2] that a label should not cover. Returns fractions of the axes.
    """
    box = axes.get_window_extent()
    half = np.array(size) / 2 + _ROOM
    low, high = np.array([box.x0, box.y0]) + half, np.array([box.x1, box.y1]) - half
    across, along = (np.linspace(a, max(a, b), _GRID) for a, b in zip(low, high, strict=True))
    centres = np.stack(np.meshgrid(across, along), axis=-1).reshape(-1, 2)
    points = np.concatenate([*taken, np.empty((0, 2))])
    inside = (np.abs(points[None] - centres[:, None]) < half).all(axis=2).sum(axis=1)
    away = np.linalg.norm(centres - axes.transData.transform(near), axis=1) / np.hypot(box.width, box.height)
    best = centres[np.argmin(away + _CROSSED * inside)]
    x, y = axes.transAxes.inverted().transform(best)
    return float(x), float(y)


def text_size(axes: Axes, text: str, **look: Any) -> tuple[float, float]:
    """Width and height of a text in pixels."""
    shown = axes.text(0, 0, text, **look)
    box = shown.get_window_extent(_renderer(axes))
    shown.remove()
    return float(box.width), float(box.height)


def text_points(axes: Axes, text: Text) -> NDArray[np.float64]:
    """Points all over a text, without its arrow: pixels [n, 2]."""
    renderer = _renderer(axes)
    if isinstance(text, Annotation):
        text.update_positions(renderer)  # which is done when it is drawn
    box = Text.get_window_extent(text, renderer)
    across, along = np.linspace(box.x0, box.x1, 20), np.linspace(box.y0, box.y1, 20)
    return np.stack(np.meshgrid(across, along), axis=-1).reshape(-1, 2)


def _renderer(axes: Axes) -> RendererAgg:
    figure = figure_of(axes)
    width, height = figure.get_size_inches() * figure.dpi
    return RendererAgg(width, height, figure.dpi)
