"""Writing a model piece by piece: the skeleton's bytes, then each tensor from where it lies. No second copy
in memory.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import InvalidArgument, needed
from .sources import refer
from .tensors import Stored

with needed():
    import onnx

__all__ = ["PROTOBUF_LIMIT", "complete", "referring", "save"]

PROTOBUF_LIMIT = (1 << 31) - 1
"""Bytes that a protobuf message can have; larger models keep their tensors in a second file."""

_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9  # fields of onnx.proto
_LENGTH_DELIMITED = 2  # wire type


def _varint(value: int) -> bytes:
    """`value` ≥ 0 as protobuf's base-128 number."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _length_field(number: int, length: int) -> bytes:
    """Key and length of a field; its `length` bytes follow."""
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(length)


def complete(skeleton: onnx.ModelProto, tensors: Mapping[str, Stored]) -> onnx.ModelProto:
    """A ModelProto with all data inline."""
    model = onnx.ModelProto()
    model.CopyFrom(skeleton)
    for name, stored in tensors.items():
        model.graph.initializer.add(
            name=name, data_type=stored.data_type, dims=stored.dims, raw_data=stored.data.tobytes()
        )
    return model


def referring(skeleton: onnx.ModelProto, tensors: Mapping[str, Stored], location: str) -> onnx.ModelProto:
    """A ModelProto whose tensors are external data, end to end in the file `location`, each on a 64-byte
    boundary.
    """
    model = onnx.ModelProto()
    model.CopyFrom(skeleton)
    offset = 0
    for name, stored in tensors.items():
        like = onnx.TensorProto(name=name, data_type=stored.data_type, dims=stored.dims)
        refer(model.graph.initializer.add(), like, location, offset, stored.data.nbytes)
        offset += stored.data.nbytes + -stored.data.nbytes % 64
    return model


def save(skeleton: onnx.ModelProto, tensors: Mapping[str, Stored], path: Path) -> None:
    """Write the model to `path`, atomically: a file of that name is the old one or the new one, never a part.

    Beyond `PROTOBUF_LIMIT`, its tensors go to `path` + ".data". Raises InvalidArgument where the
    file cannot be written.
    """
    total = skeleton.ByteSize() + sum(t.data.nbytes + 64 + len(name) for name, t in tensors.items())
    try:
        if total <= PROTOBUF_LIMIT:
            with _replacing(path) as out:
                _write_inline(out, skeleton, tensors)
            return
        side = path.with_name(path.name + ".data")
        with _replacing(path) as out, _replacing(side) as data:
            for stored in tensors.values():
                data.write(stored.data.data)
                data.write(bytes(-stored.data.nbytes % 64))
            out.write(referring(skeleton, tensors, side.name).SerializeToString())
    except OSError as error:
        raise InvalidArgument(
            f"model file {str(path)!r} cannot be written: {error.strerror or error}"
        ) from error


def _write_inline(out: BinaryIO, skeleton: onnx.ModelProto, tensors: Mapping[str, Stored]) -> None:
    shell = onnx.ModelProto()
    shell.CopyFrom(skeleton)
    graph = shell.graph.SerializeToString()
    shell.ClearField("graph")
    heads = []
    for name, stored in tensors.items():
        tensor = onnx.TensorProto(name=name, data_type=stored.data_type, dims=stored.dims).SerializeToString()
        tensor += _length_field(_RAW_DATA, stored.data.nbytes)
        heads.append(_length_field(_INITIALIZER, len(tensor) + stored.data.nbytes) + tensor)
    size = len(graph) + sum(map(len, heads)) + sum(t.data.nbytes for t in tensors.values())
    out.write(shell.SerializeToString() + _length_field(_GRAPH, size) + graph)
    for head, stored in zip(heads, tensors.values(), strict=True):
        out.write(head)
        out.write(stored.data.data)


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` when the block ends well, and vanishes when it does not; a device or a
    pipe is written to directly.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as out:
            yield out
        return
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)  # mkstemp's files are for their owner only
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
