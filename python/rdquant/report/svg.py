"""Matplotlib's SVG made fit for a page (colours of the theme, unique ids, tooltips), and small drawings."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from html import escape

__all__ = ["DARK", "LIGHT", "SERIES", "inline", "sparkline"]

# Every colour a figure may use, by the name of the page's CSS variable. Figures are drawn in light colours;
# in the page each becomes its variable, which has another value in the dark. No two light colours are equal.
LIGHT = {
    "ink": "#1b1f24",
    "muted": "#57616c",
    "grid": "#e4e7ea",
    "surface": "#fffffe",
    "band": "#d9efe2",
    "bars": "#c3ccd5",
    "s0": "#0b62a8",
    "s1": "#c74a0a",
    "s2": "#0a7d5a",
    "s3": "#98408a",
    "s4": "#8b6a00",
    "s5": "#0f8fb0",
    "s6": "#a11d3f",
    "s7": "#5b5fc7",
    "s8": "#4f7a1c",
    "s9": "#6b5344",
}
DARK = {
    "ink": "#e9ecef",
    "muted": "#a6b0ba",
    "grid": "#2b333b",
    "surface": "#161b20",
    "band": "#16392b",
    "bars": "#46525e",
    "s0": "#64b5f6",
    "s1": "#ff9357",
    "s2": "#45d0a2",
    "s3": "#e18fd4",
    "s4": "#e5bd45",
    "s5": "#5fd3ec",
    "s6": "#ff7d9b",
    "s7": "#a8abff",
    "s8": "#a3d166",
    "s9": "#cdb09c",
}
SERIES = [name for name in LIGHT if re.fullmatch(r"s\d+", name)]

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_NAMES = {colour: f"var(--{name})" for name, colour in LIGHT.items()}
_COLOUR = re.compile("|".join(map(re.escape, _NAMES)))


def inline(text: str, name: str, title: str, tips: Mapping[str, Sequence[str]]) -> str:
    """The `<svg>` element of a Matplotlib SVG file, ready to stand in a page.

    `name` (letters, digits, dashes) is put before every id, so that two figures do not clash; `title` names
    the figure for screen readers; `tips` maps the gid of a line of markers to what each marker says, in
    drawing order, and that of a bar to what it says.
    """
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _XLINK)
    root = ET.fromstring(text)
    for metadata in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(metadata)
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    root.set("role", "img")
    root.set("aria-label", title)
    for element in root.iter():
        identity = element.get("id", "")
        if match := re.fullmatch(r"(series|points)-(\d+)(-\d+)?", identity):
            element.set("class", f"series series-{match[2]}")
            for mark, tip in zip(element.iter(f"{{{_SVG}}}use"), tips.get(identity, ()), strict=False):
                _tell(mark, tip)
        if re.fullmatch(r"bar-\d+", identity):
            for tip in tips.get(identity, ()):
                _tell(element, tip)
        if identity:
            element.set("id", f"{name}-{identity}")
        for key in ("clip-path", f"{{{_XLINK}}}href"):
            if key in element.attrib:
                element.set(key, element.get(key, "").replace("#", f"#{name}-"))
    for parent in root.iter():
        parent.text = (parent.text or "").strip() or None
        for child in parent:
            child.tail = None
    markup = ET.tostring(root, encoding="unicode")
    return _COLOUR.sub(lambda match: _NAMES[match[0]], markup)


def _tell(mark: ET.Element, tip: str) -> None:
    """What a mark says, where it is pointed at and to screen readers."""
    mark.set("class", "mark")
    mark.set("role", "img")
    mark.set("aria-label", tip)


def sparkline(
    low: float,
    high: float,
    heights: Sequence[float],
    curves: Iterable[tuple[str, Sequence[float]]],
    label: str,
) -> str:
    """Small `<svg>` of a histogram on a logarithmic scale, with curves over it.

    `heights` are the bins' densities; each curve is (its class, densities at the bins' centres). The scale
    spans from the smallest height above 0 (there must be one) to the largest; what lies outside is cut.
    """
    width, height, axis = 240.0, 96.0, 14.0
    seen = [value for value in heights if value > 0]
    floor, top = math.log(min(seen)) - 0.7, math.log(max(seen)) + 0.35

    def y(value: float) -> float:
        share = (math.log(value) - floor) / (top - floor) if value > 0 else 0.0
        return round(height * (1 - min(max(share, 0.0), 1.0)), 1)

    step = width / len(heights)
    bars = "".join(f"V{y(value):g}H{round((i + 1) * step, 1):g}" for i, value in enumerate(heights))
    lines = []
    for colour, values in curves:
        path = " ".join(f"{(i + 0.5) * step:.1f},{y(value):g}" for i, value in enumerate(values))
        lines.append(f'<polyline class="{escape(colour)}" points="{path}"/>')
    return (
        f'<svg viewBox="0 0 {width:g} {height + axis:g}" role="img" aria-label="{escape(label)}">'
        f'<path class="bars" d="M0,{height:g}{bars}V{height:g}Z"/>{"".join(lines)}'
        f'<text x="0" y="{height + axis - 2:g}">{_short(low)}</text>'
        f'<text x="{width:g}" y="{height + axis - 2:g}" text-anchor="end">{_short(high)}</text></svg>'
    )


def _short(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")
