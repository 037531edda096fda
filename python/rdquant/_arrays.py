"""Array-likes to C-contiguous NumPy arrays, and models to their weights: the only coercion of either in the package."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InvalidArgument, called, described

__all__ = [
    "array_of",
    "as_float32",
    "as_floats",
    "as_levels",
    "as_numbers",
    "is_floating",
    "numbers_of",
    "tensors_of",
]

FloatArray = NDArray[np.float32] | NDArray[np.float64]


def array_of(values: Any, what: str) -> NDArray[Any]:
    """`values` as an array; InvalidArgument, naming `what`, where NumPy makes none of them."""
    try:
        return np.asarray(values)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidArgument(f"{what}: expected an array, got {described(values)} ({error})") from None


def numbers_of(values: Any, what: str) -> NDArray[Any]:
    """As `array_of`, with bfloat16, which is no number to NumPy, as float32."""
    array = array_of(values, what)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def is_floating(dtype: np.dtype[Any]) -> bool:
    """Whether arrays of `dtype` hold floating-point numbers, those of ml_dtypes' bfloat16 included."""
    return dtype.kind == "f" or dtype.name == "bfloat16"


def as_floats(values: ArrayLike, what: str = "values") -> FloatArray:
    """C-contiguous float32 or float64 array of `values`; no copy where it is one already.

    float16, bfloat16, integers and lists become float32; other dtypes raise InvalidArgument.
    """
    array = numbers_of(values, what)
    if array.dtype == np.float64 and not isinstance(values, np.ndarray):
        array = array.astype(np.float32)  # lists of Python floats
    elif array.dtype not in (np.float32, np.float64):
        if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
            found = f"dtype {array.dtype}" if array.ndim else described(values)
            raise InvalidArgument(f"{what}: expected an array of real numbers, got {found}")
        array = array.astype(np.float32)
    return np.ascontiguousarray(array).reshape(array.shape)


def as_float32(values: ArrayLike, what: str = "values") -> NDArray[np.float32]:
    """Like `as_floats`, with float64 rounded to float32."""
    return as_floats(values, what).astype(np.float32, copy=False)


def as_numbers(values: ArrayLike, what: str = "values") -> NDArray[np.float64]:
    """Real numbers of any shape as float64; other kinds of dtype raise InvalidArgument."""
    array = numbers_of(values, what)
    if array.dtype.kind not in "fiub":
        found = f"dtype {array.dtype}" if array.ndim else described(values)
        raise InvalidArgument(f"{what}: expected real numbers, got {found}")
    return array.astype(np.float64, copy=False)


def as_levels(levels: ArrayLike, what: str = "levels") -> NDArray[np.int32]:
    """C-contiguous int32 array of integer `levels`; no copy where it is one already.

    Raises InvalidArgument for other kinds of dtype and for values beyond int32.
    """
    array = array_of(levels, what)
    if array.dtype == np.int32:
        return np.ascontiguousarray(array).reshape(array.shape)
    if array.size == 0:
        return np.zeros(array.shape, np.int32)
    if array.dtype.kind not in "iub":
        found = f"dtype {array.dtype}" if array.ndim else described(levels)
        raise InvalidArgument(f"{what}: expected an array of integers, got {found}")
    if array.dtype.itemsize >= 4 and (array.min() < -(2**31) or array.max() >= 2**31):
        raise InvalidArgument(f"{what}: expected values that fit int32, got {array.min()}..{array.max()}")
    return np.ascontiguousarray(array, dtype=np.int32).reshape(array.shape)


def tensors_of(values: Any, what: str = "values") -> dict[str, Any]:
    """Named tensors: a mapping as it is, of a model its weights, anything else under the name `what`.

    A model is a `Model`, or what `rdquant.load` takes: a path, bytes or an onnx.ModelProto.
    """
    if isinstance(values, (str, os.PathLike, bytes)) or type(values).__name__ == "ModelProto":
        # `graph` reads models and stands on parts that use this one: the package as a whole is asked.
        from rdquant import load

        with called("model", what):
            values = load(values)
    if callable(getattr(values, "weights", None)):
        values = values.weights()
    if not isinstance(values, Mapping):
        return {what: values}
    for name in values:
        if not isinstance(name, str):
            raise InvalidArgument(f"{what}: expected names of tensors, got the key {described(name)}")
    return dict(values)
