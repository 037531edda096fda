#include <algorithm>
#include <array>
#include <cmath>

#include "rdquant/calibrate/feedback.hpp"

namespace rdquant::calibrate {
namespace {

constexpr std::size_t kMostPast = 32;  // levels that a prediction looks back, at most
constexpr float kLargest = 1e9F;       // levels stay within int32

float in_steps(float target, float step) { return std::clamp(target / step, -kLargest, kLargest); }

}  // namespace

FedTargets::FedTargets(const Column& column) : column_(column), targets_(column.targets) {
  if (column.outputs.factor.empty()) return;
  fed_.assign(column.targets, column.targets + column.rows);
  targets_ = fed_.data();
}

void FedTargets::feed(std::size_t row, float missed) {
  const float* const shares = column_.outputs.factor.data() + row * column_.rows;
  for (std::size_t r = row + 1; r < column_.rows; ++r) fed_[r] += shares[r] * missed;
}

void NearestRounder::round(const Column& column) const {
  FedTargets targets(column);
  for (std::size_t r = 0; r < column.rows; ++r) {
    const float level = std::nearbyint(std::clamp(targets[r] / step_, -largest_, largest_));
    column.levels[r] = static_cast<std::int32_t>(level);
    targets.settle(r, step_ * level);
  }
}

RateRounder::RateRounder(double step, double lambda, double mean_weight, const codec::LevelRates& rates,
                         std::size_t row_stride, std::size_t column_stride)
    : step_(static_cast<float>(step)),
      lambda_(static_cast<float>(lambda * mean_weight)),
      rates_(rates),
      row_stride_(row_stride),
      column_stride_(column_stride) {}

void RateRounder::round(const Column& column) const {
  FedTargets targets(column);
  std::array<std::int32_t, kMostPast> past{};
  for (std::size_t r = 0; r < column.rows; ++r) {
    const std::size_t index = (column.first_row + r) * row_stride_ + column.index * column_stride_;
    const std::size_t before = std::min({rates_.past(index), column.index, kMostPast});
    for (std::size_t j = 0; j < before; ++j) past[j] = *(column.levels + r - (j + 1) * column.stride);
    const std::int32_t mean = rates_.mean(index, {past.data(), before});
    const float price = lambda_ / (column.weight * column.row_weight(r));
    const float t = in_steps(targets[r], step_);
    const auto below = static_cast<std::int32_t>(std::floor(t));
    // The neighbours of the target, and the next level towards what the codec expects.
    const std::int32_t next = 16 * below > mean ? below - 1 : below + 2;
    float least = INFINITY;
    for (const std::int32_t level : {below, below + 1, next}) {
      const float miss = t - static_cast<float>(level);
      const float cost = miss * miss + price * rates_.bits(index, mean, level);
      if (cost < least) {
        least = cost;
        column.levels[r] = level;
      }
    }
    targets.settle(r, step_ * static_cast<float>(column.levels[r]));
  }
}

TrellisRounder::TrellisRounder(double step, double lambda, double mean_weight,
                               const codec::ColumnQuantizer& columns)
    : step_(static_cast<float>(step)), lambda_(lambda * mean_weight), columns_(columns) {}

void TrellisRounder::round(const Column& column) const {
  std::vector<float> targets(column.targets, column.targets + column.rows);
  for (float& target : targets) target /= step_;
  // The levels of all columns up to this one precede it in memory.
  std::int32_t* const first = column.levels - column.index * column.stride;
  columns_.quantize(column.index, targets, 0.5, 1.0, lambda_ / static_cast<double>(column.weight),
                    {first, columns_.columns() * column.stride}, 1, column.stride, column.outputs);
}

}  // namespace rdquant::calibrate
