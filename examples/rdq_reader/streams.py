"""rANS, in one stream and interleaved."""

from __future__ import annotations

from dataclasses import dataclass

from .fields import Bits, Fields
from .model import Model, Trellis, halved, multiplier_of, rounded


@dataclass
class Part:
    """Slices that are decoded together: their model, the row + column scale of each, their levels so far."""

    model: Model
    scales: list[int]
    excesses: Fields
    levels: list[int]
    trellis: Trellis

    def symbol(self, slot: int, q: int, t: int) -> tuple[int, int]:
        """Decodes level (q, t), whose interval holds `slot`: (start, width) of the interval."""
        model = self.model
        mean = model.mean(self.levels, q, t)
        odd = bool(model.states) and self.trellis.odd(q, t)
        dead = 0 if odd else model.dead
        if model.states:
            mean = halved(mean, odd)
        multiplier = 0 if model.table else multiplier_of(self.scales[q] + model.taps[t])

        def start(symbol: int) -> int:
            return model.start(symbol, rounded(mean), mean, multiplier, dead)

        low, high = 0, model.symbols()
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if start(middle) <= slot else (low, middle)
        level = low if model.table else self.with_excess(low, rounded(mean))
        if model.states:
            level = 2 * level + odd
            self.trellis.take(q, t, level)
        self.levels[q * model.grid.taps + t] = level
        return start(low), start(low + 1) - start(low)

    def with_excess(self, symbol: int, middle: int) -> int:
        window = self.model.window
        if self.model.closed or 0 < symbol < 2 * window:
            return middle + symbol - window
        more = window + self.excesses.varint()
        return middle + more if symbol else middle - more


def read_section(part: Part, first: int, last: int, streams: int, data: bytes) -> None:
    """Slices first … last − 1."""
    if streams == 1:
        return read_single(part, first, last, data)
    fields = Fields(data)
    body = last - fields.varint()
    bits = Bits(fields.data[fields.at :])
    states = []
    for _ in range(streams):
        below = bits.take(4) + 16
        states.append(1 << below | bits.take(below))
    words = Fields(bits.fields.rest())
    for q0 in range(first, body, streams):
        for t in range(part.model.grid.taps):
            for q in range(q0, min(q0 + streams, body)):
                x = states[q - q0]
                start, width = part.symbol(x & 65535, q, t)
                x = width * (x >> 16) + (x & 65535) - start
                states[q - q0] = x if x >= 65536 else x << 16 | int.from_bytes(words.take(2), "little")
    if words.rest() or any(x >> 16 != 1 for x in states):
        raise ValueError("the streams do not end in their initial states")
    held = b"".join((x & 65535).to_bytes(2, "little") for x in states).rstrip(b"\0")
    if body < last:
        read_section(part, body, last, 8 if streams > 8 else 1, held)
    return None


def read_single(part: Part, first: int, last: int, data: bytes) -> None:
    words = Fields(data)
    x = int.from_bytes(words.take(len(data) if len(data) < 4 else 4 - len(data) % 2), "little")
    for q in range(first, last):
        for t in range(part.model.grid.taps):
            start, width = part.symbol(x & 65535, q, t)
            x = width * (x >> 16) + (x & 65535) - start
            if x < 65536 and words.at < len(data):
                x = x << 16 | int.from_bytes(words.take(2), "little")
    if x != 0 or words.rest():
        raise ValueError("the stream does not end in its initial state")


def read_rows(
    model: Model, row: int, rows: int, scales: list[int], streams: int, data: bytes, excesses: bytes
) -> list[int]:
    """Levels of rows row … row + rows − 1, coded by method 2; `scales` of their slices, if not the model's."""
    slices = rows * model.grid.columns
    if not scales and not model.table:
        scales = [
            model.rows[row + q // model.grid.columns] + model.columns[q % model.grid.columns]
            for q in range(slices)
        ]
    part = Part(model, scales, Fields(excesses), [0] * (slices * model.grid.taps), Trellis(model, slices))
    read_section(part, 0, slices, streams, data)
    return part.levels
