"""Tensor sections of a compressed file: packed and unpacked.

The format is specified in cpp/include/rdquant/codec/tensor.hpp.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core import codec as _core
from ..errors import CorruptFile, Unsupported, needed
from ..quant import Quantizer
from .lossless import (
    DEFAULT_LIMIT,
    check_limit,
    effort_of,
    float_type,
    level_type,
    narrow_levels,
    wide_levels,
)

__all__ = [
    "Tensor",
    "decode_all",
    "decode_opened",
    "pack_floats",
    "pack_integers",
    "pack_quantized",
    "pack_raw",
]


_ALIGN = 64  # bytes: a cache line, and enough for every vector unit


def pack_quantized(
    levels: NDArray[np.int32],
    element_type: int,
    quantizer: Quantizer,
    effort: str,
    threads: int,
    trellis: _core.Trellis | None = None,
) -> bytes:
    """Section of a tensor that is x̂ of `levels`, rounded to ONNX's `element_type`."""
    core = quantizer.core(False)
    inner = quantizer.inner(levels.shape, len(core))
    shape = list(levels.shape)
    path = trellis or _core.Trellis()
    return _core.encode_quantized(levels, shape, element_type, core, inner, effort_of(effort), threads, path)


def pack_floats(
    data: NDArray[np.uint8], shape: tuple[int, ...], element_type: int, dtype: Any, effort: str, threads: int
) -> bytes:
    """Section of floats of `dtype` that come back bit for bit; `data` are their bytes."""
    kind = float_type(np.dtype(dtype))
    return _core.encode_float_tensor(data, list(shape), element_type, kind, effort_of(effort), threads)


def pack_integers(values: NDArray[Any], element_type: int, effort: str, threads: int) -> bytes:
    """Section of integers that fit int32."""
    kind = level_type(values.dtype)
    shape = list(values.shape)
    return _core.encode_integers(wide_levels(values), shape, element_type, kind, effort_of(effort), threads)


def pack_raw(data: NDArray[np.uint8], shape: tuple[int, ...], element_type: int) -> bytes:
    """Section of bytes as they are."""
    return _core.encode_raw(data, list(shape), element_type)


class Tensor:
    """One tensor section: coding, ONNX element type, shape; decoded on request.

    section: its bytes. checksum: that of bytes which nobody has checked yet; they are when they are decoded.
    """

    def __init__(self, section: bytes | memoryview, name: str, checksum: _core.Section | None = None) -> None:
        self.name = name
        self._checksum = checksum
        self.bytes = len(section)
        self._section = section
        coding, self.element_type, shape, kind, self.quantizers, self.inner, self._payload = (
            _core.tensor_header(section, name)
        )
        self.coding: str = coding.name
        """ "floats", "quantized", "integers" or "raw" """
        self.shape: tuple[int, ...] = tuple(shape)
        self._kind: str = kind.name

    @property
    def trellis(self) -> int:
        """States of the trellis whose path the levels are; 0: none. Raises CorruptFile for damaged levels."""
        if self.coding != "quantized" or not self._payload:
            return 0
        return _core.levels_trellis(self._section[-self._payload :]).states

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def values(self, threads: int = 1, memory_limit: int = DEFAULT_LIMIT) -> NDArray[Any]:
        """The values in the tensor's own dtype and shape; bytes of `raw` ones.

        Raises CorruptFile for damage, Unsupported beyond `memory_limit` bytes.
        """
        return decode_all([self], threads, memory_limit)[self.name]

    def levels(self, threads: int = 1, memory_limit: int = DEFAULT_LIMIT) -> NDArray[np.int32]:
        """Levels of quantized and integer tensors, int32."""
        check_limit(self.size, 4, memory_limit, f"tensor {self.name!r}")
        out = np.empty(self.shape, np.int32)
        _core.decode_tensors([self.job(out)], threads)
        return out

    def room(self, memory_limit: int) -> tuple[np.dtype[Any], tuple[int, ...]]:
        """Dtype and shape of the array to decode into. Raises CorruptFile where the element type is none of the
        coding's, Unsupported beyond `memory_limit` bytes.
        """
        if self.coding == "raw":
            check_limit(self._payload, 1, memory_limit, f"tensor {self.name!r}")
            return np.dtype(np.uint8), (self._payload,)
        check_limit(self.size, 8, memory_limit, f"tensor {self.name!r}")
        if self.coding == "integers":
            return np.dtype(np.int32), self.shape
        if self.coding == "quantized":
            self._dtype()
            return np.dtype(np.float32), self.shape
        return np.dtype(np.uint8), (self.size * self._dtype().itemsize,)

    def job(self, out: NDArray[Any]) -> tuple[_core.Section | None, Any, str, NDArray[Any]]:
        """What `_core.decode_tensors` takes, to decode this one into its `room`."""
        return self._checksum, self._section, self.name, out

    def finished(self, decoded: NDArray[Any]) -> NDArray[Any]:
        """The values, as `values` gives them, from the `room` that they were decoded into."""
        if self.coding == "raw":
            return decoded
        return _finished(self.coding, self.element_type, self._kind, decoded).reshape(self.shape)

    def _dtype(self) -> np.dtype[Any]:
        if self.element_type not in _FLOAT_DTYPES:
            raise CorruptFile(
                f"section {self.name}, offset 1: element type {self.element_type} is not a float type"
            )
        return _float_dtype(_FLOAT_DTYPES[self.element_type])


def decode_all(tensors: Sequence[Tensor], threads: int, memory_limit: int) -> dict[str, NDArray[Any]]:
    """Values of all tensors by name, on up to `threads` threads; errors as `Tensor.values`, but that they may take
    `memory_limit` bytes together.

    They lie side by side in one block, each at a multiple of 64 bytes: of fresh memory, large pages take a
    fraction of the time that many small ones take.
    """
    needed = 0
    for tensor in tensors:
        needed += tensor.size * 8 if tensor.coding != "raw" else tensor.bytes
        if needed > memory_limit:
            raise Unsupported(
                f"tensor {tensor.name!r}: with it {needed} bytes when decoded, memory_limit allows {memory_limit}"
            )
    rooms = _side_by_side([tensor.room(memory_limit) for tensor in tensors])
    _core.decode_tensors([tensor.job(room) for tensor, room in zip(tensors, rooms, strict=True)], threads)
    return {tensor.name: tensor.finished(room) for tensor, room in zip(tensors, rooms, strict=True)}


def decode_opened(opened: _core.Tensors, threads: int, memory_limit: int) -> dict[str, NDArray[Any]]:
    """As `decode_all`, of all tensors of a file; `memory_limit` is that of all of them together."""
    values, unfinished = opened.decode(threads, memory_limit)
    for name, coding, element_type, kind in unfinished:
        values[name] = _finished(coding.name, element_type, kind.name, values[name])
    return values


def _finished(coding: str, element_type: int, kind: str, decoded: NDArray[Any]) -> NDArray[Any]:
    """Values of the tensor's own dtype, from what the core gives."""
    if coding == "integers":
        return narrow_levels(decoded, kind)
    dtype = _float_dtype(_FLOAT_DTYPES[element_type])
    if coding == "floats" or dtype == decoded.dtype:
        return decoded.view(dtype)
    with np.errstate(over="ignore"):
        return decoded.astype(dtype)


def _side_by_side(kinds: Sequence[tuple[np.dtype[Any], tuple[int, ...]]]) -> list[NDArray[Any]]:
    """Uninitialised arrays of these dtypes and shapes."""
    sizes = [dtype.itemsize * math.prod(shape) for dtype, shape in kinds]
    block = np.empty(sum(size + -size % _ALIGN for size in sizes) + _ALIGN, np.uint8)
    at, rooms = -block.ctypes.data % _ALIGN, []
    for (dtype, shape), size in zip(kinds, sizes, strict=True):
        rooms.append(block[at : at + size].view(dtype).reshape(shape))
        at += size + -size % _ALIGN
    return rooms


_FLOAT_DTYPES = {1: "float32", 10: "float16", 11: "float64", 16: "bfloat16"}  # ONNX's TensorProto.DataType


@cache
def _float_dtype(name: str) -> np.dtype[Any]:
    if name != "bfloat16":
        return np.dtype(name)
    with needed():
        import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16)
