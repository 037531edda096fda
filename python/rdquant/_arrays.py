"""Array-likes to C-contiguous NumPy arrays: the only coercion in the package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InvalidArgument

__all__ = ["as_float32", "as_floats", "as_levels", "named_tensors"]

FloatArray = NDArray[np.float32] | NDArray[np.float64]


def as_floats(values: ArrayLike, what: str = "values") -> FloatArray:
    """C-contiguous float32 or float64 array of `values`; no copy where it is one already.

    float16, integers and lists become float32; other dtypes raise InvalidArgument.
    """
    array = np.asarray(values)
    if array.dtype == np.float64 and not isinstance(values, np.ndarray):
        array = array.astype(np.float32)  # lists of Python floats
    elif array.dtype not in (np.float32, np.float64):
        if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
            raise InvalidArgument(f"{what}: expected an array of real numbers, got dtype {array.dtype}")
        array = array.astype(np.float32)
    return np.ascontiguousarray(array).reshape(array.shape)


def as_float32(values: ArrayLike, what: str = "values") -> NDArray[np.float32]:
    """Like `as_floats`, with float64 rounded to float32."""
    return as_floats(values, what).astype(np.float32, copy=False)


def as_levels(levels: ArrayLike, what: str = "levels") -> NDArray[np.int32]:
    """C-contiguous int32 array of integer `levels`; no copy where it is one already.

    Raises InvalidArgument for other kinds of dtype and for values beyond int32.
    """
    array = np.asarray(levels)
    if array.dtype == np.int32:
        return np.ascontiguousarray(array).reshape(array.shape)
    if array.size == 0:
        return np.zeros(array.shape, np.int32)
    if array.dtype.kind not in "iub":
        raise InvalidArgument(f"{what}: expected an array of integers, got dtype {array.dtype}")
    if array.dtype.itemsize >= 4 and (array.min() < -(2**31) or array.max() >= 2**31):
        raise InvalidArgument(f"{what}: expected values that fit int32, got {array.min()}..{array.max()}")
    return np.ascontiguousarray(array, dtype=np.int32).reshape(array.shape)


def named_tensors(values: Any, name: str = "values") -> dict[str, Any]:
    """`values` as a dict of named tensors: a mapping stays as it is, anything else gets `name`."""
    return dict(values) if isinstance(values, Mapping) else {name: values}
