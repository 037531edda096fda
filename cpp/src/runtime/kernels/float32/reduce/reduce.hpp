#pragma once

#include "runtime/kernels/float32/kernels.hpp"

/// Sums and extremes along one axis. Like Kernels: no allocation, no threads, items [begin, end).
namespace rdquant::runtime::kernels {

/// Σ x, Σ |x|, Σ x², Π x, ln Σ eˣ, and NaN where one is NaN.
enum class Reduction { sum, absolute, square, product, log_sum_exp, min, max };
enum class Finish { none, root, logarithm };  ///< of a sum: nothing, its square root, its natural logarithm

struct ReduceArgs {
  Reduction function = Reduction::sum;
  Index length = 1;              ///< of the axis, at least 1
  float factor = 1;              ///< Σ x, Σ |x| and Σ x² are multiplied by it
  Finish finish = Finish::none;  ///< and finished by this
};

struct ArgArgs {
  bool largest = true;
  Index length = 1;   ///< of the axis, 1 to 2³¹ − 1
  bool last = false;  ///< which of several that are equal: the first or the last
};

/// The kernels of one instruction set.
struct Reduce {
  Index block;  ///< floats of a vector
  /// Rows of `length` floats, one after the other. Items: rows.
  void (*rows)(const ReduceArgs& args, const float* src, float* dst, Index begin, Index end);
  /// Columns of `length` floats, `stride` apart. Items: columns, side by side.
  void (*columns)(const ReduceArgs& args, const float* src, float* dst, Index stride, Index begin, Index end);
  /// Where along the axis the least or greatest stands; NaN is beyond every number.
  void (*arg_rows)(const ArgArgs& args, const float* src, std::int64_t* dst, Index begin, Index end);
  void (*arg_columns)(const ArgArgs& args, const float* src, std::int64_t* dst, Index stride, Index begin,
                      Index end);
};

/// The kernels for `isa`, which this processor must have (core::available_isa).
[[nodiscard]] const Reduce& reduce(core::Isa isa);

}  // namespace rdquant::runtime::kernels
