"""Where the bytes of a model come from beside a file: a byte string or a ModelProto, and the files of
external data.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core.graph import BIG_TENSOR, SELF, Source
from ..errors import CorruptFile, InvalidArgument, MissingFile, needed

with needed():
    import onnx

__all__ = ["AnySource", "Bytes", "External", "KeptSource", "ProtoSource", "byte_number", "opened", "refer"]

Bytes = NDArray[np.uint8]


def opened(path: str | os.PathLike[str], what: str) -> Source:
    """The file at `path`; MissingFile where there is none, InvalidArgument unless it is a regular file that can be read."""
    if not os.path.lexists(path):
        raise MissingFile(f"{what}: no such file")
    return Source.open(os.fsencode(path), what)


class KeptSource:
    """What was read of a file, in its place: its skeleton, and the big tensors that this refers to."""

    def __init__(
        self, name: str, size: int, skeleton: bytes, payloads: Iterable[tuple[int, NDArray[Any]]]
    ) -> None:
        self.name = name
        self.size = size
        self._skeleton = skeleton
        self._arrays = {(at, a.nbytes): a.reshape(-1).view(np.uint8) for at, a in payloads}

    def read(self, offset: int, count: int) -> bytes:
        """Bytes of the skeleton."""
        return self._skeleton[offset : offset + count]

    def array(self, offset: int, count: int) -> Bytes:
        """The tensor that lay at `offset` of the file."""
        found = self._arrays.get((offset, count))
        if found is None:
            raise CorruptFile(f"{self.name}: no tensor of {count} bytes lies at byte {offset}")
        return found

    def skeleton(self) -> bytes:
        """The serialised model without its big tensors."""
        return self._skeleton


class ProtoSource:
    """A ModelProto. The offset of a big tensor is its position among the initializers."""

    def __init__(self, model: onnx.ModelProto, name: str) -> None:
        self.name = name
        self.size = model.ByteSize()
        self._model = model

    def array(self, offset: int, count: int) -> Bytes:
        """The raw data of initializer `offset` as an aligned array."""
        initializers = self._model.graph.initializer
        data = initializers[offset].raw_data if offset < len(initializers) else b""
        if len(data) != count:
            raise CorruptFile(f"{self.name}: initializer {offset} has {len(data)} bytes, {count} asked for")
        return Source.of(data, self.name).array(0, count)

    def skeleton(self) -> bytes:
        """The serialised model without its big initializers; the caller's ModelProto stays as it is."""
        light = onnx.ModelProto()
        for field, value in self._model.ListFields():
            if field.name != "graph":
                _copy_field(light, field.name, value)
        for field, value in self._model.graph.ListFields():
            if field.name != "initializer":
                _copy_field(light.graph, field.name, value)
        light.graph.SetInParent()
        for i, tensor in enumerate(self._model.graph.initializer):
            length = len(tensor.raw_data) if tensor.HasField("raw_data") else 0
            if length < BIG_TENSOR or tensor.data_location == onnx.TensorProto.EXTERNAL:
                light.graph.initializer.add().CopyFrom(tensor)
                continue
            refer(light.graph.initializer.add(), tensor, SELF, i, length)
        return bytes(light.SerializeToString())


def refer(out: onnx.TensorProto, like: onnx.TensorProto, location: str, offset: int, length: int) -> None:
    """Make `out` the tensor `like` with its data elsewhere."""
    out.name, out.data_type = like.name, like.data_type
    out.dims.extend(like.dims)
    out.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        out.external_data.add(key=key, value=value)


def _copy_field(message: object, name: str, value: object) -> None:
    target = getattr(message, name)
    if hasattr(target, "CopyFrom"):
        target.CopyFrom(value)
    elif hasattr(target, "extend"):
        target.extend(value)
    else:
        setattr(message, name, value)


class External:
    """The files of external data beside a model: inside its folder, and nowhere else."""

    def __init__(self, folder: Path | None, name: str) -> None:
        self._folder = folder
        self._name = name
        self.bytes = 0

    def array(self, tensor: onnx.TensorProto, count: int) -> Bytes:
        """The `count` bytes of `tensor`'s external data.

        Raises InvalidArgument for a location outside the model's folder or a missing file, CorruptFile where
        offset, length and file size do not agree with the tensor's shape.
        """
        entries = {e.key: e.value for e in tensor.external_data}
        where = f"{self._name}: tensor {tensor.name!r}, external_data"
        path = self._inside(entries.get("location", ""), where)
        source = opened(path, f"{where} file {str(path)!r}")
        offset = byte_number(entries.get("offset", "0"), f"{where} offset")
        length = byte_number(entries.get("length", str(count)), f"{where} length")
        if length != count:
            raise CorruptFile(f"{where} length is {length} bytes, the tensor's shape needs {count}")
        if offset + length > source.size:
            raise CorruptFile(
                f"{where}: bytes {offset}..{offset + length} requested, {path.name!r} has {source.size}"
            )
        self.bytes += length
        return source.array(offset, length)

    def _inside(self, location: str, where: str) -> Path:
        if self._folder is None:
            raise InvalidArgument(
                f"{where}: the model keeps tensors in the file {location!r}; load it by its path, not as "
                "bytes or ModelProto"
            )
        if not location or "\0" in location:
            raise CorruptFile(f"{where} location is {location!r}; it must name a file")
        if Path(location).is_absolute() or ".." in location.replace("\\", "/").split("/"):
            raise InvalidArgument(
                f"{where} location {location!r} is refused: it must lie in the model's folder"
            )
        folder = self._folder.resolve()
        path = (folder / location).resolve()
        if not path.is_relative_to(folder):
            raise InvalidArgument(
                f"{where} location {location!r} is refused: it is a link that leaves the model's folder"
            )
        return path


def byte_number(text: str, what: str) -> int:
    """The offset or length in an entry of external data; CorruptFile where it is none."""
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise CorruptFile(f"{what} is {text!r}; a number of bytes is needed")
    return int(text)


AnySource = Source | KeptSource | ProtoSource
