#pragma once

#include "runtime/kernels/float32/kernels.hpp"

/// Running sums and products along one axis, made in double precision and rounded once. Like Kernels: no allocation,
/// no threads, items [begin, end).
namespace rdquant::runtime::kernels {

struct CumulativeArgs {
  Index length = 1;        ///< of the axis
  bool exclusive = false;  ///< each number's own sum leaves it out
  bool reverse = false;    ///< from the end
  bool product = false;    ///< products in place of sums
};

/// The kernels of one instruction set.
struct Cumulative {
  /// Rows of `length` floats, one after the other. Items: rows.
  void (*rows)(const CumulativeArgs& args, const float* src, float* dst, Index begin, Index end);
  /// Columns of `length` floats, `stride` apart. Items: columns, side by side.
  void (*columns)(const CumulativeArgs& args, const float* src, float* dst, Index stride, Index begin,
                  Index end);
};

/// The kernels for `isa`, which this processor must have (core::available_isa).
[[nodiscard]] const Cumulative& cumulative(core::Isa isa);

}  // namespace rdquant::runtime::kernels
