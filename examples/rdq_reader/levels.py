"""Coded levels, all methods."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from .fields import Bits, Fields
from .mixing import MixedPart
from .model import Grid, Model, read_model
from .streams import read_rows


def read_levels(data: bytes) -> tuple[list[int], list[int]]:
    """(shape, levels) of coded levels, which are all of `data`."""
    fields = Fields(data)
    method = fields.byte() >> 4
    shape = [fields.varint() for _ in range(fields.varint())]
    count = math.prod(shape)
    if count == 0:
        return shape, []
    if method == 0:
        return shape, [fields.zigzag()] * count
    if method == 1:
        least, width = fields.zigzag(), fields.byte()
        bits = Bits(fields.rest())
        return shape, [least + bits.take(width) for _ in range(count)]
    if method == 4:
        return shape, read_sparse(fields, Grid.of(shape))
    return shape, read_modelled(fields, Grid.of(shape), method)


def parts_of(grid: Grid, rows: int) -> Iterator[tuple[int, int]]:
    """(first row, rows) of the parts."""
    return ((row, min(rows, grid.rows - row)) for row in range(0, grid.rows, rows))


def rows_of_a_path(grid: Grid) -> int:
    return -(-grid.rows // max(1, (grid.size() + 2**17) // 2**18))


def read_modelled(fields: Fields, grid: Grid, method: int) -> list[int]:
    model = read_model(fields, grid)
    flags = fields.byte()
    rows = fields.varint() if flags & 8 else grid.rows
    low = Bits(fields.take(-(-grid.size() * model.shift // 8)))
    coarse: list[int] = []
    for row, count in parts_of(grid, rows):
        excesses = fields.block() if flags & 16 else b""
        data = fields.block() if row + rows < grid.rows else fields.rest()
        if method == 2:
            coarse += read_rows(model, row, count, [], 1 << (flags & 7), data, excesses)
        else:
            path = min(count, rows_of_a_path(grid)) if method == 5 else count
            coarse += MixedPart(model, row, count, data, method == 5, path).read()
    return [signed32((c << model.shift) + low.take(model.shift) + model.centre) for c in coarse]


def signed32(value: int) -> int:
    return (value + 2**31) % 2**32 - 2**31


def read_sparse(fields: Fields, grid: Grid) -> list[int]:
    flags = fields.byte()
    mixed, single, excess, streams = flags & 1, flags & 4, flags & 8, 1 << flags // 16
    rows = fields.varint() if flags & 2 else grid.rows
    common, least = fields.zigzag(), fields.varint()
    signs = read_model(fields, grid)
    distances = None if single else read_model(fields, grid)
    layout = fields.byte() if distances and distances.table else 0
    split, kept = layout // 16, layout % 16
    if distances is None:
        names = ["signs"]
    else:
        distances.folded = not distances.table
        raw = distances.symbols() > 1 << split if distances.table else distances.shift > 0
        names = ["signs", *["excesses"] * bool(excess), "symbols", *["raw"] * raw]
    left, levels = len(names) * -(-grid.rows // rows), list[int]()
    for row, count in parts_of(grid, rows):
        blocks = {"excesses": b"", "raw": b""}
        for name in names:
            left -= 1
            blocks[name] = fields.block() if left else fields.rest()
        size = count * grid.columns * grid.taps
        if not blocks["signs"]:
            found = [0] * size
        elif mixed:
            found = MixedPart(signs, row, count, blocks["signs"], False, count).read()
        else:
            found = read_rows(signs, row, count, [], streams, blocks["signs"], b"")
        beyond = (
            iter(read_distances(distances, row, found, bool(mixed), blocks, split, kept))
            if distances
            else None
        )
        levels += [common + s * (least + (next(beyond) if beyond else 0)) if s else common for s in found]
    return levels


def read_distances(
    model: Model, row: int, signs: list[int], mixed: bool, blocks: dict[str, bytes], split: int, kept: int
) -> list[int]:
    """Distances less the least one of the elements whose sign is not 0."""
    places = [i for i, sign in enumerate(signs) if sign]
    if not places:
        return []
    symbols = read_symbols(model, row, places, mixed, blocks)
    bits = Bits(blocks["raw"])
    if not model.table:
        return [(s - 1) << model.shift | bits.take(model.shift) for s in symbols]
    return [s if s < 1 << split else expand(s - (1 << split), split, kept, bits) for s in symbols]


def expand(over: int, split: int, kept: int, bits: Bits) -> int:
    width = split + (over >> kept)
    top = 1 << kept | over & ((1 << kept) - 1)
    return top << (width - kept) | bits.take(width - kept)


def read_symbols(
    model: Model, row: int, places: list[int], mixed: bool, blocks: dict[str, bytes]
) -> list[int]:
    """As levels of one row with a column each, whose scales are those of the elements."""
    grid, count = model.grid, len(places)
    scales = [0] * count
    if not model.table:
        for j, i in enumerate(places):
            q, t = divmod(i, grid.taps)
            scales[j] = model.rows[row + q // grid.columns] + model.columns[q % grid.columns] + model.taps[t]
    vector = replace(model, grid=Grid(1, count, 1), rows=[0], columns=scales, taps=[0], shift=0)
    if mixed:
        return MixedPart(vector, 0, 1, blocks["symbols"], False, 1).read()
    streams = 1 if count < 2**12 else 8 if count < 2**15 else 16 if count < 2**17 else 32
    return read_rows(vector, 0, 1, scales, streams, blocks["symbols"], blocks["excesses"])
