"""Bytes, numbers and bits from the front of a buffer."""

from __future__ import annotations

import struct


class Fields:
    """Takes fields one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        part = self.data[self.at : self.at + count]
        if len(part) != count:
            raise ValueError(f"{count} bytes expected at {self.at}, {len(part)} left")
        self.at += count
        return part

    def rest(self) -> bytes:
        return self.take(len(self.data) - self.at)

    def byte(self) -> int:
        return self.take(1)[0]

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def f32(self) -> float:
        return float(struct.unpack("<f", self.take(4))[0])

    def f64(self) -> float:
        return float(struct.unpack("<d", self.take(8))[0])

    def varint(self) -> int:
        value, shift = 0, 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def zigzag(self) -> int:
        u = self.varint()
        return (u >> 1) ^ -(u & 1)

    def block(self) -> bytes:
        return self.take(self.varint())


class Bits:
    """Takes bits, those of low value first."""

    def __init__(self, data: bytes) -> None:
        self.fields, self.held, self.count = Fields(data), 0, 0

    def take(self, width: int) -> int:
        while self.count < width:
            self.held |= self.fields.byte() << self.count
            self.count += 8
        value = self.held & ((1 << width) - 1)
        self.held >>= width
        self.count -= width
        return value
