"""The compressed model file: sections read from bytes, a mapped file or a pipe, and written whole.

The format is specified in cpp/include/rdquant/codec/container.hpp.
"""

from __future__ import annotations

import contextlib
import io
import json
import lzma
import mmap
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from numpy.typing import NDArray

from .._cached import cached
from .._core import codec as _core
from .._files import replacing
from .._tables import Brief, html_table, label, short
from ..errors import (
    CorruptFile,
    InvalidArgument,
    MissingFile,
    Unsupported,
    count,
    described,
    needed,
    path_of,
    threads_of,
)
from .lossless import DEFAULT_LIMIT
from .sections import Tensor, decode_all, decode_opened

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "FACTS",
    "GRAPH",
    "MAGIC",
    "TENSOR",
    "CompressedFile",
    "Section",
    "Tensor",
    "file_bytes",
    "naming",
    "pack_graph",
    "sections_size",
    "unpack_graph",
    "write_file",
]

MAGIC = b"\x89RDQ\r\n\x1a\n"
_ONNX = b"\x08"  # the first byte of nearly every ONNX model: field ir_version
GRAPH, FACTS, TENSOR = 1, 2, 3
_GRAPH_LIMIT = 1 << 31
_SMALL = 1 << 19  # bytes up to which reading a file takes less time than the faults of its mapped pages
_PIECE = 1 << 20  # bytes that are read from a pipe at a time
_LZMA = [{"id": lzma.FILTER_LZMA1, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 22, "pb": 0}]


def pack_graph(graph: bytes) -> bytes:
    """The graph section: LZMA, from the standard library. It is small and read once, so size counts, not speed."""
    return lzma.compress(graph, format=lzma.FORMAT_ALONE, filters=_LZMA)


def write_file(path: str | os.PathLike[str], sections: Sequence[tuple[int, str, bytes]]) -> int:
    """Write a compressed file, atomically; returns its size in bytes.

    Args:
        path: where to write.
        sections: (kind, name, bytes) of each, in order; see `Section`.

    Raises RdquantError where the file cannot be written.
    """
    head = _core.file_head(list(sections))
    with replacing(path) as partial, open(partial, "wb") as out:
        out.write(head)
        for _, _, data in sections:
            out.write(data)
    return len(head) + sum(len(data) for _, _, data in sections)


def sections_size(sections: Sequence[tuple[int, str, bytes]]) -> int:
    """Bytes of the file of (kind, name, bytes) that `write_file` would write."""
    return len(_core.file_head(list(sections))) + sum(len(data) for _, _, data in sections)


def file_bytes(sections: Sequence[tuple[int, str, bytes]]) -> bytes:
    """The file of (kind, name, bytes) that `write_file` would write."""
    head: bytes = _core.file_head(list(sections))
    return b"".join([head, *(data for _, _, data in sections)])


@dataclass(frozen=True, repr=False)
class Section(Brief):
    """One section of a `CompressedFile`.

    Attributes:
        kind: 1 graph, 2 facts, 3 tensor.
        name: of the tensor; "" for the others.
        offset, length: place in the file and size, bytes.
    """

    kind: int
    name: str
    offset: int
    length: int
    _core: Any = field(repr=False)


class CompressedFile:
    """A .rdq file. Tensors can be read in any order; only what is asked for is read and checked.

    Args:
        source: path (mapped into memory, or read if it is small; of a pipe: read as one), bytes, or a binary file
            object that is read from front to back, such as a pipe: `stream` then gives its sections as they arrive, and
            what follows the file stays in it.

    Raises:
        InvalidArgument: the file cannot be read.
        CorruptFile: it is no .rdq file, or its table is damaged. Unsupported: a later version of the format.
    """

    def __init__(self, source: str | os.PathLike[str] | bytes | IO[bytes]) -> None:
        self._pipe: IO[bytes] | None = None
        self._facts: tuple[bytes, int] | None = None  # their section, if it was met, and where it begins
        self._data: Any = b""
        if isinstance(source, (bytes, bytearray, memoryview)):
            self.name, self._data = "<bytes>", bytes(source)
        elif isinstance(source, (str, os.PathLike)):
            self.name = str(path_of("source", source))
            held = _held(self.name)
            self._pipe, self._data = (held, b"") if isinstance(held, io.BufferedReader) else (None, held)
        elif hasattr(source, "read"):
            self.name, self._pipe = "<pipe>", source
        else:
            raise InvalidArgument(
                f"source: expected a path, bytes or an open binary file, got {described(source)}"
            )
        with naming(source):
            self._table = self._read_table()
        self.size = self._table.end
        """Bytes of the whole file."""

    def _read_table(self) -> Any:
        head = self._take(0, _core.HEAD_BYTES)
        if head[:1] == _ONNX and not head.startswith(MAGIC):
            raise CorruptFile("not an .rdq file: it begins as an ONNX model does, which rdquant.load reads")
        length = _core.table_length(head)
        if self._pipe is None:
            head = self._take(0, _core.HEAD_BYTES + length)
        else:
            head += _read(self._pipe, length)
        table = _core.read_table(head)
        if self._pipe is None and len(self._data) > table.end:
            raise CorruptFile(
                f"section table, offset {table.end}: the file has {len(self._data) - table.end} bytes too many"
            )
        return table

    @cached
    def sections(self) -> list[Section]:
        """All sections, in the file's order."""
        return [Section(s.kind, s.name, s.offset, s.length, s) for s in self._table.sections]

    def to_pandas(self) -> pd.DataFrame:
        """One row per section: kind (graph, facts, tensor), name, offset and bytes."""
        with needed():
            import pandas as pd

        kinds = {GRAPH: "graph", FACTS: "facts", TENSOR: "tensor"}
        rows = [(kinds.get(s.kind, str(s.kind)), s.name, s.offset, s.length) for s in self.sections]
        table: pd.DataFrame = pd.DataFrame(rows, columns=["kind", "name", "offset", "bytes"])
        return table

    def __repr__(self) -> str:
        return short(self, f"{label(self.name)}: {self.size:,} bytes, {len(self.tensor_names)} tensors")

    def _repr_html_(self) -> str:
        return html_table(self)

    @property
    def is_pipe(self) -> bool:
        """Whether sections can only be read once, in order."""
        return self._pipe is not None

    def _take(self, offset: int, length: int) -> bytes:
        if self._pipe is not None:
            return _read(self._pipe, length)
        return bytes(memoryview(self._data)[offset : offset + length])

    def section(self, section: Section) -> bytes:
        """The bytes of `section`, checked. Raises CorruptFile where they are damaged or cut off."""
        data = self._take(section.offset, section.length)
        _core.check_section(data, section._core)
        return data

    def stream(self) -> Iterator[tuple[Section, bytes]]:
        """All sections and their bytes in the file's order: one pass, as a pipe needs it."""
        for section in self.sections:
            data = self.section(section)
            if section.kind == FACTS and self._facts is None:
                self._facts = data, section.offset
            yield section, data

    def facts(self) -> dict[str, Any]:
        """What the writer noted: version, name, profile, quantizer; {} if nothing. Of a pipe: what `stream` has met."""
        if self._facts is None and self._pipe is None:
            self._facts = next(((self.section(s), s.offset) for s in self.sections if s.kind == FACTS), None)
        return {} if self._facts is None else parse_facts(*self._facts)

    @property
    def tensor_names(self) -> list[str]:
        """Names of the tensors, in the file's order."""
        return [s.name for s in self.sections if s.kind == TENSOR]

    def open_tensors(self) -> list[Tensor]:
        """All tensors of a file in memory or mapped, in its order. Their bytes stay where they are, and are checked
        when they are decoded.

        Raises CorruptFile where they are cut off, or no tensors.
        """
        data = memoryview(self._data)
        return [
            Tensor(data[s.offset : s.offset + s.length], s.name, s._core)
            for s in self.sections
            if s.kind == TENSOR
        ]

    def opened(self) -> _core.Tensors:
        """All tensors of a file in memory or mapped: their headers read, their bytes not checked.

        Raises CorruptFile where they are cut off, or no tensors.
        """
        return _core.Tensors(self._data, self._table)

    def values(self, threads: int | None = 1, memory_limit: int = DEFAULT_LIMIT) -> dict[str, NDArray[Any]]:
        """All tensors by name, decoded.

        Args:
            threads: tensors, and row groups of large ones, are decoded on up to this many threads; None or 0: all cores.
            memory_limit: bytes that they may take together, eight per element.

        Returns:
            Arrays in their shapes: quantized ones as x̂ in float32, others bit for bit in their dtype; of what is no number,
            the bytes (uint8).

        Raises:
            CorruptFile: damage; names section and offset. Unsupported: beyond the limit.

        Raises InvalidArgument for anything else.
        """
        memory_limit = count("memory_limit", memory_limit, 0)
        if self._pipe is None:
            return decode_opened(self.opened(), threads_of(threads), memory_limit)
        tensors = [Tensor(data, s.name) for s, data in self.stream() if s.kind == TENSOR]
        return decode_all(tensors, threads_of(threads), memory_limit)

    def tensor(self, name: str, threads: int | None = 1, memory_limit: int = DEFAULT_LIMIT) -> NDArray[Any]:
        """One tensor, decoded alone.

        Args:
            name: one of `tensor_names`.
            threads: row groups of a large tensor are decoded on up to this many threads; None or 0: all cores.
            memory_limit: bytes that it may take, eight per element.

        Returns:
            Its values in their shape and dtype: x̂ in float32 if it was quantized, else as they were, bit for bit; bytes
            (uint8) where they are no numbers.

        Raises:
            InvalidArgument: an unknown name. CorruptFile: damage. Unsupported: beyond the limit.
        """
        if not isinstance(name, str):
            raise InvalidArgument(f"name: expected one of the tensors' names, got {described(name)}")
        memory_limit = count("memory_limit", memory_limit, 0)
        for section in self.sections:
            if section.kind == TENSOR and section.name == name:
                return Tensor(self.section(section), name).values(threads_of(threads), memory_limit)
        raise InvalidArgument(f"name: {self.name} has no tensor {name!r} (it has {len(self.tensor_names)})")


@contextlib.contextmanager
def naming(source: object) -> Iterator[None]:
    """Errors about damage, versions and limits name the file, where `source` is a path."""
    name = os.fsdecode(source) if isinstance(source, (str, os.PathLike)) else ""
    try:
        yield
    except (CorruptFile, Unsupported) as error:
        if not name or name in str(error):
            raise
        raise type(error)(f"{name}: {error}") from None
    except MemoryError:
        raise Unsupported(f"{name or 'the file'}: its tensors take more memory than there is") from None


def unpack_graph(data: bytes, offset: int = 0) -> bytes:
    """The graph from its section; raises CorruptFile for what is no LZMA, or unpacks to more than 2 GB, Unsupported where
    memory does not suffice. offset: of the section in the file, for the message.
    """
    try:
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=1 << 26)
        graph = unpacker.decompress(data, _GRAPH_LIMIT)
    except lzma.LZMAError as error:
        raise CorruptFile(f"section graph, offset {offset}: {error}") from None
    except MemoryError:
        raise Unsupported(
            f"section graph, offset {offset}: it unpacks to more than there is memory for"
        ) from None
    if not unpacker.eof or unpacker.unused_data:
        raise CorruptFile(
            f"section graph, offset {offset}: the LZMA stream does not end where the section does"
        )
    return graph


def parse_facts(data: bytes, offset: int = 0) -> dict[str, Any]:
    """The facts from their section; raises CorruptFile for what is no JSON object. offset: as above."""
    try:
        facts = json.loads(data.decode())
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise CorruptFile(f"section facts, offset {offset}: {error}") from None
    if not isinstance(facts, dict):
        raise CorruptFile(f"section facts, offset {offset}: not a JSON object")
    return facts


def _read(pipe: IO[bytes], length: int) -> bytes:
    """Up to `length` bytes, in pieces: a damaged length must not take memory for bytes that never come."""
    pieces = []
    while length > 0:
        piece = pipe.read(min(length, _PIECE))
        if not piece:
            break
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)


def _held(path: str) -> Any:
    """Contents of a file; of what is none, such as a pipe, a reader."""
    try:
        if not os.path.isfile(path):
            return open(path, "rb")
        file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
        try:
            size = os.fstat(file).st_size
            if size == 0:
                raise CorruptFile(f"{path}: it is empty (0 bytes)")
            if size <= _SMALL:
                return os.read(file, size)
            return mmap.mmap(file, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(file)
    except (OSError, ValueError) as error:
        if isinstance(error, CorruptFile):
            raise
        if isinstance(error, FileNotFoundError):
            raise MissingFile(f"model file {path!r}: no such file") from None
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidArgument(f"model file {path!r} cannot be read: {reason}") from None
