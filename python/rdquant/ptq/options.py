"""What `quantize_static` may be told."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InvalidArgument
from .grids import KINDS
from .ranges import METHODS

__all__ = ["ROUNDINGS", "Options"]

ROUNDINGS = ("nearest", "feedback", "order")


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
            if value not in allowed:
                raise InvalidArgument(f"{name}: expected one of {allowed}, got {value!r}")
        if not 50 <= self.percentile <= 100:
            raise InvalidArgument(f"percentile: expected 50..100, got {self.percentile!r}")
        if not 0 <= self.equalize <= 1:
            raise InvalidArgument(f"equalize: expected a strength 0..1, got {self.equalize!r}")
        for name, limit in (("max_kl", self.max_kl), ("max_noise", self.max_noise)):
            if not limit > 0:
                raise InvalidArgument(f"{name}: expected a number above 0, got {limit!r}")
