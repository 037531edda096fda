"""Which points are evaluated, in which order: generators that yield a point and receive what it gave."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

from ..codec import Rate
from .point import Point

__all__ = ["Search", "ascending", "one"]

#: Yields points; is sent True where a point is within the tolerance. Ends when it needs no more.
Search = Generator[Point, bool, None]


def one(point: Point) -> Search:
    """A single point of a grid."""
    yield point


def ascending(points: Sequence[Point], rates: Mapping[Point, Rate]) -> Search:
    """From the smallest rate upwards to the first point within the tolerance.

    That point is the full grid's best choice whether or not the accuracy rises steadily with the rate: all cheaper
    points have been shown to lose too much. They cost little, since a sequential test stops each of them early, and
    the dearer ones cost nothing.
    """
    for point in sorted(points, key=lambda p: (rates[p].entropy, p.bits or 0)):
        within = yield point
        if within:
            return
