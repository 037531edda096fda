"""How a model's tensors are quantized, and the step that reaches a target."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from .._core import codec as _core
from ..errors import InvalidArgument, called, described, number, threads_of
from ..quant import Deadzone, Midtread, Quantizer, parse_quantizers
from ..quant.recipe import is_class
from .lossless import effort_of
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

    effort: str = "fast"
    threads: int = 1
    rdo: float | None = None
    trellis: int = 0

    @staticmethod
    def of(effort: str, threads: int | None, rdo: float | bool | None, trellis: int) -> Plan:
        """From a user's arguments; raises InvalidArgument for those out of range."""
        if isinstance(trellis, bool) or not isinstance(trellis, (int, np.integer)) or trellis not in STATES:
            raise InvalidArgument(f"trellis: expected one of {STATES} states, got {described(trellis)}")
        effort_of(effort)
        if rdo is True or (rdo is None and trellis):
            rdo = DEFAULT_RDO
        elif rdo is False:
            rdo = 0.0 if trellis else None
        if rdo is not None:
            rdo = number("rdo", rdo, least=0)
        return Plan(effort, threads_of(threads), rdo, int(trellis))

    @property
    def choice(self) -> str:
        """The argument by which levels are chosen."""
        return "trellis" if self.trellis else "rdo"

    @property
    def per_channel(self) -> str:
        """Why there is no choice among levels of steps that channels have."""
        return (
            f"{self.choice}, scope: levels can be chosen where a tensor has one step, not one a channel; "
            f"take scope 'tensor' or 'model', or leave out {self.choice}"
        )

    def levels(self, x: NDArray[np.float32], quantizer: Quantizer) -> Chosen:
        """Levels of one tensor. Raises InvalidArgument for a quantizer whose levels cannot be chosen."""
        if self.rdo is None:
            return Plain(quantizer.quantize(x, threads=self.threads), quantizer)
        if not isinstance(quantizer, (Midtread, Deadzone)):
            raise InvalidArgument(
                f"{self.choice}: levels can be chosen for midtread and deadzone only, got {quantizer.label}"
            )
        if not isinstance(quantizer.step, (int, float)):
            raise InvalidArgument(self.per_channel)
        return cheapest(x, quantizer.step, self.rdo, self.trellis, self.effort, self.threads)


@dataclass(frozen=True)
class Goal:
    """bits_per_weight (real bits per learned value), bytes (of the whole file) or mse (of what is quantized)."""

    name: str
    value: float


def goal_of(bits_per_weight: float | None, bytes: int | None, mse: float | None) -> Goal:
    """What is requested; raises InvalidArgument for none, for several, and for what is not above 0."""
    given = {"bits_per_weight": bits_per_weight, "bytes": bytes, "mse": mse}
    goals = [Goal(name, number(name, value, above=0)) for name, value in given.items() if value is not None]
    if len(goals) != 1:
        found = " and ".join(goal.name for goal in goals) or "none"
        raise InvalidArgument(f"bits_per_weight, bytes, mse: expected one of them, got {found}")
    return goals[0]


def uniform_family(quantizer: Any) -> Callable[[float], Midtread | Deadzone]:
    """step -> quantizer of the named family; raises InvalidArgument for what is none."""
    if isinstance(quantizer, str) or is_class(quantizer):
        with called("quantizers", "quantizer"):
            specs = parse_quantizers(quantizer)
        built = specs[0].build(8) if len(specs) == 1 and specs[0].takes_bits else None
        if isinstance(built, (Midtread, Deadzone)):
            return lambda step: replace(built, step=step)
    raise InvalidArgument(f"quantizer: expected 'midtread' or 'deadzone:δ', got {described(quantizer)}")


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
    file_bytes: Callable[[Mapping[str, tuple[Row, bytes]]], int],
) -> tuple[float, dict[str, tuple[Row, bytes]]]:
    """The step that comes near `goal` from the good side, with what `quantize` gave for it.

    Args:
        quantize: step -> (row, section) of every quantized tensor.
        others: learned tensors that stay as they are: their bits count, for bits_per_weight.
        file_bytes: size of the whole file with these sections, for bytes.

    Raises:
        InvalidArgument: no step reaches the goal; names the nearest value.
    """
    by_bits = goal.name != "mse"
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
        learned: list[Costs] = [*rows, *others]
        weights = sum(r.size for r in learned)
        if goal.name == "bytes":
            size = file_bytes(found)
            over, nearest = 8 * (size - goal.value) / weights, min(nearest, size)
        elif by_bits:
            bits = 8 * sum(r.bytes for r in learned) / weights
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
        raise InvalidArgument(f"{goal.name}: {goal.value:g} cannot be reached, the nearest is {nearest:.6g}")
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
