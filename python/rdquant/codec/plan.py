"""How a model's tensors are quantized, and the step that reaches a target."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from .._core import codec as _core
from ..errors import InvalidArgument
from ..quant import Deadzone, Midtread, Quantizer, parse_quantizers
from .rdo import DEFAULT_RDO, STATES, cheapest

__all__ = ["Chosen", "Goal", "Plain", "Plan", "goal_of", "reach", "uniform_family"]

_ROUNDS = 14
_CLOSE = 0.003  # bits, or half the binary logarithm of the squared error
_REFUSED = 8.0  # so far from the goal a step counts that is out of range


class Chosen(Protocol):
    """Levels of a tensor, with what dequantizes and codes them."""

    @property
    def levels(self) -> NDArray[np.int32]: ...
    @property
    def quantizer(self) -> Quantizer: ...
    @property
    def trellis(self) -> _core.Trellis: ...


@dataclass(frozen=True)
class Plain:
    """Levels that are no path of a trellis."""

    levels: NDArray[np.int32]
    quantizer: Quantizer
    trellis: _core.Trellis = field(default_factory=_core.Trellis)


@dataclass(frozen=True)
class Plan:
    """Profile and threads of the coder; λ in steps² a bit, None without optimisation; states of the trellis."""

    profile: str = "fast"
    threads: int = 1
    rdo: float | None = None
    trellis: int = 0

    @staticmethod
    def of(profile: str, threads: int, rdo: float | bool | None, trellis: int) -> Plan:
        """From a user's arguments; raises InvalidArgument for those out of range."""
        if trellis not in STATES or isinstance(trellis, bool):
            raise InvalidArgument(f"trellis: expected one of {STATES} states, got {trellis!r}")
        if rdo is True or (rdo is None and trellis):
            rdo = DEFAULT_RDO
        elif rdo is False:
            rdo = 0.0 if trellis else None
        if rdo is not None and not (isinstance(rdo, (int, float)) and math.isfinite(rdo) and rdo >= 0):
            raise InvalidArgument(f"rdo: expected True, False or a number of at least 0, got {rdo!r}")
        return Plan(profile, threads, rdo, trellis)

    def levels(self, x: NDArray[np.float32], quantizer: Quantizer) -> Chosen:
        """Levels of one tensor. Raises InvalidArgument for a quantizer whose levels cannot be chosen."""
        if self.rdo is None:
            return Plain(quantizer.quantize(x, threads=self.threads), quantizer)
        if not isinstance(quantizer, (Midtread, Deadzone)) or not isinstance(quantizer.step, (int, float)):
            raise InvalidArgument(
                f"rdo, trellis: expected midtread or deadzone with one step a tensor, got {quantizer.label}"
            )
        return cheapest(x, quantizer.step, self.rdo, self.trellis, self.profile, self.threads)


@dataclass(frozen=True)
class Goal:
    """target_bits (real bits a learned value) or target_mse (mean squared error of what is quantized)."""

    name: str
    value: float


def goal_of(target_bits: float | None, target_mse: float | None) -> Goal | None:
    """What the user asked for, None if nothing; raises InvalidArgument for both, or none above 0."""
    if target_bits is not None and target_mse is not None:
        raise InvalidArgument("target_bits, target_mse: expected one of them, got both")
    for name, value in (("target_bits", target_bits), ("target_mse", target_mse)):
        if value is not None:
            if not (isinstance(value, (int, float)) and math.isfinite(value) and value > 0):
                raise InvalidArgument(f"{name}: expected a number above 0, got {value!r}")
            return Goal(name, float(value))
    return None


def uniform_family(quantizer: Any, bits: int | None) -> Callable[[float], Midtread | Deadzone]:
    """step -> quantizer of the named family; raises InvalidArgument for what is none."""
    if bits is not None:
        raise InvalidArgument("bits: a target finds the step, leave bits out")
    if quantizer is None:
        return Midtread
    if isinstance(quantizer, str):
        specs = parse_quantizers(quantizer)
        built = specs[0].build(8) if len(specs) == 1 and specs[0].takes_bits else None
        if isinstance(built, (Midtread, Deadzone)):
            return lambda step: replace(built, step=step)
    raise InvalidArgument(f"quantizer: with a target expected 'midtread' or 'deadzone:δ', got {quantizer!r}")


class Costs(Protocol):
    """What a tensor costs: bytes, number of elements, squared error and energy."""

    @property
    def bytes(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def squared_error(self) -> float: ...
    @property
    def energy(self) -> float: ...


Row = TypeVar("Row", bound=Costs)


def reach(
    goal: Goal,
    quantize: Callable[[float], Mapping[str, tuple[Row, bytes]]],
    others: Sequence[Costs],
) -> tuple[float, dict[str, tuple[Row, bytes]]]:
    """The step that comes near `goal` from the good side, with what `quantize` gave for it.

    Args:
        quantize: step -> (row, section) of every quantized tensor.
        others: learned tensors that stay as they are: their bits count, for target_bits.

    Raises:
        InvalidArgument: no step reaches the goal; names the nearest value.
    """
    by_bits = goal.name == "target_bits"
    best: tuple[float, dict[str, tuple[Row, bytes]]] | None = None
    low: tuple[float, float] | None = (
        None  # (place, value): meets the goal; the larger place, the worse the value
    )
    high: tuple[float, float] | None = None
    place, nearest = 0.0, math.inf
    for turn in range(_ROUNDS):
        step = 2.0 ** (-place if by_bits else place)
        try:
            found = dict(quantize(step))
        except InvalidArgument:
            if math.isinf(nearest):  # not the step's fault, perhaps
                raise
            if best is None:
                break
            high = (place, _REFUSED)
            place = _next(low, high, place, _REFUSED, turn)
            continue
        rows = [row for row, _ in found.values()]
        if by_bits:
            learned: list[Costs] = [*rows, *others]
            bits = 8 * sum(r.bytes for r in learned) / sum(r.size for r in learned)
            over, nearest = bits - goal.value, min(nearest, bits)
        else:
            mse = sum(r.squared_error for r in rows) / sum(r.size for r in rows)
            over, nearest = 0.5 * math.log2(max(mse, 1e-300) / goal.value), min(nearest, mse)
        if over <= 0 and (best is None or low is None or place > low[0]):
            best, low = (step, found), (place, over)
        elif over > 0:
            high = (place, over)
        if -_CLOSE <= over <= 0:
            break
        place = _next(low, high, place, over, turn)
    if best is None:
        raise InvalidArgument(f"{goal.name}: {goal.value:g} cannot be reached, the nearest is {nearest:.4g}")
    return best


def _next(
    low: tuple[float, float] | None, high: tuple[float, float] | None, place: float, over: float, turn: int
) -> float:
    """Where to look next: bits and half the logarithm of the error change by about one from place to place."""
    if low is None or high is None:
        return place - max(-8.0, min(8.0, over + _CLOSE / 2)) * (1.0 if turn < 4 else 1.5)
    if turn % 3 == 2:
        return (low[0] + high[0]) / 2
    share = (-_CLOSE / 2 - low[1]) / (high[1] - low[1])
    return low[0] + max(0.02, min(0.98, share)) * (high[0] - low[0])
