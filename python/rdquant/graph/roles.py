"""Which initializers count as weights and biases, and in which role.

A floating-point initializer counts when some node consumes it as a learned parameter, directly or through
nodes that only move or convert values (Identity, Reshape, Transpose, …). Two things do not count: operator
settings (Clip's bounds, Resize's scales, quantization scales, …) and single numbers in arithmetic (1/255, an
epsilon), and masks: arrays of zeros, ones and numbers far away, such as the −3.4e38 by which a causal transformer
hides what comes later. Nor do divisors and exponents. Other arrays in arithmetic do: a file does not tell a learned
offset (mnist-8's biases, position embeddings) from a fixed table (the prior boxes of ultraface). Empty tensors hold no
value and do not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FLOATS", "OTHER_FLOATS", "ROLES", "forwards", "is_mask", "role"]

ROLES = ("weight", "bias", "normalization")
"""Roles of learned tensors."""

# onnx.TensorProto.DataType -> NumPy dtype of the weights that rdquant serves; NumPy knows the last one when
# ml_dtypes has been imported.
FLOATS: Mapping[int, str] = {1: "<f4", 10: "<f2", 11: "<f8", 16: "bfloat16"}
# Floating-point types that it does not: a weight of such a type is refused, not silently left out.
OTHER_FLOATS: Mapping[int, str] = {
    17: "float8e4m3fn",
    18: "float8e4m3fnuz",
    19: "float8e5m2",
    20: "float8e5m2fnuz",
}

_W, _B, _N = "weight", "bias", "normalization"

# Operator -> input index -> role. A single number counts only here.
_PARAMETERS: Mapping[str, Mapping[int, str]] = {
    "Conv": {1: _W, 2: _B},
    "FusedConv": {1: _W, 2: _B},
    "ConvTranspose": {1: _W, 2: _B},
    "DeformConv": {1: _W, 3: _B},
    "Gemm": {0: _W, 1: _W, 2: _B},
    "MatMul": {0: _W, 1: _W},
    "FusedMatMul": {0: _W, 1: _W},
    "Einsum": {0: _W, 1: _W},
    "Gather": {0: _W},
    "RNN": {1: _W, 2: _W, 3: _B},
    "GRU": {1: _W, 2: _W, 3: _B},
    "LSTM": {1: _W, 2: _W, 3: _B, 7: _W},
    "PRelu": {1: _W},
    "BatchNormalization": {1: _N, 2: _N, 3: _N, 4: _N},
    "InstanceNormalization": {1: _N, 2: _N},
    "LayerNormalization": {1: _N, 2: _N},
    "SimplifiedLayerNormalization": {1: _N},
    "GroupNormalization": {1: _N, 2: _N},
    "RMSNormalization": {1: _N},
    "SkipLayerNormalization": {2: _N, 3: _N, 4: _B},
    "Attention": {1: _W, 2: _B},
    "BiasGelu": {1: _B},
    "FastGelu": {1: _B},
}

# Operator -> inputs that are settings or data, never learned. An empty set means every input.
_SETTINGS: Mapping[str, frozenset[int]] = {
    "Clip": frozenset({1, 2}),
    "Compress": frozenset(),
    "DequantizeLinear": frozenset({1, 2}),
    "Div": frozenset({1}),  # a divisor of zero steps would be 0
    "Dropout": frozenset({1}),
    "DynamicQuantizeLinear": frozenset(),
    "Equal": frozenset(),
    "GRU": frozenset({5}),
    "Greater": frozenset(),
    "GreaterOrEqual": frozenset(),
    "GridSample": frozenset({1}),
    "LSTM": frozenset({5, 6}),
    "Less": frozenset(),
    "LessOrEqual": frozenset(),
    "MaxRoiPool": frozenset({1}),
    "MelWeightMatrix": frozenset(),
    "NonMaxSuppression": frozenset(),
    "OneHot": frozenset(),
    "Pad": frozenset({1, 2, 3}),
    "Pow": frozenset({1}),
    "QGemm": frozenset(),
    "QLinearAdd": frozenset(),
    "QLinearConcat": frozenset(),
    "QLinearConv": frozenset(),
    "QLinearMatMul": frozenset(),
    "QLinearMul": frozenset(),
    "QuantizeLinear": frozenset({1, 2}),
    "RNN": frozenset({5}),
    "Range": frozenset(),
    "Resize": frozenset({1, 2, 3}),
    "RoiAlign": frozenset({1, 2}),
    "STFT": frozenset({1, 2, 3}),
    "ScatterElements": frozenset(),
    "ScatterND": frozenset(),
    "Shape": frozenset(),
    "Size": frozenset(),
    "Upsample": frozenset({1}),
}

# Operators whose first input only moves, or changes type, on its way to the output.
_FORWARDS = frozenset(
    {
        "Cast",
        "CastLike",
        "DequantizeLinear",
        "Expand",
        "Flatten",
        "Identity",
        "QuantizeLinear",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)


def forwards(op: str, index: int) -> bool:
    """Whether input `index` of `op` reaches the output as it is: the output's consumers consume the input."""
    return index == 0 and op in _FORWARDS


_FAR = 9999.0  # masks hold −10000, −65504, −1e9, the lowest float or −∞


def is_mask(op: str, values: NDArray[Any]) -> bool:
    """Whether a constant that `op` reads only lets pass or hides: zeros, ones and numbers far away."""
    if (op in _PARAMETERS and op != "Gather") or values.size < 2:
        return False
    size = np.abs(values)
    far = size > _FAR
    return bool(far.any() and np.all(far | (size == 0) | (size == 1)))


def role(op: str, index: int, shape: tuple[int, ...], size: int) -> str | None:
    """Role of a constant of `shape` with `size` values at input `index` of `op`: "weight", "bias",
    "normalization".

    None where it is no learned parameter. An array that is added and varies along one axis at most is a bias;
    all that the table of operators does not know is a weight.
    """
    known = _PARAMETERS.get(op, {}).get(index)
    if size == 0 or known is not None:
        return known if size else None
    settings = _SETTINGS.get(op)
    if size == 1 or (settings is not None and (not settings or index in settings)):
        return None
    if op in ("Add", "Sub", "Sum") and max(shape) == size:
        return _B
    return _W
