"""Levels as decisions whose probabilities are mixed."""

from __future__ import annotations

import bisect
from collections import defaultdict
from typing import Any

from .binary import AdaptiveBit, AdaptiveInteger, Decisions
from .density import power_of_two
from .model import Model, Trellis, halved, multiplier_of, rounded
from .similar_rows import SimilarRows

BOUNDS = (0, 1, 2, 4, 6, 9, 13, 18, 25, 35, 50, 70, 100, 140, 200)


def squash_of(x: int) -> int:
    """65536/(1 + exp(−x/256))."""
    down = abs(x) * 24204406 >> 16  # |x|/256·log2(e) in 1/65536
    e = power_of_two(-down & 65535) >> (down + 65535 >> 16)  # exp(−|x|/256)·2^31
    return min(((e if x < 0 else 1 << 31) << 16) // ((1 << 31) + e), 65535)


#: Of x + 2047.
SQUASH = [squash_of(x) for x in range(-2047, 2048)]
#: Of p/4096 the largest x whose squashed value is at most 16p + 8; −2047 where there is none.
STRETCH = [max(bisect.bisect_right(SQUASH, 16 * p + 8) - 1, 0) - 2047 for p in range(4096)]


class Mixer:
    """Weighs stretched probabilities."""

    def __init__(self) -> None:
        self.weights, self.seen = [65536] + [0] * 8, 0

    def mix(self, inputs: list[int]) -> int:
        total = sum(w * i for w, i in zip(self.weights, inputs, strict=True)) >> 16
        return SQUASH[min(max(total, -2047), 2047) + 2047]

    def learn(self, inputs: list[int], p: int, yes: bool) -> None:
        error = (65535 if yes else 0) - p
        speed = 15 if self.seen < 256 else 16 if self.seen < 4096 else 17
        self.seen += 1
        for i, value in enumerate(inputs):
            moved = self.weights[i] + (value * error + (1 << (speed - 1)) >> speed)
            self.weights[i] = min(max(moved, -(2**20)), 2**20)


def magnitude_class(magnitude: int) -> int:
    return bisect.bisect_left(BOUNDS, magnitude)


def sign(v: int) -> int:
    return (v > 0) - (v < 0)


def near_zero(v: int) -> int:
    return min(max(v, -6), 6)


def probability(of: int, out_of: int) -> int:
    return min(max((of << 16) // max(1, out_of), 1), 65535)


class MixedPart:
    """A part of method 3, or 5 if it refers to similar rows; its levels are decoded one by one."""

    def __init__(self, model: Model, row: int, rows: int, data: bytes, refers: bool, path_rows: int) -> None:
        self.model, self.row, self.code = model, row, Decisions(data)
        self.levels = [0] * (rows * model.grid.columns * model.grid.taps)
        self.excess = AdaptiveInteger()
        self.bits: dict[Any, AdaptiveBit] = defaultdict(AdaptiveBit)
        self.mixers: dict[Any, Mixer] = defaultdict(Mixer)
        self.newest = (0, 0)
        length = model.grid.columns * model.grid.taps
        similar = refers and not model.table and rows > 1 and 64 <= length <= 2**20
        self.similar = SimilarRows(rows, length) if similar else None
        self.path = path_rows * model.grid.columns  # slices of a path of the trellis
        self.trellis = Trellis(model, self.path)
        counts = [b - a for a, b in zip(model.table, model.table[1:], strict=False)]
        self.middle = counts.index(max(counts)) if model.table else model.window  # symbol of residual 0

    def read(self) -> list[int]:
        taps = self.model.grid.taps
        for i in range(len(self.levels)):
            self.levels[i] = self.level(i // taps, i % taps)
        return self.levels

    def level(self, q: int, t: int) -> int:
        model = self.model
        mean = model.mean(self.levels, q, t)
        scale = self.scale(q, t)
        like, narrow = mean, multiplier_of(scale)
        if self.similar:
            like += min(max((self.similar.mean() + 2) >> 2, -4096), 4096)
            narrow = multiplier_of(scale - 2)
        if model.states and t == 0 and q % self.path == 0:
            self.trellis = Trellis(model, self.path)
        odd = bool(model.states) and self.trellis.odd(q % self.path, t)
        centre = halved(mean, odd) if model.states else mean
        like = halved(like, odd) if model.states else like
        self.dead = 0 if odd else model.dead
        self.densities = [(centre, multiplier_of(scale))] + ([(like, narrow)] if self.similar else [])
        self.base = self.middle if model.table else rounded(centre)
        self.choose_contexts(q, t, scale, centre, like)
        residual = self.residual()
        self.newest = (residual, self.newest[0])
        level = residual + self.base
        if model.states:
            level = 2 * level + odd
            self.trellis.take(q % self.path, t, level)
        if self.similar:
            self.similar.take((16 * level - mean + 2) >> 2)
        return level

    def scale(self, q: int, t: int) -> int:
        model, columns = self.model, self.model.grid.columns
        if model.table:
            return 0
        scale = model.rows[self.row + q // columns] + model.columns[q % columns] + model.taps[t]
        return min(max(scale, 0), 95)

    def choose_contexts(self, q: int, t: int, scale: int, centre: int, like: int) -> None:
        grid, half = self.model.grid, 1 if self.model.states else 0
        at = q * grid.taps + t
        up = self.levels[at - grid.columns * grid.taps] >> half if q >= grid.columns else 0
        left = self.levels[at - grid.taps] >> half if q % grid.columns else 0
        fraction = (centre - 16 * rounded(centre) + 8) >> 2
        common = self.base if self.model.table else 0
        near = magnitude_class(abs(self.newest[0]) + abs(self.newest[1]))
        far = magnitude_class(abs(up - common) + abs(left - common))
        self.contexts = [
            ("scale", scale, min(fraction, 3)),
            ("near", near, far),
            ("signs", sign(self.newest[0]), sign(self.newest[1]), sign(up), min(t, 3)),
            ("row", q // grid.columns % 4096),
            ("column", q % grid.columns % 4096),
            ("values", near_zero(up - self.base), near_zero(left - self.base)),
        ]
        if self.similar:
            self.contexts.append(("like", min(max((like - 16 * self.base + 2 >> 2) + 32, 0), 63)))
        self.activity = min(near // 2, 2)

    def decide(self, number: int, of: list[int], out_of: list[int]) -> bool:
        """Decision `number`: yes with probability of/out_of, under each density."""
        prior = probability(of[0], out_of[0])
        if number >= 24:
            return self.code.decide(prior)
        bits = [self.bits[context, number] for context in self.contexts]
        inputs = [STRETCH[prior >> 4]] + [STRETCH[bit.p() >> 4] for bit in bits]
        inputs += [0] * (8 - len(inputs))
        inputs.append(STRETCH[probability(of[1], out_of[1]) >> 4] if self.similar else 0)
        mixer = self.mixers[number, self.activity]
        p = mixer.mix(inputs)
        yes = self.code.decide(p)
        mixer.learn(inputs, p, yes)
        for bit in bits:
            bit.learn(yes)
        return yes

    def starts(self, symbol: int) -> list[int]:
        """Where a symbol begins under each density."""
        return [self.model.start(symbol, self.base, mean, by, self.dead) for mean, by in self.densities]

    def residual(self) -> int:
        c = self.middle
        low, high = self.starts(c), self.starts(c + 1)
        inside = [h - w for w, h in zip(low, high, strict=True)]
        above = [65536 - h for h in high]
        if self.decide(0, inside, [65536, 65536]):
            return 0
        positive = self.decide(1, above, [65536 - i for i in inside])
        outside, k = above if positive else low, 1
        while True:
            symbol = c + k if positive else c - k
            if (symbol + 1 >= self.model.symbols()) if positive else (symbol <= 0):
                if not self.model.table and not self.model.closed:
                    k += self.excess.read(self.code)
                break
            more = [65536 - s for s in self.starts(symbol + 1)] if positive else self.starts(symbol)
            if not self.decide(k + 1, more, outside):
                break
            outside, k = more, k + 1
        return k if positive else -k
