"""Probabilities of levels, from integers alone."""

from __future__ import annotations

import functools

#: Of each shape β in 1/256, and log2(c) in 1/65536, of the density exp(−c·|z|^β) whose mean |z| is 1.
SHAPES = (
    (128, 119357), (166, 88980), (205, 63619), (256, 34653), (307, 9300),
    (371, -19056), (448, -49817), (512, -73579), (666, -126142), (1024, -236004),
)  # fmt: skip
#: 2^(2^−i)·2^31, i = 1 … 16.
ROOTS = (
    3037000500, 2553802834, 2341847524, 2242560872, 2194507417, 2170868212, 2159144272, 2153306067,
    2150392887, 2148937775, 2148210589, 2147847087, 2147665360, 2147574502, 2147529075, 2147506361,
)  # fmt: skip
#: 2^(j/8)·2^19.
EIGHTHS = (524288, 571740, 623487, 679917, 741455, 808563, 881744, 961548)
#: Of each scale s: 2048/σ(s), σ(s) = 2^((s − 31)/8) levels.
MULTIPLIERS = [((EIGHTHS[(95 - s) % 8] << (95 - s) // 8) + 32768) >> 16 for s in range(96)]


def power_of_two(exponent: int) -> int:
    """2^(exponent/65536)·2^31, 0 ≤ exponent < 65536."""
    product = 1 << 31
    for i in range(16):
        if exponent >> (15 - i) & 1:
            product = product * ROOTS[i] >> 31
    return product


def log2_of_128ths(x: int) -> int:
    """log2(x/128)·65536."""
    whole, mantissa = -7, x << 31
    while mantissa >= 1 << 32:
        mantissa >>= 1
        whole += 1
    result, bit = whole * 65536, 32768
    while bit > 0:
        mantissa = mantissa * mantissa >> 31
        if mantissa >= 1 << 32:
            mantissa >>= 1
            result += bit
        bit >>= 1
    return result


def density(shape: int, i: int) -> int:
    """exp(−c·z^β)·2^31 at the middle of cell i, z = (2i + 1)/128."""
    beta, log2_c = SHAPES[shape]
    power = log2_c + (beta * log2_of_128ths(2 * i + 1) >> 8)  # log2(c·z^β)·65536
    if power >= 5 * 65536:
        return 0
    if power < -16 * 65536:
        return 1 << 31
    whole, mantissa = power >> 16, power_of_two(power & 65535)
    exponent = (mantissa << whole if whole >= 0 else mantissa >> -whole) >> 15  # c·z^β·65536
    down, fraction = exponent >> 16, exponent & 65535
    return (power_of_two(65536 - fraction) >> 1 if fraction else 1 << 31) >> down


@functools.cache
def distribution(shape: int, folded: bool) -> list[int]:
    """P(z < −16 + i/64)·2^32 for i = 0 … 2048; folded: of |z|."""
    mass = [density(shape, i) for i in range(1024)]
    total, below, table = 2 * sum(mass), 0, []
    for i in range(2049):
        table.append(min((below << 22) // ((total >> 10) + 1), 2**32 - 1))
        if i < 2048:
            below += mass[1023 - i] if i < 1024 else mass[i - 1024]
    if folded:
        table = [min(2 * (table[i] - table[1024]), 2**32 - 1) if i >= 1024 else 0 for i in range(2049)]
    table[2048] = 2**32 - 1
    return table


@functools.cache
def cells(shape: int, folded: bool, symbols: int) -> list[int]:
    """The distribution out of 65536 less one count a symbol."""
    mass = 65536 - symbols
    return [((t >> 16) * mass + ((t & 65535) * mass >> 16)) >> 16 for t in distribution(shape, folded)]


def cumulative(cells: list[int], edge: int, multiplier: int) -> int:
    """Counts below an edge (1/16 level from the mean), interpolated between cells."""
    z = min(max(edge * multiplier >> 5, -16384), 16383) + 16384
    low, high = cells[z >> 4], cells[(z >> 4) + 1]
    return low + ((high - low) * (z & 15) >> 4)
