"""Tensors: levels and what they stand for, floats, and the file around them."""

from __future__ import annotations

import lzma
import math
import struct
import zlib
from dataclasses import dataclass
from typing import Any

from .binary import AdaptiveInteger, Decisions
from .fields import Bits, Fields
from .levels import read_levels

#: Element types of floats (ONNX's numbers): bits of exponent and significand.
FLOATS = {1: (8, 23), 10: (5, 10), 16: (8, 7), 11: (11, 52)}


@dataclass
class Tensor:
    coding: int
    element_type: int
    shape: list[int]
    levels: list[int] | None = None  # of quantized and integer tensors
    values: list[float] | None = None  # of quantized tensors, in float64, rounded to float32
    data: bytes | None = None  # of floats and raw tensors: the elements as ONNX's raw_data has them


def read_tensor(data: bytes) -> Tensor:
    fields = Fields(data)
    coding, element_type = fields.byte(), fields.varint()
    tensor = Tensor(coding, element_type, [fields.varint() for _ in range(fields.varint())])
    if coding == 0:
        tensor.data = read_floats(fields.rest(), element_type, math.prod(tensor.shape))
    elif coding == 1:
        count, inner, family = fields.varint(), fields.varint(), fields.byte()
        quantizers = [read_quantizer(fields, family) for _ in range(count)]
        tensor.levels = read_levels(fields.block())[1]
        tensor.values = [
            value_of(family, quantizers[i // inner % count], v) for i, v in enumerate(tensor.levels)
        ]
    elif coding == 2:
        tensor.levels = read_levels(fields.rest())[1]
    else:
        tensor.data = fields.rest()
    return tensor


def read_quantizer(fields: Fields, family: int) -> tuple[Any, ...]:
    if family == 0:
        return fields.f64(), fields.f64()
    if family == 1:
        return fields.f64(), fields.f64(), fields.f64()
    if family == 2:
        return fields.byte(), fields.byte(), fields.zigzag(), fields.byte()
    return tuple(fields.f32() for _ in range(fields.varint()))


def value_of(family: int, quantizer: tuple[Any, ...], level: int) -> float:
    """What a level stands for, rounded to float32."""
    if family == 3:
        return float(quantizer[level])
    if family == 2:
        _, mantissa, bias, ieee = quantizer
        code = abs(level) - (0 if ieee else 1)
        e, m = code >> mantissa, (code & ((1 << mantissa) - 1)) / (1 << mantissa)
        magnitude = math.ldexp(m, 1 - bias) if ieee and e == 0 else math.ldexp(1 + m, e - bias)
    elif family == 1:
        mu, range_, step = quantizer
        magnitude = range_ / mu * math.expm1(abs(level) * step / range_ * math.log1p(mu))
    else:
        step, delta = quantizer
        magnitude = step * (abs(level) + (delta - 0.5)) if level else 0.0
    return float(struct.unpack("<f", struct.pack("<f", -magnitude if level < 0 else magnitude))[0])


def read_floats(data: bytes, element_type: int, count: int) -> bytes:
    """Coded floats to their bytes."""
    fields = Fields(data)
    method = fields.byte() >> 4
    size = (1 + sum(FLOATS[element_type])) // 8
    if method == 0:
        fields.varint()
        return fields.rest()
    if method == 2:
        patterns, last = [], 0
        for _ in range(fields.varint()):
            last += fields.varint()
            patterns.append(last)
        found = [patterns[i] for i in read_levels(fields.rest())[1]]
    else:
        found = read_split(fields, *FLOATS[element_type])
    assert len(found) == count
    return b"".join(pattern.to_bytes(size, "little") for pattern in found)


def read_split(fields: Fields, exponent_bits: int, mantissa: int) -> list[int]:
    top, zeros = fields.byte(), fields.byte()
    levels = read_levels(fields.block())[1]
    code, coder = Decisions(fields.block()), AdaptiveInteger()
    bits, patterns = Bits(fields.rest()), []
    for level in levels:
        if level == 0:
            exponent, kept, high = top - coder.read(code), mantissa - zeros, 0
            negative = bits.take(1)
        else:
            octave = abs(level).bit_length() - 1
            exponent, kept, negative = top + octave, mantissa - zeros - octave, int(level < 0)
            high = (abs(level) - (1 << octave)) << (mantissa - octave)
        significand = high | bits.take(kept) << zeros
        patterns.append((negative << exponent_bits | exponent) << mantissa | significand)
    return patterns


def read_file(data: bytes) -> tuple[bytes, bytes, dict[str, Tensor]]:
    """(ModelProto without its tensors, facts as JSON, tensors by name) of a whole file."""
    fields = Fields(data)
    if fields.take(8) != b"\x89RDQ\r\n\x1a\n" or fields.u32() != 1:
        raise ValueError("this is no .rdq file of version 1")
    length, crc = fields.u32(), fields.u32()
    table = Fields(fields.take(length))
    assert zlib.crc32(table.data) == crc, "the table is damaged"
    graph, facts, tensors = b"", b"", dict[str, Tensor]()
    for _ in range(table.varint()):
        kind, name, size, crc = table.byte(), table.block().decode(), table.varint(), table.u32()
        section = fields.take(size)
        assert zlib.crc32(section) == crc, f"section {name!r} is damaged"
        if kind == 1:
            graph = lzma.decompress(section, lzma.FORMAT_ALONE)
        elif kind == 2:
            facts = section
        elif kind == 3:
            tensors[name] = read_tensor(section)
    return graph, facts, tensors
