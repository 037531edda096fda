#pragma once

#include <array>

#include "runtime/kernels/float32/kernels.hpp"

namespace rdquant::runtime::native {

/// Rows of an array whose last axis is short, written out one after the other: kernels take many rows at once where
/// one row would take longer to begin than to compute.
class ExpandedRows {
 public:
  static constexpr kernels::Index kFloats = 1024;  ///< that an object holds

  /// `count` rows of `length` numbers at `from`, `row` floats from one row to the next and `step` from one number to
  /// the next, either of which may be 0; count · length ≤ kFloats.
  ExpandedRows(const float* from, kernels::Index count, kernels::Index row, kernels::Index length,
               kernels::Index step);
  ExpandedRows(const ExpandedRows&) = delete;
  ExpandedRows& operator=(const ExpandedRows&) = delete;

  [[nodiscard]] const float* data() const noexcept { return data_; }

 private:
  const float* data_;  ///< where they lie one after the other already, or floats_
  std::array<float, kFloats> floats_;
};

}  // namespace rdquant::runtime::native
