"""Levels chosen by rate and distortion: scalar, or along the paths of a trellis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import as_float32
from .._core import codec as _core
from .._tables import Brief, short
from ..errors import InvalidArgument, count, described, flag, number, threads_of
from ..quant import Deadzone
from .lossless import effort_of, level_type

__all__ = ["DEFAULT_RDO", "STATES", "ColumnQuantizer", "Optimised", "optimise"]

STATES = (0, 8, 32)
DEFAULT_RDO = 0.08
"""λ in steps² a bit: about what the error falls by a bit, 0.1155 steps² for scalar levels at high rates, less else."""
_LOW_RATE = 1.6  # bits per weight below which a trellis, which cannot rest at zero, may lose to scalar levels


@dataclass(frozen=True, repr=False)
class Optimised(Brief):
    """Levels of a tensor that were chosen by rate and distortion.

    Attributes:
        levels: int32, shape of the tensor.
        quantizer: with which they are dequantized. With a trellis its step is about half of what was asked for.
        states: of the trellis that the levels are a path of; 0: none.
        chains: of the trellis.
    """

    levels: NDArray[np.int32]
    quantizer: Deadzone
    states: int = 0
    chains: int = 0

    def dequantize(self, threads: int | None = 1) -> NDArray[np.float32]:
        """The values that the levels stand for: float32, shape of the levels.

        threads: up to this many threads; None or 0: all cores.
        """
        return self.quantizer.dequantize(self.levels, threads=threads)

    def encode(self, effort: str = "fast", threads: int | None = 1) -> bytes:
        """The levels, coded; `decode_levels` restores them.

        effort, threads: as for `encode_levels`.
        """
        kind, shape = level_type(self.levels.dtype), list(self.levels.shape)
        return _core.encode_levels(
            self.levels, shape, kind, effort_of(effort), threads_of(threads), self.trellis
        )

    @property
    def trellis(self) -> _core.Trellis:
        """As the core takes it."""
        return _core.Trellis(self.states, self.chains)


def optimise(
    x: ArrayLike,
    step: float,
    rdo: float = DEFAULT_RDO,
    trellis: int = 8,
    weights: ArrayLike | None = None,
    rounds: int = 1,
    refine: bool = True,
    threads: int | None = 1,
) -> Optimised:
    """Levels that make Σ weight·(x − x̂)² + λ·bits small, the bits being those of the codec's own model.

    Args:
        x: float32 tensor; the first axis should be the output channels, as for `encode_levels`.
        step: between two levels at the same place. With a trellis levels are multiples of step/2, half of which
            can be taken at a time, so that its rate is about that of a scalar quantizer of the same step.
        rdo: λ = rdo·step² (times the mean weight); 0: least error.
        trellis: states, 8 or 32, of entropy-coded trellis-coded quantization (Marcellin and Fischer,
            1990; Fischer and Wang, 1992) with Ungerboeck's codes; 0: level by level.
        weights: of the squared errors: shape of x, or one that can be broadcast to it, such as one a column.
        rounds: of choosing levels and fitting the model of the rates to them.
        refine: fit step and reconstruction points to the levels in the end.
        threads: up to this many threads; None or 0: all cores. The levels do not depend on it.

    Raises:
        InvalidArgument: arguments out of range, or values that are not finite.
    """
    values = as_float32(x, "x")
    if not isinstance(trellis, (int, np.integer)) or trellis not in STATES:
        raise InvalidArgument(f"trellis: expected one of {STATES} states, got {described(trellis)}")
    step, rdo = number("step", step, above=0), number("rdo", rdo, least=0)
    rounds, refine, threads = count("rounds", rounds), flag("refine", refine), threads_of(threads)
    some = None
    mean = 1.0
    if weights is not None:
        given = as_float32(weights, "weights")
        try:
            some = np.ascontiguousarray(np.broadcast_to(given, values.shape))
        except ValueError:
            raise InvalidArgument(
                f"weights: expected a shape that can be broadcast to {list(values.shape)}, got {list(given.shape)}"
            ) from None
        if some.size and not (np.isfinite(some).all() and some.min() >= 0):
            raise InvalidArgument("weights: expected finite values of at least 0")
        mean = float(some.mean()) if some.size else 1.0
    levels = np.empty(values.shape, np.int32)
    fine = step / 2 if trellis else step
    found_step, delta, used = _core.quantize_rdo(
        values,
        list(values.shape),
        trellis,
        fine,
        rdo * step * step * mean,
        rounds,
        refine,
        threads,
        some,
        levels,
    )
    return Optimised(levels, Deadzone(found_step, delta), used.states, used.chains)


def cheapest(
    x: NDArray[np.float32], step: float, rdo: float, trellis: int, effort: str, threads: int
) -> Optimised:
    """With the trellis, or without where that costs less: at low rates there may be nothing but zeros to code."""
    best = optimise(x, step, rdo, trellis, threads=threads)
    if not trellis or x.size == 0:
        return best
    size = len(best.encode(effort, threads))
    if 8 * size > _LOW_RATE * x.size:
        return best
    other = optimise(x, step, rdo, 0, threads=threads)
    cost, other_cost = (
        float(np.square(x.astype(np.float64) - o.dequantize()).sum()) + rdo * step * step * 8 * n
        for o, n in ((best, size), (other, len(other.encode(effort, threads))))
    )
    return other if other_cost < cost else best


class ColumnQuantizer:
    """Quantizes a tensor column by column where a column's targets depend on the errors of those before it.

    A column is one (input channel, tap): element `column` of every output channel. The rates come from a first
    quantization; `optimise` or plain rounding will do. After the last column, `Optimised(levels, quantizer,
    states, chains)` codes the result.

    Args:
        levels: int32 levels of the first quantization, shape of the tensor, in multiples of the step that
            targets are divided by. They need to follow no trellis.
        trellis: states, as for `optimise`; the chains run down the columns.
        fed: errors are fed down the columns (see `rdquant.calibrate.LayerRounder`), which then have one chain each.

    Raises:
        InvalidArgument: other states, or levels so large that rates do not matter.
    """

    def __init__(self, levels: NDArray[np.int32], trellis: int = 8, fed: bool = False) -> None:
        self.core = _core.ColumnQuantizer(levels, list(levels.shape), trellis, fed)
        self.rows: int = self.core.rows
        self.columns: int = self.core.columns
        self.states: int = self.core.trellis.states
        self.chains: int = self.core.trellis.chains

    def __repr__(self) -> str:
        return short(self, f"{self.rows} rows, {self.columns} columns, {self.states} states")

    def quantize(
        self,
        column: int,
        targets: ArrayLike,
        levels: NDArray[np.int32],
        rdo: float = 0.0,
        delta: float = 0.5,
    ) -> None:
        """Choose the levels of one column.

        Args:
            column: number; the columns of an input channel have to be taken in order.
            targets: numbers [rows], in multiples of the step between neighbouring levels (of a trellis: all levels,
                odd and even).
            levels: int32, the whole tensor in its shape, C-contiguous; the column is written, those before it are read.
            rdo: squared error, in those steps² and divided by the column's weight, that a bit is worth.
            delta: a level v stands for v − sign(v)·(½ − delta) steps.

        Raises InvalidArgument for targets that are not finite, or beyond ±8183, where no level is near enough.
        """
        self.core.quantize(column, as_float32(targets, "targets"), delta, 1.0, rdo, levels)
