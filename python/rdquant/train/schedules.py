"""Values of γ and bits that change while training goes on, as functions of the share of steps that is done."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import InvalidArgument, described, number

__all__ = ["Ramp", "Schedule", "Stages", "bounds", "last_value", "settled_at", "value_at"]


@dataclass(frozen=True)
class Ramp:
    """From `start` to `end` between the shares `begin` and `finish` of all steps.

    value = end + (start − end)·(1 − t)^`power`, t from 0 to 1. Power 3 rises fast, then slowly, as the schedule of sparsity
    of Zhu and Gupta (2017, "To prune, or not to prune", equation 1); power 1 is a line.

    Raises InvalidArgument unless 0 ≤ begin < finish ≤ 1 and power > 0.
    """

    start: float
    end: float
    begin: float = 0.0
    finish: float = 0.5
    power: float = 3.0

    def __post_init__(self) -> None:
        for name in ("start", "end", "begin", "finish", "power"):
            number(name, getattr(self, name))
        if not 0 <= self.begin < self.finish <= 1:
            raise InvalidArgument(
                f"Ramp: expected 0 ≤ begin < finish ≤ 1, got {self.begin!r} and {self.finish!r}"
            )
        if not 0 < self.power < math.inf:
            raise InvalidArgument(f"Ramp: expected a power above 0, got {self.power!r}")

    def __call__(self, progress: float) -> float:
        t = min(max((progress - self.begin) / (self.finish - self.begin), 0.0), 1.0)
        return self.end + (self.start - self.end) * (1.0 - t) ** self.power


@dataclass(frozen=True, init=False)
class Stages:
    """Values that hold from a share of all steps on: Stages({0: 32, 0.3: 8, 0.6: 4}).

    stages: share, 0..1 → value. Raises InvalidArgument unless the shares are within 0..1 and one of them is 0.
    """

    stages: tuple[tuple[float, float], ...]

    def __init__(self, stages: Mapping[float, float]) -> None:
        if not isinstance(stages, Mapping):
            raise InvalidArgument(f"stages: expected values by shares, got {described(stages)}")
        pairs = [(number("stages", share), number("stages", value)) for share, value in stages.items()]
        ordered = tuple(sorted(zip([share for share, _ in pairs], stages.values(), strict=True)))
        if not ordered or ordered[0][0] != 0 or ordered[-1][0] > 1:
            raise InvalidArgument(f"stages: expected shares from 0 to 1, the first 0, got {dict(stages)!r}")
        object.__setattr__(self, "stages", ordered)

    def __call__(self, progress: float) -> float:
        return [value for share, value in self.stages if share <= max(progress, 0.0)][-1]


Schedule = float | Ramp | Stages


def value_at(schedule: Schedule, progress: float) -> float:
    """The value when the share `progress` of all steps is done."""
    return schedule(progress) if isinstance(schedule, Ramp | Stages) else schedule


def bounds(schedule: Schedule) -> list[float]:
    """Values of the schedule between which all its others lie."""
    if isinstance(schedule, Stages):
        return [value for _, value in schedule.stages]
    return [value_at(schedule, 0.0), last_value(schedule)]


def last_value(schedule: Schedule) -> float:
    """The value that the schedule ends with."""
    return value_at(schedule, 1.0)


def settled_at(schedule: Schedule) -> float:
    """The share of all steps from which on the value no longer changes."""
    if isinstance(schedule, Ramp):
        return schedule.finish
    return schedule.stages[-1][0] if isinstance(schedule, Stages) else 0.0
