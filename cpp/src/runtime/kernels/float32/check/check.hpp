#pragma once

#include "runtime/kernels/float32/kernels.hpp"

namespace rdquant::runtime::kernels {

/// Tests of float32 data, of one instruction set.
struct Check {
  /// Whether one of x[begin, end) is not a number.
  bool (*has_nan)(const float* x, Index begin, Index end);
};

/// The tests for `isa`, which this processor must have (core::available_isa).
[[nodiscard]] const Check& check(core::Isa isa);

}  // namespace rdquant::runtime::kernels
