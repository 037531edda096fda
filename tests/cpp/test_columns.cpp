#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <span>
#include <vector>

#include "rdquant/codec/trellis.hpp"
#include "rdquant/core/error.hpp"

using namespace rdquant;

namespace {

std::vector<float> noise(std::size_t n, unsigned seed, float scale) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0F, scale);
  std::vector<float> out(n);
  for (float& value : out) value = normal(random);
  return out;
}

/// Of so many columns that rows come in two parts of 48, which the trellis goes through alone.
struct Parts {
  static constexpr std::size_t kRows = 96, kPart = 48, kCols = 4096;
  static constexpr double kDelta = 0.4;

  Parts() : columns(first(), std::vector<std::uint64_t>{kRows, kCols}, 8, true) {}
  [[nodiscard]] std::vector<std::int32_t> choose(std::size_t column, std::span<const float> targets,
                                                 const codec::RowFeedback& rows) const {
    std::vector<std::int32_t> levels(kRows * kCols, 12345), chosen;
    columns.quantize(column, targets, kDelta, 1.0, 0.2, levels, kCols, 1, rows);
    for (std::size_t r = 0; r < kRows; ++r) chosen.push_back(levels[r * kCols + column]);
    return chosen;
  }
  /// What a level misses of a target.
  [[nodiscard]] static float missed(float target, std::int32_t level) {
    const auto inward = static_cast<float>(0.5 - kDelta);
    return target - (static_cast<float>(level) - (level > 0 ? inward : (level < 0 ? -inward : 0.0F)));
  }
  [[nodiscard]] static std::vector<std::int32_t> first() {
    std::vector<std::int32_t> levels;
    for (const float v : noise(kRows * kCols, 3, 3.0F))
      levels.push_back(static_cast<std::int32_t>(std::lrint(v)));
    return levels;
  }

  codec::ColumnQuantizer columns;
  std::vector<float> weights = std::vector<float>(kRows, 1.0F);
};

}  // namespace

TEST_CASE("what one part of a column misses is fed into the next part") {
  const Parts parts;
  for (const std::size_t column : {0UL, 17UL, Parts::kCols - 1}) {
    std::vector<float> targets = noise(Parts::kRows, static_cast<unsigned>(column), 3.0F);
    std::vector<float> factor = noise(Parts::kRows * Parts::kRows, 5, 2.0F);
    for (std::size_t i = 0; i < Parts::kRows; ++i) {  // within a part, nothing is fed
      for (std::size_t r = 0; r < Parts::kRows; ++r) {
        if (i / Parts::kPart == r / Parts::kPart) factor[i * Parts::kRows + r] = 0.0F;
      }
    }
    const auto fed = parts.choose(column, targets, {factor, parts.weights});
    const auto unfed = parts.choose(column, targets, {});
    CHECK(std::equal(fed.begin(), fed.begin() + Parts::kPart, unfed.begin()));
    CHECK(fed != unfed);
    for (std::size_t i = 0; i < Parts::kPart; ++i) {
      const float missed = Parts::missed(targets[i], fed[i]);
      for (std::size_t r = Parts::kPart; r < Parts::kRows; ++r) {
        targets[r] += factor[i * Parts::kRows + r] * missed;
      }
    }
    CHECK(parts.choose(column, targets, {}) == fed);
  }
}

TEST_CASE("columns of several parts come near the targets that are fed") {
  const Parts parts;
  const std::vector<float> targets = noise(Parts::kRows, 6, 3.0F);
  const std::vector<float> factor = noise(Parts::kRows * Parts::kRows, 7, 0.3F);
  const auto error = [&](const std::vector<std::int32_t>& levels) {
    std::vector<float> own = targets;
    double sum = 0.0;
    for (std::size_t i = 0; i < Parts::kRows; ++i) {
      sum += std::pow(static_cast<double>(Parts::missed(own[i], levels[i])), 2);
      const float missed = Parts::missed(targets[i], levels[i]);
      for (std::size_t r = i + 1; r < Parts::kRows; ++r) own[r] += factor[i * Parts::kRows + r] * missed;
    }
    return sum / static_cast<double>(Parts::kRows);
  };
  CHECK(error(parts.choose(9, targets, {factor, parts.weights})) < 0.4);
  CHECK(error(parts.choose(9, targets, {})) > 1.0);
}

TEST_CASE("row feedback that does not fit is refused") {
  constexpr std::size_t kRows = 512, kCols = 8;
  const std::vector<std::int32_t> first(kRows * kCols, 2);
  const std::vector<std::uint64_t> shape = {kRows, kCols};
  const std::vector<float> targets(kRows), factor(kRows * kRows), weights(kRows, 1.0F);
  std::vector<std::int32_t> out(kRows * kCols);
  const auto quantize = [&](int states, bool fed, const codec::RowFeedback& rows) {
    codec::ColumnQuantizer(first, shape, states, fed)
        .quantize(0, targets, 0.5, 1.0, 0.1, out, kCols, 1, rows);
  };
  CHECK_NOTHROW(quantize(8, true, {factor, weights}));
  CHECK_NOTHROW(quantize(8, false, {}));
  CHECK_THROWS_AS(quantize(8, false, {factor, weights}), core::InvalidArgument);  // two chains a column
  CHECK_THROWS_AS(quantize(0, true, {factor, weights}), core::InvalidArgument);
  CHECK_THROWS_AS(quantize(8, true, {std::span(factor).first(kRows), weights}), core::InvalidArgument);
  CHECK_THROWS_AS(quantize(8, true, {factor, std::span(weights).first(kRows - 1)}), core::InvalidArgument);
}
