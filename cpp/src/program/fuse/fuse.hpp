#pragma once

#include "rdquant/program/program.hpp"

namespace rdquant::program {

/// Drops steps, values and weights that no output depends on, and numbers the values anew.
void remove_dead(Program& program);

/// Steps on float16 and bfloat16 as steps on float32: weights are converted once, inputs and outputs keep their
/// types. What conversions between these types would round inside the network is not rounded.
void widen_halves(Program& program);

/// All fusions, in an order in which each finds what the one before it leaves.
void fuse(Program& program);

/// Convolutions along lines as convolutions of images of one row, and what is between them.
void widen_lines(Program& program);

/// Resizes of one axis and of three as such of images.
void flatten_resizes(Program& program);

/// Convolutions without the taps that meet nothing but padding.
void drop_taps(Program& program);

/// First layers with long strides as products of matrices, where results are turned to rows, or with stride 1.
void cut_patches(Program& program);

/// Concatenations of what others have joined already, from these: the largest holds all of them.
void nest_concats(Program& program);

/// Dequantize, operation, Quantize to operations on levels: what lies between levels is computed with them.
void fuse_int8(Program& program);
/// Tables and sums of levels into the convolutions before them.
void join_levels(Program& program);

}  // namespace rdquant::program
