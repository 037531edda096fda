"""What goes into a model and what comes out: names, element types, sizes. Imports nothing big."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import needed

if TYPE_CHECKING:
    import onnx

from .._tables import Brief

__all__ = ["ELEMENT_TYPES", "TensorInfo", "dtype_named", "suggestion"]

ELEMENT_TYPES: Mapping[int, str] = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "bfloat16",
}
"""onnx.TensorProto.DataType → NumPy's name, for the types that the engine takes."""


@dataclass(frozen=True, repr=False)
class TensorInfo(Brief):
    """An input or output of a network.

    Attributes:
        name: in the graph.
        dtype: NumPy's.
        shape: a dimension is a size, a symbol's name, or None where the file says nothing.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str | None, ...]

    @classmethod
    def of(cls, value: onnx.ValueInfoProto) -> TensorInfo:
        """From ONNX's description `value`; sequences and optionals have dtype object and no shape."""
        if value.type.WhichOneof("value") != "tensor_type":
            return cls(value.name, np.dtype(object), ())
        with needed():
            import onnx

        tensor = value.type.tensor_type
        shape = tuple(
            d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in tensor.shape.dim
        )
        kind = (
            onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type) if tensor.elem_type else np.dtype(object)
        )
        return cls(value.name, np.dtype(kind), shape)


def dtype_named(name: str) -> np.dtype[Any]:
    """NumPy's dtype of that name, or ml_dtypes' bfloat16; TypeError where there is none."""
    if name == "bfloat16":
        with needed():
            import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def suggestion(name: str, known: Iterable[str]) -> str:
    """ "; did you mean 'x'?" with that of `known` which is closest to `name`, or nothing."""
    import difflib

    close = difflib.get_close_matches(name, [k for k in known if k], 1)
    return f"; did you mean {close[0]!r}?" if close else ""
