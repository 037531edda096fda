#pragma once

#include <algorithm>
#include <cmath>

#include "runtime/kernels/float32/kernels.hpp"

namespace rdquant::runtime::native {

/// Factors, and behind them shifts, of a batch normalization, `padded` floats each: those past the last channel are 0.
/// @param operand  scale, bias, mean and variance: `channels` floats each
inline void make_affine(void* const* operand, kernels::Index channels, kernels::Index padded, float epsilon,
                        float* factors) {
  const auto at = [&](std::size_t i, kernels::Index c) { return static_cast<const float*>(operand[i])[c]; };
  std::fill_n(factors, 2 * padded, 0.0F);
  for (kernels::Index c = 0; c < channels; ++c) {
    factors[c] = at(0, c) / std::sqrt(at(3, c) + epsilon);
    factors[padded + c] = at(1, c) - at(2, c) * factors[c];
  }
}

}  // namespace rdquant::runtime::native
