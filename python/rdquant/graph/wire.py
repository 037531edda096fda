"""The protobuf wire format of an ONNX file, read only as deep as needed to leave the big tensors where they
are.

`strip` copies a serialised ModelProto without the bytes of its big tensors. Each such tensor becomes one with
external data whose location is `SELF`, with the offset and length of its bytes in the source, so that the
copy is itself a valid ModelProto and all big tensors, inline or external, are fetched in one way.

Wire format: https://protobuf.dev/programming-guides/encoding. Field numbers: onnx/onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from ..errors import CorruptFile

__all__ = ["SELF", "STRIP_BYTES", "Field", "Source", "fields", "length_field", "strip", "varint"]

SELF = "<self>"
"""Location of a tensor whose bytes lie in the source itself."""

STRIP_BYTES = 1024
"""Tensors of at least so many bytes are left in the source."""

_MAX_DEPTH = 100  # protobuf's own limit on nested messages
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5

# Message kind -> field number -> kind of the message in that field: the way from a model to its tensors.
_CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph"},
    "graph": {1: "node", 5: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
}
# TensorProto fields that hold little-endian values end to end (packed), as raw_data does.
_FLOAT_DATA, _RAW_DATA, _DOUBLE_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 4, 9, 10, 13, 14
_OTHER_DATA = {5, 6, 7, 11}
_PAYLOADS = {_FLOAT_DATA, _RAW_DATA, _DOUBLE_DATA}


class Source(Protocol):
    """Bytes to read from."""

    name: str
    size: int

    def read(self, offset: int, count: int) -> bytes:
        """The `count` bytes at `offset`; CorruptFile where they do not exist."""
        ...


class Field(NamedTuple):
    """One field of a message: number, wire type, start of its key, start and end of its value."""

    number: int
    wire: int
    start: int
    value: int
    end: int


def varint(value: int) -> bytes:
    """`value` ≥ 0 as a base-128 varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def length_field(number: int, length: int) -> bytes:
    """Key and length of a length-delimited field; its `length` bytes follow."""
    return varint(number << 3 | _LENGTH) + varint(length)


def _read_varint(source: Source, offset: int, end: int, what: str) -> tuple[int, int]:
    value = 0
    data = source.read(offset, min(10, end - offset))
    for i, byte in enumerate(data):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, offset + i + 1
    problem = "runs past the end of its message" if len(data) < 10 else "is longer than 10 bytes"
    raise CorruptFile(
        f"{source.name}: {what} at byte {offset} {problem}; the file is cut short or no ONNX model"
    )


def fields(source: Source, start: int, end: int, kind: str) -> Iterator[Field]:
    """The fields of the message in bytes `start`..`end`, which is of the `kind` named in errors."""
    offset = start
    while offset < end:
        key, value = _read_varint(source, offset, end, f"a field key of the {kind}")
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            stop = _read_varint(source, value, end, f"field {number} of the {kind}")[1]
        elif wire == _LENGTH:
            length, value = _read_varint(source, value, end, f"the length of field {number} of the {kind}")
            stop = value + length
        elif wire in (_FIXED32, _FIXED64):
            stop = value + (4 if wire == _FIXED32 else 8)
        else:
            raise CorruptFile(
                f"{source.name}: the {kind} has a field of wire type {wire} at byte {offset}, which ONNX "
                "never uses; the file is damaged or no ONNX model"
            )
        if number == 0 or number >= 1 << 29:
            raise CorruptFile(
                f"{source.name}: the {kind} has field number {number} at byte {offset}; no ONNX model"
            )
        if stop > end:
            raise CorruptFile(
                f"{source.name}: field {number} of the {kind} at byte {offset} claims {stop - value} bytes, "
                f"but {end - value} are left; the file is cut short or damaged"
            )
        yield Field(number, wire, offset, value, stop)
        offset = stop


def strip(source: Source) -> bytes:
    """The ModelProto in `source`, serialised, without the bytes of its big tensors (see the module's
    description).

    Raises CorruptFile where the wire format is broken.
    """
    return _strip_message(source, 0, source.size, "model", 0)


def _strip_message(source: Source, start: int, end: int, kind: str, depth: int) -> bytes:
    if depth > _MAX_DEPTH:
        raise CorruptFile(
            f"{source.name}: messages are nested deeper than {_MAX_DEPTH} levels at byte {start}"
        )
    if kind == "tensor":
        return _strip_tensor(source, start, end)
    children = _CHILDREN[kind]
    out = bytearray()
    for field in fields(source, start, end, kind):
        child = children.get(field.number)
        big = kind == "model" or field.end - field.value >= STRIP_BYTES
        if child is None or field.wire != _LENGTH or not big:
            out += source.read(field.start, field.end - field.start)
            continue
        body = _strip_message(source, field.value, field.end, child, depth + 1)
        out += length_field(field.number, len(body))
        out += body
    return bytes(out)


def _strip_tensor(source: Source, start: int, end: int) -> bytes:
    """A TensorProto with its one big payload turned into external data; anything unusual stays as it is."""
    found = list(fields(source, start, end, "tensor"))
    payloads = [f for f in found if f.number in _PAYLOADS | _OTHER_DATA]
    located = any(f.number in (_EXTERNAL_DATA, _DATA_LOCATION) for f in found)
    payload = payloads[0] if len(payloads) == 1 else None
    if (
        payload is None
        or located
        or payload.number not in _PAYLOADS
        or payload.wire != _LENGTH
        or payload.end - payload.value < STRIP_BYTES
    ):
        return source.read(start, end - start)
    out = bytearray()
    for field in found:
        if field is not payload:
            out += source.read(field.start, field.end - field.start)
    length = payload.end - payload.value
    for key, text in (("location", SELF), ("offset", str(payload.value)), ("length", str(length))):
        entry = b"".join(length_field(n, len(s)) + s.encode() for n, s in ((1, key), (2, text)))
        out += length_field(_EXTERNAL_DATA, len(entry)) + entry
    return bytes(out) + varint(_DATA_LOCATION << 3 | _VARINT) + b"\x01"
