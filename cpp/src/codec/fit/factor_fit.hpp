#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "codec/model/density.hpp"
#include "codec/model/model.hpp"

/// Scales of rows, columns and taps for some elements of a tensor, by description length. Only the encoder
/// runs this.
namespace rdquant::codec {

inline constexpr int kSums = 6 * kScales;  ///< sums of scales, −3·kScales ≤ s < 3·kScales

using Costs = std::array<double, kScales>;

/// Elements that are not the common level.
struct Survivors {
  std::vector<std::uint32_t> row, col, tap;
  std::vector<std::uint32_t> beyond;  ///< distance less the least one
  [[nodiscard]] std::size_t size() const noexcept { return row.size(); }
};

/// Where a scale's costs are: forced into the range, as decoders do it.
[[nodiscard]] inline std::size_t scale_index(int scale) {
  return static_cast<std::size_t>(clamp_scale(scale));
}

/// What scales of rows, columns and taps explain: a survivor of weight y costs one[s] + y·more[s] bits at
/// scale s, and every element, survivor or not, costs every[s].
struct FitCosts {
  Costs one{}, more{}, every{};
};

/// Gives `model`, whose grid is set, scales by exact search along rows, columns and taps in turn; those that
/// do not pay stay even. `weights`: one a survivor, or none (all 0). `information`: what one survivor tells
/// about the logarithm of its scale, in nats⁻²; it sets how fine scales are.
void fit_factors(Model& model, const Survivors& places, std::span<const double> weights,
                 const FitCosts& costs, double information);

}  // namespace rdquant::codec
