"""The model of a tensor of levels: grid, predictors, scales and the probabilities that follow from them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .binary import STARTS, AdaptiveInteger, Decisions
from .density import MULTIPLIERS, cells, cumulative
from .fields import Fields


@dataclass(frozen=True)
class Grid:
    rows: int
    columns: int
    taps: int

    @classmethod
    def of(cls, shape: list[int]) -> Grid:
        if len(shape) < 2:
            return cls(1, math.prod(shape), 1)
        taps = math.prod(shape[2:])
        return cls(shape[0], shape[1], taps) if taps <= 64 else cls(math.prod(shape[:-1]), shape[-1], 1)

    def size(self) -> int:
        return self.rows * self.columns * self.taps


@dataclass
class Predictor:
    bias: int
    up: int
    past: list[int]


@dataclass
class Model:
    grid: Grid
    shift: int = 0
    centre: int = 0
    states: int = 0  # ν of a trellis
    chains: int = 0
    table: list[int] = field(default_factory=list)  # where each symbol begins, and 65536
    window: int = 0
    closed: bool = False
    folded: bool = False
    shape: int = 0
    dead: int = 0
    predictors: list[Predictor] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)  # scales
    columns: list[int] = field(default_factory=list)
    taps: list[int] = field(default_factory=list)

    def symbols(self) -> int:
        return len(self.table) - 1 if self.table else 2 * self.window + 1

    def start(self, symbol: int, middle: int, mean: int, multiplier: int, dead: int) -> int:
        """Where a symbol's interval begins, out of 65536; it ends where the next one begins.

        middle: the level whose symbol is the window, which is ⌊mean + ½⌋ of the density that residuals are from.
        """
        if symbol <= 0:
            return 0
        if symbol >= self.symbols():
            return 65536
        if self.table:
            return self.table[symbol]
        level = middle - self.window + symbol
        edge = 16 * level - 8 + (dead if level >= 1 else -dead)
        return symbol + cumulative(cells(self.shape, self.folded, self.symbols()), edge - mean, multiplier)

    def mean(self, levels: list[int], q: int, t: int) -> int:
        """In 1/16 level, of slice q, tap t of a part, from its levels so far."""
        if not self.predictors:
            return 0
        at, row = q * self.grid.taps + t, self.grid.columns * self.grid.taps
        p = self.predictors[t]
        total = 4 * p.bias + sum(past * levels[at - 1 - j] for j, past in enumerate(p.past))
        if q >= self.grid.columns:
            total += p.up * levels[at - row]
        return min(max((total + 2) >> 2, -16 * 8191), 16 * 8191)


def rounded(mean: int) -> int:
    return (mean + 8) >> 4


def multiplier_of(scale: int) -> int:
    return MULTIPLIERS[min(max(scale, 0), 95)]


def halved(mean: int, odd: bool) -> int:
    """Of a trellis: the mean of ⌊v/2⌋."""
    return (mean >> 1) - (8 if odd else 0)


def read_model(fields: Fields, grid: Grid) -> Model:
    flags, model = fields.byte(), Model(grid)
    model.shift = fields.byte() if flags & 64 else 0
    model.centre = fields.zigzag() if flags & 32 else 0
    if flags & 128:
        model.states, model.chains = fields.byte(), fields.varint()
    if flags & 1:
        symbols = fields.varint()
        code, coder, count = Decisions(fields.block()), AdaptiveInteger(), 0
        model.table = [0]
        for _ in range(symbols):
            count += coder.read(code)
            model.table.append(model.table[-1] + count)
        return model
    read_density(fields, model)
    base = fields.byte()
    steps = fields.byte() if flags & 12 else 0
    code = Decisions(fields.block() if flags & 30 else b"")
    coders = {name: AdaptiveInteger(start) for name, start in STARTS.items()}
    if flags & 2:
        model.predictors = [read_predictor(code, coders, t) for t in range(grid.taps)]

    def scales(flag: int, name: str, count: int, base: int, step: int) -> list[int]:
        return [base + step * coders[name].read(code) if flags & flag else base for _ in range(count)]

    model.rows = scales(4, "row", grid.rows, base, steps // 4 + 1)
    model.columns = scales(8, "column", grid.columns, 0, steps % 4 + 1)
    model.taps = scales(16, "tap", grid.taps, 0, 1)
    return model


def read_density(fields: Fields, model: Model) -> None:
    model.window = fields.byte()
    if model.window == 0:
        model.window, model.closed = 1, True
    shape = fields.byte()
    if shape == 255:
        shape, model.closed = fields.byte(), True
    model.shape, model.dead = shape // 16, 2 * (shape % 16) - 8


def read_predictor(code: Decisions, coders: dict[str, AdaptiveInteger], tap: int) -> Predictor:
    bias, up = coders["bias"].read(code), coders["up"].read(code)
    return Predictor(bias, up, [coders["near" if j < 4 else "far"].read(code) for j in range(min(tap, 24))])


class Trellis:
    """States of the chains of a path of `slices` slices."""

    def __init__(self, model: Model, slices: int) -> None:
        self.model, self.slices = model, slices
        self.states = [0] * (slices * model.grid.taps if model.states else 0)
        self.odd_bits, self.input_bits = {3: (0o13 >> 1, 0o4 >> 1), 5: (0o45 >> 1, 0o10 >> 1)}.get(
            model.states, (0, 0)
        )

    def odd(self, q: int, t: int) -> bool:
        return self.states[q * self.model.grid.taps + t] & 1 == 1

    def take(self, q: int, t: int, level: int) -> None:
        if q + self.model.chains < self.slices:
            state, taps = self.states[q * self.model.grid.taps + t], self.model.grid.taps
            after = state >> 1 ^ (self.odd_bits if level & 1 else 0) ^ (self.input_bits if level & 2 else 0)
            self.states[(q + self.model.chains) * taps + t] = after
