"""Tensor sections of a compressed file: packed and unpacked.

The format is specified in cpp/include/rdquant/codec/tensor.hpp.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core import codec as _core
from ..errors import CorruptFile
from ..quant import Quantizer
from .lossless import (
    DEFAULT_LIMIT,
    check_limit,
    float_type,
    level_type,
    narrow_levels,
    profile_of,
    wide_levels,
)

__all__ = ["Tensor", "decode_all", "pack_floats", "pack_integers", "pack_quantized", "pack_raw"]


def pack_quantized(
    levels: NDArray[np.int32],
    element_type: int,
    quantizer: Quantizer,
    profile: str,
    threads: int,
    trellis: _core.Trellis | None = None,
) -> bytes:
    """Section of a tensor that is x̂ of `levels`, rounded to ONNX's `element_type`."""
    core = quantizer.core(False)
    inner = quantizer.inner(levels.shape, len(core))
    shape = list(levels.shape)
    path = trellis or _core.Trellis()
    return _core.encode_quantized(
        levels, shape, element_type, core, inner, profile_of(profile), threads, path
    )


def pack_floats(
    data: NDArray[np.uint8], shape: tuple[int, ...], element_type: int, dtype: Any, profile: str, threads: int
) -> bytes:
    """Section of floats of `dtype` that come back bit for bit; `data` are their bytes."""
    kind = float_type(np.dtype(dtype))
    return _core.encode_float_tensor(data, list(shape), element_type, kind, profile_of(profile), threads)


def pack_integers(values: NDArray[Any], element_type: int, profile: str, threads: int) -> bytes:
    """Section of integers that fit int32."""
    kind = level_type(values.dtype)
    shape = list(values.shape)
    return _core.encode_integers(wide_levels(values), shape, element_type, kind, profile_of(profile), threads)


def pack_raw(data: NDArray[np.uint8], shape: tuple[int, ...], element_type: int) -> bytes:
    """Section of bytes as they are."""
    return _core.encode_raw(data, list(shape), element_type)


class Tensor:
    """One tensor section: coding, ONNX element type, shape; decoded on request."""

    def __init__(self, section: bytes, name: str) -> None:
        self.name = name
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
        if self.coding == "raw":
            check_limit(self._payload, 1, memory_limit, f"tensor {self.name!r}")
            return self._into(np.empty(self._payload, np.uint8), threads)
        check_limit(self.size, 8, memory_limit, f"tensor {self.name!r}")
        if self.coding == "integers":
            return narrow_levels(self.levels(threads, memory_limit), self._kind)
        dtype = _FLOAT_DTYPES.get(self.element_type)
        if dtype is None:
            raise CorruptFile(f"section {self.name}, offset 1: element type {self.element_type} is no float")
        if self.coding == "quantized":
            with np.errstate(over="ignore"):
                return self._into(np.empty(self.shape, np.float32), threads).astype(
                    _float_dtype(dtype), copy=False
                )
        kind = _float_dtype(dtype)
        return (
            self._into(np.empty(self.size * kind.itemsize, np.uint8), threads).view(kind).reshape(self.shape)
        )

    def levels(self, threads: int = 1, memory_limit: int = DEFAULT_LIMIT) -> NDArray[np.int32]:
        """Levels of quantized and integer tensors, int32."""
        check_limit(self.size, 4, memory_limit, f"tensor {self.name!r}")
        out = np.empty(self.shape, np.int32)
        _core.decode_tensor(self._section, self.name, out, threads)
        return out

    def _into(self, out: NDArray[Any], threads: int) -> NDArray[Any]:
        _core.decode_tensor(self._section, self.name, out, threads)
        return out


_PARALLEL = 1 << 19  # elements from which a tensor's own parts are decoded in parallel


def decode_all(tensors: Iterable[Tensor], threads: int, memory_limit: int) -> dict[str, NDArray[Any]]:
    """Values of all tensors by name, large tensors first, on up to `threads` threads; errors as `Tensor.values`."""
    with ThreadPoolExecutor(max(1, threads)) as pool:
        jobs = {
            tensor.name: pool.submit(tensor.values, threads if tensor.size >= _PARALLEL else 1, memory_limit)
            for tensor in sorted(tensors, key=lambda tensor: -tensor.size)
        }
        return {name: job.result() for name, job in jobs.items()}


_FLOAT_DTYPES = {1: "float32", 10: "float16", 11: "float64", 16: "bfloat16"}  # ONNX's TensorProto.DataType


def _float_dtype(name: str) -> np.dtype[Any]:
    if name != "bfloat16":
        return np.dtype(name)
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16)
