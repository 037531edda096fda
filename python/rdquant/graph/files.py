"""Model files, opened with care and read by position into aligned memory."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from ..errors import CorruptFile, InvalidArgument, MissingFile
from .wire import strip

__all__ = ["Bytes", "FileSource", "KeptSource", "aligned", "open_file"]

Bytes = NDArray[np.uint8]
_ALIGN = 64  # bytes: a cache line, and enough for every vector unit
_WINDOW = 1 << 16


def aligned(count: int) -> Bytes:
    """`count` uninitialised bytes that start at a multiple of 64."""
    block = np.empty(count + _ALIGN, np.uint8)
    start = -block.ctypes.data % _ALIGN
    return block[start : start + count]


class FileSource:
    """An open file, read by position: nothing is mapped, so a file that changes later cannot change the
    model.
    """

    def __init__(self, handle: int, name: str) -> None:
        self.name = name
        self.size = os.fstat(handle).st_size
        self._handle = handle
        self._window = b""
        self._at = 0

    def read(self, offset: int, count: int) -> bytes:
        """The `count` bytes at `offset`, through a small read-ahead window."""
        if not (self._at <= offset and offset + count <= self._at + len(self._window)):
            self._window = self._exactly(offset, max(count, min(_WINDOW, self.size - offset)))
            self._at = offset
        start = offset - self._at
        return self._window[start : start + count]

    def array(self, offset: int, count: int) -> Bytes:
        """The bytes as an aligned array, read straight into it."""
        out = aligned(count)
        view, done = out.data, 0
        while done < count:
            got = os.preadv(self._handle, [view[done : done + (1 << 30)]], offset + done)
            if got == 0:
                raise self._short(offset, count)
            done += got
        return out

    def _exactly(self, offset: int, count: int) -> bytes:
        data = os.pread(self._handle, count, offset)
        while len(data) < count:
            more = os.pread(self._handle, count - len(data), offset + len(data))
            if not more:
                raise self._short(offset, count)
            data += more
        return data

    def _short(self, offset: int, count: int) -> CorruptFile:
        return CorruptFile(f"{self.name}: bytes {offset}..{offset + count} asked for, the file ends before")

    def skeleton(self) -> bytes:
        """The serialised model without its big tensors."""
        return strip(self)


class KeptSource:
    """What was read of a file, in its place: the skeleton that `strip` made, and the tensors it refers to."""

    def __init__(
        self, name: str, size: int, skeleton: bytes, arrays: Mapping[tuple[int, int], Bytes]
    ) -> None:
        self.name = name
        self.size = size
        self._skeleton = skeleton
        self._arrays = arrays

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


@contextmanager
def open_file(path: str | os.PathLike[str], what: str) -> Iterator[FileSource]:
    """`path` open for reading; InvalidArgument unless it is a regular file that can be read."""
    try:
        # Without O_NONBLOCK a named pipe would wait for a writer before it could be refused.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise MissingFile(f"{what}: no such file") from None
    except OSError as error:
        raise InvalidArgument(f"{what}: {error.strerror or error}") from error
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise InvalidArgument(f"{what} is {kind}; a file is needed")
        yield FileSource(handle, what)
    finally:
        os.close(handle)
