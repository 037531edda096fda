"""Prediction of a row from earlier rows that are like it."""

from __future__ import annotations

import math

BLOCK = 32


def product(x: list[int], y: list[int]) -> int:
    return sum(a * b for a, b in zip(x, y, strict=True))


def truncated(a: int, b: int) -> int:
    """a/b rounded towards zero, b > 0."""
    return a // b if a >= 0 else -(-a // b)


class SimilarRows:
    """What the values of a row are expected to be, block by block."""

    def __init__(self, rows: int, length: int) -> None:
        self.length, self.slots = length, min(rows, 1024)
        self.padded = -(-length // BLOCK) * BLOCK
        self.kept: list[list[int]] = []  # at most `slots` rows; a new one takes the place of the oldest
        self.finished = 0
        self.start_row()

    def start_row(self) -> None:
        self.row: list[int] = []
        self.products = [0] * len(self.kept)
        self.used: list[int] = []
        self.weights: list[int] = []
        self.means = [0] * BLOCK

    def block(self, slot: int, b: int) -> list[int]:
        return self.kept[slot][b * BLOCK : (b + 1) * BLOCK]

    def mean(self) -> int:
        """Of the next value, in 1/16."""
        if len(self.row) % BLOCK == 0:
            self.predict_block(len(self.row) // BLOCK)
        return self.means[len(self.row) % BLOCK]

    def take(self, value: int) -> None:
        self.row.append(min(max(value, -2047), 2047))
        if len(self.row) == self.length:
            self.keep_row()

    def predict_block(self, b: int) -> None:
        self.means = [0] * BLOCK
        if b == 0 or not self.kept:
            return
        newest = self.row[(b - 1) * BLOCK :]
        for slot in range(len(self.kept)):
            self.products[slot] += product(newest, self.block(slot, b - 1))
        if b % max(1, 2 ** (b.bit_length() - 1) // 8) == 0:
            # A stable sort: of equal products the lower slot comes first.
            self.used = sorted(range(len(self.kept)), key=lambda s: -abs(self.products[s]))[:8]
            self.weigh(b)
        for i in range(BLOCK):
            total = sum(w * self.block(s, b)[i] for s, w in zip(self.used, self.weights, strict=True))
            self.means[i] = min(max((total + 2048) >> 12, -32767), 32767)

    def weigh(self, blocks: int) -> None:
        """Ridge regression of the row on those used, by six sweeps of Gauss and Seidel's."""
        known = [self.kept[s][: blocks * BLOCK] for s in self.used]
        gram = [[product(x, y) for y in known] for x in known]
        self.weights = [0] * len(known)
        for _ in range(6):
            for k in range(len(known)):
                rest = self.products[self.used[k]] * 65536
                rest -= sum(gram[k][m] * self.weights[m] for m in range(len(known)) if m != k)
                ridge = gram[k][k] * 64 // (blocks * BLOCK)
                self.weights[k] = min(max(truncated(rest, gram[k][k] + ridge + 1), -(2**19)), 2**19)

    def keep_row(self) -> None:
        """At a mean square of 2^16."""
        energy = max(1, product(self.row, self.row))
        factor = math.isqrt((self.length << 32) // energy)
        scaled = [min(max((v * factor + 128) >> 8, -2047), 2047) for v in self.row]
        scaled += [0] * (self.padded - self.length)
        if len(self.kept) < self.slots:
            self.kept.append(scaled)
        else:
            self.kept[self.finished % self.slots] = scaled
        self.finished += 1
        self.start_row()
