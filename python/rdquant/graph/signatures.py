"""Signatures of the operators that plain networks use, as onnx.defs has them, so that a model can be checked
without the package onnx. tests/test_quick.py compares them with it.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["OPSETS", "Signature", "signatures"]

OPSETS = range(7, 25)
"""Opsets of the standard domain that the table covers."""


class Signature(NamedTuple):
    """Fewest and most inputs, most outputs, allowed and required attributes of an operator at some opset."""

    fewest: int
    most: int
    outputs: int
    allowed: frozenset[str]
    required: frozenset[str]


_ANY = 1 << 31
# Operator, first and last opset, fewest and most inputs ("*": any), most outputs, attributes ("!": required).
_TABLE = """
Add 7 24 2 2 1
AveragePool 7 9 1 1 1 auto_pad count_include_pad kernel_shape! pads strides
AveragePool 10 18 1 1 1 auto_pad ceil_mode count_include_pad kernel_shape! pads strides
AveragePool 19 24 1 1 1 auto_pad ceil_mode count_include_pad dilations kernel_shape! pads strides
BatchNormalization 7 8 5 5 5 epsilon momentum spatial
BatchNormalization 9 13 5 5 5 epsilon momentum
BatchNormalization 14 24 5 5 3 epsilon momentum training_mode
Cast 7 18 1 1 1 to!
Cast 19 23 1 1 1 saturate to!
Cast 24 24 1 1 1 round_mode saturate to!
Ceil 7 24 1 1 1
Clip 7 10 1 1 1 max min
Clip 11 24 1 3 1
Concat 7 24 1 * 1 axis!
Constant 7 10 0 0 1 value!
Constant 11 11 0 0 1 sparse_value value
Constant 12 24 0 0 1 sparse_value value value_float value_floats value_int value_ints value_string \
value_strings
Conv 7 24 2 3 1 auto_pad dilations group kernel_shape pads strides
ConvTranspose 7 24 2 3 1 auto_pad dilations group kernel_shape output_padding output_shape pads strides
DepthToSpace 7 10 1 1 1 blocksize!
DepthToSpace 11 24 1 1 1 blocksize! mode
DequantizeLinear 13 20 2 3 1 axis
DequantizeLinear 21 22 2 3 1 axis block_size
DequantizeLinear 23 24 2 3 1 axis block_size output_dtype
Div 7 24 2 2 1
Dropout 7 11 1 1 2 ratio
Dropout 12 24 1 3 2 seed
Elu 7 24 1 1 1 alpha
Erf 9 24 1 1 1
Exp 7 24 1 1 1
Expand 8 24 2 2 1
Flatten 7 24 1 1 1 axis
Floor 7 24 1 1 1
Gather 7 24 2 2 1 axis
Gelu 20 24 1 1 1 approximate
Gemm 7 10 3 3 1 alpha beta transA transB
Gemm 11 24 2 3 1 alpha beta transA transB
GlobalAveragePool 7 24 1 1 1
GlobalMaxPool 7 24 1 1 1
GroupNormalization 21 24 3 3 1 epsilon num_groups! stash_type
HardSigmoid 7 24 1 1 1 alpha beta
HardSwish 14 24 1 1 1
Identity 7 24 1 1 1
InstanceNormalization 7 24 3 3 1 epsilon
LRN 7 24 1 1 1 alpha beta bias size!
LayerNormalization 17 24 2 3 3 axis epsilon stash_type
LeakyRelu 7 24 1 1 1 alpha
Log 7 24 1 1 1
LogSoftmax 7 24 1 1 1 axis
MatMul 7 24 2 2 1
Max 7 24 1 * 1
MaxPool 7 7 1 1 1 auto_pad kernel_shape! pads strides
MaxPool 8 9 1 1 2 auto_pad kernel_shape! pads storage_order strides
MaxPool 10 24 1 1 2 auto_pad ceil_mode dilations kernel_shape! pads storage_order strides
Min 7 24 1 * 1
Mish 18 24 1 1 1
Mul 7 24 2 2 1
Neg 7 24 1 1 1
PRelu 7 24 2 2 1
Pad 7 10 1 1 1 mode pads! value
Pad 11 17 2 3 1 mode
Pad 18 24 2 4 1 mode
Pow 7 24 2 2 1
QuantizeLinear 13 18 2 3 1 axis
QuantizeLinear 19 20 2 3 1 axis saturate
QuantizeLinear 21 22 2 3 1 axis block_size output_dtype saturate
QuantizeLinear 23 24 2 3 1 axis block_size output_dtype precision saturate
Reciprocal 7 24 1 1 1
ReduceMax 7 17 1 1 1 axes keepdims
ReduceMax 18 24 1 2 1 keepdims noop_with_empty_axes
ReduceMean 7 17 1 1 1 axes keepdims
ReduceMean 18 24 1 2 1 keepdims noop_with_empty_axes
ReduceSum 7 12 1 1 1 axes keepdims
ReduceSum 13 24 1 2 1 keepdims noop_with_empty_axes
Relu 7 24 1 1 1
Reshape 7 13 2 2 1
Reshape 14 24 2 2 1 allowzero
Resize 10 10 2 2 1 mode
Resize 11 12 3 4 1 coordinate_transformation_mode cubic_coeff_a exclude_outside extrapolation_value \
mode nearest_mode
Resize 13 17 1 4 1 coordinate_transformation_mode cubic_coeff_a exclude_outside extrapolation_value \
mode nearest_mode
Resize 18 24 1 4 1 antialias axes coordinate_transformation_mode cubic_coeff_a exclude_outside \
extrapolation_value keep_aspect_ratio_policy mode nearest_mode
Shape 7 14 1 1 1
Shape 15 24 1 1 1 end start
Sigmoid 7 24 1 1 1
Slice 7 9 1 1 1 axes ends! starts!
Slice 10 24 3 5 1
Softmax 7 24 1 1 1 axis
Softplus 7 24 1 1 1
Split 7 12 1 1 * axis split
Split 13 17 1 2 * axis
Split 18 24 1 2 * axis num_outputs
Sqrt 7 24 1 1 1
Squeeze 7 12 1 1 1 axes
Squeeze 13 24 1 2 1
Sub 7 24 2 2 1
Sum 7 24 1 * 1
Tanh 7 24 1 1 1
Tile 7 24 2 2 1
Transpose 7 24 1 1 1 perm
Unsqueeze 7 12 1 1 1 axes!
Unsqueeze 13 24 2 2 1
Upsample 7 8 1 1 1 mode scales!
Upsample 9 9 2 2 1 mode
"""


def signatures(opset: int) -> dict[str, Signature]:
    """Signatures at `opset` by operator; those that the table lacks are not known to be wrong."""
    found = {}
    for line in _TABLE.strip().splitlines():
        op, first, last, fewest, most, outputs, *names = line.split()
        if int(first) <= opset <= int(last):
            found[op] = Signature(
                int(fewest),
                _ANY if most == "*" else int(most),
                _ANY if outputs == "*" else int(outputs),
                frozenset(n.rstrip("!") for n in names),
                frozenset(n[:-1] for n in names if n[-1] == "!"),
            )
    return found
