"""The options of `quantize_static`."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import flag, number, one_of, threads_of
from .grids import KINDS
from .ranges import METHODS

__all__ = ["ROUNDINGS", "Options"]

ROUNDINGS = ("nearest", "feedback", "order")
"""Ways to round weights; see `quantize_static`."""


@dataclass(frozen=True)
class Options:
    """Arguments of `quantize_static`, checked; see there."""

    activations: str
    symmetric: bool
    per_channel: bool
    ranges: str
    percentile: float
    equalize: float
    rounding: str
    correct_bias: bool
    max_kl: float
    max_noise: float
    threads: int | None

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("activations", self.activations, KINDS),
            ("ranges", self.ranges, METHODS),
            ("rounding", self.rounding, ROUNDINGS),
        ):
            one_of(name, value, allowed)
        for name in ("symmetric", "per_channel", "correct_bias"):
            flag(name, getattr(self, name))
        number("percentile", self.percentile, least=50, most=100)
        number("equalize", self.equalize, least=0, most=1)
        number("max_kl", self.max_kl, above=0)
        number("max_noise", self.max_noise, above=0)
        object.__setattr__(self, "threads", threads_of(self.threads) or None)
