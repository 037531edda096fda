#pragma once

#include "runtime/kernels/float32/kernels.hpp"

/// Normalization of rows and of channels, and logarithms of softmax. Like Kernels: no allocation, no threads,
/// items [begin, end).
namespace rdquant::runtime::kernels {

/// Rows of `length` floats, one after the other: y = (x − mean)/√(variance + epsilon)·scale + bias.
struct LayerNormArgs {
  Index length = 1;
  float epsilon = 0;
  const float* scale = nullptr;   ///< `length` floats; or null
  const float* bias = nullptr;    ///< likewise
  bool root_mean_square = false;  ///< y = x/√(mean of x² + epsilon)·scale + bias
};

/// Of some numbers: their mean and Σ (x − mean)².
struct Moments {
  double mean = 0, squares = 0;
};

/// y = activation((x − mean)·factor + bias + residual), with numbers for each channel, in blocks padded with zeros.
struct ScalingArgs {
  Index channels = 1;
  const float *mean = nullptr, *factor = nullptr, *bias = nullptr;
  const float* residual = nullptr;  ///< like x; may be y; or null
  Activation activation;            ///< all but prelu
};

/// Plain images of `area` pixels: y = x/(bias + alpha/size·Σ x²)^beta, summed over `size` channels around each.
struct LrnArgs {
  Index channels = 1, area = 1, size = 1;
  float alpha = 0, beta = 0, bias = 1;
};

/// The kernels of one instruction set.
struct Normalize {
  Index block;  ///< floats of a vector
  /// Items: rows.
  void (*layer)(const LayerNormArgs& args, const float* src, float* dst, Index begin, Index end);
  /// Of n floats, which are fetched from memory once.
  Moments (*moments)(const float* src, Index n);
  /// Of each channel of an image of `area` pixels in blocks, `block` channels each. Items: blocks.
  void (*block_moments)(const float* src, Index area, Moments* made, Index begin, Index end);
  /// Channels of a plain image. Items: channels; dst may be src.
  void (*scale)(const ScalingArgs& args, const float* src, float* dst, Index area, Index begin, Index end);
  /// The same in blocks, whose lanes past the last channel become zero. Items: blocks.
  void (*scale_blocks)(const ScalingArgs& args, const float* src, float* dst, Index area, Index begin,
                       Index end);
  /// x − ln Σ eˣ of rows of `length` floats. Items: rows.
  void (*log_softmax)(const float* src, float* dst, Index length, Index begin, Index end);
  /// The same of columns: of `length` floats, `stride` apart. Items: columns, side by side.
  void (*log_softmax_columns)(const float* src, float* dst, Index length, Index stride, Index begin,
                              Index end);
  /// One image. Items: vectors of pixels, ⌈area/block⌉.
  void (*lrn)(const LrnArgs& args, const float* src, float* dst, Index begin, Index end);
};

/// The kernels for `isa`, which this processor must have (core::available_isa).
[[nodiscard]] const Normalize& normalize(core::Isa isa);

}  // namespace rdquant::runtime::kernels
