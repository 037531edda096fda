#pragma once

#include "runtime/kernels/float32/kernels.hpp"

/// Sums and extremes along one axis. Like Kernels: no allocation, no threads, items [begin, end).
namespace rdquant::runtime::kernels {

enum class Reduction { sum, absolute, square, min, max };  ///< Σ x, Σ |x|, Σ x², and NaN where one is NaN

struct ReduceArgs {
  Reduction function = Reduction::sum;
  Index length = 1;   ///< of the axis, at least 1
  float factor = 1;   ///< the result is multiplied by it, sums only
  bool root = false;  ///< and its square root taken
};

/// The kernels of one instruction set.
struct Reduce {
  Index block;  ///< floats of a vector
  /// Rows of `length` floats, one after the other. Items: rows.
  void (*rows)(const ReduceArgs& args, const float* src, float* dst, Index begin, Index end);
  /// Columns of `length` floats, `stride` apart. Items: columns, side by side.
  void (*columns)(const ReduceArgs& args, const float* src, float* dst, Index stride, Index begin, Index end);
};

/// The kernels for `isa`, which this processor must have (core::available_isa).
[[nodiscard]] const Reduce& reduce(core::Isa isa);

}  // namespace rdquant::runtime::kernels
