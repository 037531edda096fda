"""Lossless coding of single tensors: integer levels and floating-point values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import array_of, as_levels
from .._core import codec as _core
from ..errors import InvalidArgument, Unsupported, count, described, needed, one_of, threads_of

__all__ = [
    "DEFAULT_LIMIT",
    "check_limit",
    "decode_floats",
    "decode_levels",
    "effort_of",
    "encode_floats",
    "encode_levels",
    "float_type",
    "level_type",
    "wide_levels",
]

_INT32 = int(_core.LevelType.int32)

DEFAULT_LIMIT = 1 << 34
"""Default limit of the bytes that decoded tensors may take: a file of a few bytes can ask for more."""


def effort_of(effort: str) -> _core.Profile:
    """The core's effort; raises InvalidArgument for other names than "fast" and "max"."""
    return {"fast": _core.Profile.fast, "max": _core.Profile.max}[one_of("effort", effort, ("fast", "max"))]


def buffer_of(name: str, value: Any) -> Any:
    """`value`, which has a buffer of bytes; InvalidArgument for anything else."""
    try:
        plain = memoryview(value).contiguous
    except (TypeError, ValueError):  # ValueError: dates of NumPy
        plain = False
    if not plain or (isinstance(value, np.ndarray) and value.dtype != np.uint8):
        raise InvalidArgument(f"{name}: expected bytes, got {described(value)}")
    return value


def level_type(dtype: np.dtype[Any], what: str = "levels") -> _core.LevelType:
    """How levels of `dtype` are marked in coded bytes; raises InvalidArgument for other dtypes."""
    known: dict[str, _core.LevelType] = _core.LevelType.__members__
    if dtype.name not in known:
        raise InvalidArgument(f"{what}: expected one of {', '.join(known)}, got dtype {dtype}")
    return known[dtype.name]


def float_type(dtype: np.dtype[Any], what: str = "values") -> _core.FloatType:
    """How values of `dtype` are marked in coded bytes; raises InvalidArgument for other dtypes."""
    known: dict[str, _core.FloatType] = _core.FloatType.__members__
    if dtype.name not in known:
        raise InvalidArgument(f"{what}: expected one of {', '.join(known)}, got dtype {dtype}")
    return known[dtype.name]


def wide_levels(levels: NDArray[Any], what: str = "levels") -> NDArray[np.int32]:
    """Levels as C-contiguous int32, from any dtype of `level_type`."""
    small = levels.dtype.itemsize == 1  # 2- and 4-bit types are none that NumPy itself knows
    return as_levels(levels.astype(np.int32) if small else levels, what)


def check_limit(count: int, itemsize: int, limit: int, what: str) -> None:
    """Raise Unsupported where `count` decoded values of `itemsize` bytes go beyond `limit` bytes."""
    if count * itemsize > limit:
        raise Unsupported(f"{what}: {count * itemsize} bytes when decoded, memory_limit allows {limit}")


def encode_levels(levels: ArrayLike, effort: str = "fast", threads: int | None = 1) -> bytes:
    """Code integer levels without loss.

    Args:
        levels: array of int2 … int32, uint2 … uint32, int64 (values that fit int32) or bool; any shape. A
            weight's first axis should be the output channels: predictions and scales follow its axes.
        effort: "fast" (decoded at hundreds of millions of levels a second) or "max" (smaller; two
            to six millions).
        threads: up to this many threads; None or 0: all cores. The bytes do not depend on it.

    Returns:
        Bytes from which `decode_levels` restores values, shape and dtype. The format is specified in
        `cpp/include/rdquant/codec/levels.hpp`.

    Raises:
        InvalidArgument: another dtype, or a value beyond int32.
    """
    array = array_of(levels, "levels")
    if array.size == 0 and array.dtype.kind == "f":
        array = array.astype(np.int32)  # an empty list
    kind = level_type(array.dtype)
    return _core.encode_levels(
        wide_levels(array), list(array.shape), kind, effort_of(effort), threads_of(threads)
    )


def decode_levels(coded: bytes, threads: int | None = 1, memory_limit: int = DEFAULT_LIMIT) -> NDArray[Any]:
    """Levels from `encode_levels`: same values, shape and dtype.

    Args:
        coded: bytes, or anything with a buffer of bytes.
        threads: up to this many threads; None or 0: all cores.
        memory_limit: bytes that the levels may take as int32.

    Raises:
        CorruptFile: the bytes are damaged; names section and offset. Damage that leaves a valid code gives other
            levels, in effort "max" more often: compressed files have checksums, these bytes have none.
        Unsupported: the levels would take more than `memory_limit` bytes.
        InvalidArgument: an argument of another type.
    """
    kind, levels = _core.decode_levels(
        buffer_of("coded", coded), threads_of(threads), count("memory_limit", memory_limit, 0)
    )
    return levels if kind == _INT32 else narrow_levels(levels, _core.LevelType(kind).name)


def narrow_levels(levels: NDArray[np.int32], name: str) -> NDArray[Any]:
    """Levels in the dtype of that name; 2- and 4-bit integers are those of ml_dtypes."""
    if name in ("int4", "uint4", "int2", "uint2"):
        with needed():
            import ml_dtypes

        return levels.astype(getattr(ml_dtypes, name))
    return levels.astype(name, copy=False)


def encode_floats(values: ArrayLike, effort: str = "fast", threads: int | None = 1) -> bytes:
    """Code floating-point values without loss, NaNs and signed zeros included.

    Args:
        values: array of float32, float16, ml_dtypes' bfloat16, or float64 (which is stored as it is); any shape.
        effort, threads: as for `encode_levels`.

    Returns:
        Bytes from which `decode_floats` restores them. The format is specified in
        `cpp/include/rdquant/codec/floats.hpp`; shape and dtype are the caller's to keep.

    Raises:
        InvalidArgument: another dtype.
    """
    array = array_of(values, "values")
    kind = float_type(array.dtype)
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return _core.encode_floats(data, list(array.shape), kind, effort_of(effort), threads_of(threads))


def decode_floats(coded: bytes, dtype: Any, shape: tuple[int, ...], threads: int | None = 1) -> NDArray[Any]:
    """Values from `encode_floats`, bit for bit.

    Args:
        coded: bytes, or anything with a buffer of bytes.
        dtype: float16, float32, float64 or ml_dtypes' bfloat16, as they were coded.
        shape: as they were coded.
        threads: up to this many threads; None or 0: all cores.

    Returns:
        Array of that dtype and shape.

    Raises:
        InvalidArgument: another dtype, or no shape. CorruptFile: the bytes are damaged, or hold another number or type
            of values.
    """
    try:
        kind = np.dtype(dtype)
    except TypeError:
        raise InvalidArgument(f"dtype: expected a type of floats, got {described(dtype)}") from None
    if not isinstance(shape, (tuple, list)):
        raise InvalidArgument(f"shape: expected a tuple of integers, got {described(shape)}")
    shape = tuple(count("shape", side, 0, 1 << 40) for side in shape)
    known = float_type(kind, "dtype")
    data = np.empty(math.prod(shape) * kind.itemsize, np.uint8)
    _core.decode_floats(buffer_of("coded", coded), known, data, threads_of(threads))
    return data.view(kind).reshape(shape)
