"""Quantized tensors as levels: int8 or int4 initializers, each with a DequantizeLinear node that gives the weight."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..codec.sections import Tensor
from ..errors import needed
from .tensors import Stored

with needed():
    import onnx
    from onnx import TensorProto, helper, numpy_helper

__all__ = ["INT4_OPSET", "fits_levels", "keep_levels", "put_levels"]

INT4_OPSET = 21
"""From which on ONNX has levels of 4 bits."""


def fits_levels(tensor: Tensor) -> bool:
    """Whether x̂ = Δ·level for all levels: float32 by midtread, one step or one along an axis."""
    if tensor.coding != "quantized" or tensor.element_type != TensorProto.FLOAT or not tensor.size:
        return False
    if not all(getattr(q, "delta", None) == 0.5 for q in tensor.quantizers):
        return False
    return len(tensor.quantizers) == 1 or _axis(tensor) is not None


def keep_levels(
    skeleton: onnx.ModelProto, tensor: Tensor, levels: NDArray[np.int32]
) -> dict[str, Stored] | None:
    """Put the node into `skeleton` that makes the tensor from its levels; the initializers that it reads.

    Args:
        skeleton: a graph without the tensor; changed in place. Opset ≥ 13.
        tensor: one that `fits_levels`.
        levels: as decoded.

    Returns as `put_levels`.
    """
    return put_levels(skeleton, tensor.name, levels, [q.step for q in tensor.quantizers], _axis(tensor))


def put_levels(
    skeleton: onnx.ModelProto,
    name: str,
    levels: NDArray[np.integer],
    steps: Sequence[float],
    axis: int | None,
) -> dict[str, Stored] | None:
    """Put the node into `skeleton` that makes the tensor `name` from levels; the initializers that it reads.

    skeleton: a graph without the tensor, of opset ≥ 13; changed in place. levels: in the tensor's shape. steps: one, or along
    `axis` one each.

    Returns levels (int4 from opset 21 on where they fit, else int8) and steps as float32; None, and nothing is changed, where
    the levels exceed int8.
    """
    low, high = int(levels.min()), int(levels.max())
    if low < -128 or high > 127:
        return None
    opset = next((o.version for o in skeleton.opset_import if o.domain in ("", "ai.onnx")), 0)
    small = opset >= INT4_OPSET and low >= -8 and high <= 7
    kind = TensorProto.INT4 if small else TensorProto.INT8
    packed = numpy_helper.from_array(levels.astype(helper.tensor_dtype_to_np_dtype(kind))).raw_data
    scales = np.array(steps, np.float32)
    names = _free_names(skeleton, name)
    stored = {
        next(names): Stored(kind, levels.shape, np.frombuffer(packed, np.uint8)),
        next(names): Stored(
            TensorProto.FLOAT, (len(scales),) if axis is not None else (), scales.view(np.uint8)
        ),
    }
    options = {} if axis is None else {"axis": axis}
    skeleton.graph.node.insert(0, helper.make_node("DequantizeLinear", list(stored), [name], **options))
    return stored


def _axis(tensor: Tensor) -> int | None:
    """The axis along which the quantizers differ; None for a single one, or where none fits."""
    count = len(tensor.quantizers)
    if count == 1:
        return None
    for axis, size in enumerate(tensor.shape):
        if size == count and math.prod(tensor.shape[axis + 1 :]) == tensor.inner:
            return axis
    return None


def _free_names(skeleton: onnx.ModelProto, name: str) -> Iterator[str]:
    taken = {value for node in skeleton.graph.node for value in (*node.input, *node.output)}
    for suffix in ("levels", "step"):
        free = f"{name}_{suffix}"
        while free in taken:
            free += "_"
        yield free
