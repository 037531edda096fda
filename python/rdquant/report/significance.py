"""Pictures of significance: heat strips by layer, and curves of critical and all classes against size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidArgument, axes_or_none, needed
from .drawing import STYLE, figure_of
from .svg import LIGHT, SERIES

with needed():
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.colors import SymLogNorm
    from matplotlib.figure import Figure

__all__ = ["plot_fronts", "plot_significance"]

_HIGH, _WIDE = 0.42, 0.2  # inches of a strip and of a layer
_MOST_LABELS = 40
_LINEAR = 0.05  # of the largest value, around 0, in a straight scale


def plot_significance(
    rows: Mapping[str, NDArray[np.float64]], components: Sequence[str], title: str, ax: Axes | None = None
) -> Figure:
    """A strip of heat for every entry of `rows`, float64 [components], nats, by its name; returns the figure.

    components: names of the layers. title: text above. ax: axes to draw on; new ones by default. Raises InvalidArgument for
    what is no axes, and for rows of another length.
    """
    axes_or_none(ax)
    if not rows or any(len(values) != len(components) for values in rows.values()):
        raise InvalidArgument(f"rows: expected {len(components)} figures each, one a component")
    with matplotlib.rc_context(STYLE):
        size = (max(5.0, 1.6 + _WIDE * len(components)), 1.6 + _HIGH * len(rows))
        axes = Figure(figsize=size, layout="constrained").subplots() if ax is None else ax
        table = np.stack(list(rows.values()))
        most = max(float(np.abs(table).max()), 1e-9)
        norm = SymLogNorm(_LINEAR * most, vmin=-most, vmax=most)
        image = axes.imshow(table, aspect="auto", cmap="RdBu_r", norm=norm)
        axes.set_yticks(range(len(rows)), list(rows))
        step = max(1, -(-len(components) // _MOST_LABELS))
        places = range(0, len(components), step)
        axes.set_xticks(places, [components[i].removesuffix(".weight") for i in places], rotation=90)
        axes.set_title(title)
        axes.grid(False)
        axes.figure.colorbar(image, ax=axes, label="nats")
    return figure_of(axes)


def plot_fronts(
    points: Mapping[str, Sequence[tuple[float, float]]], title: str, measure: str, ax: Axes | None = None
) -> Figure:
    """Curves of a measure in percent against bytes, one a method of `points` (bytes, percent); returns the figure.

    title: text above. measure: text beside. ax: axes to draw on; new ones by default. Raises InvalidArgument for what is no
    axes.
    """
    axes_or_none(ax)
    with matplotlib.rc_context(STYLE):
        axes = Figure(figsize=(6.0, 4.0), layout="constrained").subplots() if ax is None else ax
        for place, (name, found) in enumerate(points.items()):
            x, y = zip(*sorted(found), strict=True)
            colour = LIGHT[SERIES[place % len(SERIES)]]
            axes.plot(x, y, marker="osD^vPX<>h"[place % 10], color=colour, label=name)
        axes.set_xlabel("Bytes of the compressed file")
        axes.set_ylabel(f"{measure}, percent")
        axes.set_title(title)
        axes.legend()
    return figure_of(axes)
