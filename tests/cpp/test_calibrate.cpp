#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "rdquant/calibrate/covariance.hpp"
#include "rdquant/calibrate/feedback.hpp"
#include "rdquant/codec/level_rates.hpp"
#include "rdquant/codec/levels.hpp"
#include "rdquant/codec/trellis.hpp"
#include "rdquant/core/error.hpp"

using namespace rdquant;

namespace {

std::vector<float> noise(std::size_t n, unsigned seed, float scale = 1.0F) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0F, scale);
  std::vector<float> out(n);
  for (float& value : out) value = normal(random);
  return out;
}

/// X·Xᵀ/m of correlated noise: a covariance with much beyond its diagonal.
std::vector<double> covariance(std::size_t n, unsigned seed) {
  const std::size_t m = 3 * n;
  const std::vector<float> raw = noise(m * n, seed);
  std::vector<double> x(raw.begin(), raw.end()), out(n * n);
  for (std::size_t t = 0; t < m; ++t) {
    for (std::size_t i = 1; i < n; ++i) x[t * n + i] += 0.9 * x[t * n + i - 1];
  }
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      for (std::size_t t = 0; t < m; ++t)
        out[i * n + j] += x[t * n + i] * x[t * n + j] / static_cast<double>(m);
    }
  }
  return out;
}

/// A layer of random weights in groups of correlated inputs, the outputs of which matter together.
struct Layer {
  Layer(std::size_t number, std::size_t rows, std::size_t cols, unsigned seed)
      : groups(number), each(rows), inputs(cols), w(noise(number * rows * cols, seed)) {
    for (std::size_t g = 0; g < groups; ++g) {
      for (const double value : covariance(inputs, seed + 10))
        c.push_back(value * (1.0 + static_cast<double>(g)));
      for (const double value : covariance(each, seed + 20))
        o.push_back(value / (1.0 + static_cast<double>(g)));
    }
  }
  [[nodiscard]] calibrate::Feedback within() const { return {c, groups, inputs, 1}; }
  [[nodiscard]] calibrate::Feedback across() const { return {o, groups, each, 1}; }
  [[nodiscard]] std::vector<std::uint64_t> shape() const { return {groups * each, inputs}; }
  /// Levels of the weights alone.
  [[nodiscard]] std::vector<std::int32_t> nearest(double step) const {
    std::vector<std::int32_t> levels;
    for (const float value : w) levels.push_back(static_cast<std::int32_t>(std::lrint(value / step)));
    return levels;
  }
  /// Σ G_ir·e_i·C·e_rᵀ, the diagonals raised as Feedback raises them.
  [[nodiscard]] double loss(std::span<const std::int32_t> levels, double step) const {
    double total = 0.0;
    for (std::size_t g = 0; g < groups; ++g) {
      const std::vector<double> in = raised(c, g, inputs), out = raised(o, g, each);
      std::vector<double> e(each * inputs), ec(each * inputs);
      for (std::size_t i = 0; i < e.size(); ++i) {
        e[i] = static_cast<double>(w[g * e.size() + i]) - step * levels[g * e.size() + i];
      }
      for (std::size_t r = 0; r < each; ++r) {
        for (std::size_t i = 0; i < inputs; ++i) {
          for (std::size_t j = 0; j < inputs; ++j)
            ec[r * inputs + j] += e[r * inputs + i] * in[i * inputs + j];
        }
      }
      for (std::size_t i = 0; i < each; ++i) {
        for (std::size_t r = 0; r < each; ++r) {
          const auto row = e.begin() + static_cast<std::ptrdiff_t>(r * inputs);
          total += out[i * each + r] *
                   std::inner_product(row, row + static_cast<std::ptrdiff_t>(inputs),
                                      ec.begin() + static_cast<std::ptrdiff_t>(i * inputs), 0.0);
        }
      }
    }
    return total;
  }

  std::size_t groups, each, inputs;
  std::vector<float> w;
  std::vector<double> c, o;  ///< [groups, inputs, inputs] and [groups, each, each]

 private:
  static std::vector<double> raised(const std::vector<double>& all, std::size_t g, std::size_t n) {
    const auto first = all.begin() + static_cast<std::ptrdiff_t>(g * n * n);
    std::vector<double> a(first, first + static_cast<std::ptrdiff_t>(n * n));
    double trace = 0.0;
    for (std::size_t i = 0; i < n; ++i) trace += a[i * n + i];
    for (std::size_t i = 0; i < n; ++i) a[i * n + i] += 1e-4 * trace / static_cast<double>(n);
    return a;
  }
};

/// Rounds with and without the outputs: that the loss is what it is said to be, the same with any number of
/// threads, and much lower than that of levels chosen without.
void check_outputs(const Layer& layer, double step, const calibrate::ColumnRounder& rounder) {
  const calibrate::Feedback within = layer.within(), across = layer.across();
  std::vector<std::int32_t> levels(layer.w.size()), again = levels, without = levels;
  const double loss = round_with_feedback(within, layer.w, step, rounder, levels, 1, &across);
  CHECK(loss * across.mean_weight() == doctest::Approx(layer.loss(levels, step)).epsilon(1e-3));
  CHECK(round_with_feedback(within, layer.w, step, rounder, again, 3, &across) == loss);
  CHECK(again == levels);
  (void)round_with_feedback(within, layer.w, step, rounder, without, 1);
  CHECK(layer.loss(levels, step) < 0.4 * layer.loss(without, step));
}

/// Moments that are a multiple of the identity: the outputs do not matter together, and nothing changes.
void check_identity(const Layer& layer, double step, const calibrate::ColumnRounder& rounder) {
  const std::size_t n = layer.each;
  std::vector<double> o(layer.groups * n * n);
  for (std::size_t g = 0; g < layer.groups; ++g) {
    for (std::size_t i = 0; i < n; ++i) o[(g * n + i) * n + i] = 3e-7;
  }
  const calibrate::Feedback within = layer.within(), across(o, layer.groups, n, 1);
  std::vector<std::int32_t> levels(layer.w.size()), without = levels;
  const double loss = round_with_feedback(within, layer.w, step, rounder, levels, 1, &across);
  CHECK(loss == doctest::Approx(round_with_feedback(within, layer.w, step, rounder, without, 1)));
  CHECK(levels == without);
}

}  // namespace

TEST_CASE("the factor gives the covariance back") {
  for (const std::size_t n : {1, 5, 32, 33, 100}) {
    const std::vector<double> c = covariance(n, 7);
    const calibrate::Feedback feedback(c, 1, n, 2);
    const auto f = feedback.factor(0);
    const auto d = feedback.weights(0);
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        double sum = 0.0;  // (F + I)·diag(d)·(F + I)ᵀ
        for (std::size_t k = std::max(i, j); k < n; ++k) {
          const double left = i == k ? 1.0 : f[i * n + k], right = j == k ? 1.0 : f[j * n + k];
          sum += left * d[k] * right;
        }
        CHECK(sum == doctest::Approx(c[i * n + j]).epsilon(1e-3).scale(c[0]));
      }
    }
  }
}

TEST_CASE("feedback loses less than rounding each weight alone, and says how much it loses") {
  constexpr std::size_t kInputs = 70, kRows = 45;
  constexpr double kStep = 0.3;
  const std::vector<double> c = covariance(kInputs, 3);
  const calibrate::Feedback feedback(c, 1, kInputs, 1);
  const std::vector<float> w = noise(kRows * kInputs, 5);
  std::vector<std::int32_t> levels(w.size()), again(w.size());
  const calibrate::NearestRounder nearest(kStep);
  const double loss = calibrate::round_with_feedback(feedback, w, kStep, nearest, levels, 1);
  CHECK(calibrate::round_with_feedback(feedback, w, kStep, nearest, again, 3) == loss);
  CHECK(again == levels);
  const auto output_error = [&](auto&& level_at) {
    double total = 0.0;
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t i = 0; i < kInputs; ++i) {
        for (std::size_t j = 0; j < kInputs; ++j) {
          const std::size_t a = r * kInputs + i, b = r * kInputs + j;
          total += (w[a] - kStep * level_at(a)) * c[i * kInputs + j] * (w[b] - kStep * level_at(b));
        }
      }
    }
    return total;
  };
  const double fed = output_error([&](std::size_t i) { return levels[i]; });
  const double alone = output_error([&](std::size_t i) { return std::nearbyint(w[i] / kStep); });
  CHECK(loss == doctest::Approx(fed).epsilon(0.01));
  CHECK(fed < 0.6 * alone);
}

TEST_CASE("rates are what the coder needs") {
  constexpr std::size_t kRows = 64, kCols = 64, kTaps = 9;
  std::vector<float> x = noise(kRows * kCols * kTaps, 11, 2.0F);
  for (std::size_t i = 0; i < x.size(); ++i) {  // neighbouring taps are alike, rows differ in scale
    if (i % kTaps != 0) x[i] = 0.8F * x[i - 1] + 0.6F * x[i];
  }
  std::vector<std::int32_t> levels(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float scale = 0.5F + static_cast<float>(i / (kCols * kTaps)) / kRows;
    levels[i] = static_cast<std::int32_t>(std::lround(scale * x[i]));
  }
  const std::vector<std::uint64_t> shape = {kRows, kCols, kTaps};
  const codec::LevelRates rates(levels, shape);
  double bits = 0.0;
  for (std::size_t i = 0; i < levels.size(); ++i) {
    std::vector<std::int32_t> past;
    for (std::size_t j = 0; j < rates.past(i); ++j) past.push_back(levels[i - 1 - j]);
    bits += rates.bits(i, rates.mean(i, past), levels[i]);
  }
  const auto coded = codec::encode_levels(levels, shape, codec::LevelType::i32, codec::Profile::fast);
  CHECK(rates.past(1) > 0);
  CHECK(bits / 8 == doctest::Approx(static_cast<double>(coded.size())).epsilon(0.02));
}

TEST_CASE("rounding by rates makes the coded levels smaller than steps of the same loss") {
  constexpr std::size_t kInputs = 64, kRows = 256;
  const std::vector<double> c = covariance(kInputs, 3);
  const calibrate::Feedback feedback(c, 1, kInputs, 1);
  const std::vector<float> w = noise(kRows * kInputs, 5);
  const std::vector<std::uint64_t> shape = {kRows, kInputs};
  const auto coded = [&](const std::vector<std::int32_t>& levels) {
    return static_cast<double>(
        codec::encode_levels(levels, shape, codec::LevelType::i32, codec::Profile::fast).size());
  };
  std::vector<std::int32_t> plain(w.size()), priced(w.size());
  const double before = round_with_feedback(feedback, w, 1.0, calibrate::NearestRounder(1.0), plain, 1);
  const codec::LevelRates rates(plain, shape);
  const calibrate::RateRounder rounder(1.0, 0.1, feedback.mean_weight(), rates, kInputs, 1);
  const double after = round_with_feedback(feedback, w, 1.0, rounder, priced, 1);
  CHECK(coded(priced) < coded(plain));
  // Bits that the larger loss would have saved with a larger step: half the binary logarithm a weight.
  const double worth = 0.5 * std::log2(after / before) * static_cast<double>(w.size()) / 8;
  CHECK(coded(plain) - coded(priced) > worth);
}

TEST_CASE("outputs that matter together lose less, and the loss is what it is said to be") {
  constexpr double kStep = 0.3;
  for (const std::size_t groups : {1, 3}) {
    const Layer layer(groups, 40, 33, 5);
    const calibrate::Feedback within = layer.within();
    const codec::LevelRates rates(layer.nearest(kStep), layer.shape());
    const calibrate::NearestRounder nearest(kStep);
    const calibrate::RateRounder priced(kStep, 0.05, within.mean_weight(), rates, layer.inputs, 1);
    check_outputs(layer, kStep, nearest);
    check_outputs(layer, kStep, priced);
    check_identity(layer, kStep, nearest);
    check_identity(layer, kStep, priced);
  }
}

TEST_CASE("outputs that matter together lose less on a trellis, too") {
  constexpr double kStep = 0.15;
  for (const int states : {8, 32}) {
    for (const double lambda : {0.0, 0.05}) {
      const Layer layer(1, 40, 33, 6);
      const codec::ColumnQuantizer columns(layer.nearest(kStep), layer.shape(), states, true);
      const calibrate::TrellisRounder rounder(kStep, lambda, layer.within().mean_weight(), columns);
      check_outputs(layer, kStep, rounder);
      check_identity(layer, kStep, rounder);
    }
  }
}

TEST_CASE("rows that matter more pay more bits for less error") {
  Layer layer(1, 40, 33, 7);
  std::ranges::fill(layer.o, 0.0);
  for (std::size_t r = 0; r < layer.each; ++r) layer.o[r * layer.each + r] = r % 2 == 0 ? 1.0 : 30.0;
  const calibrate::Feedback within = layer.within(), across = layer.across();
  const auto check = [&](double step, const calibrate::ColumnRounder& rounder) {
    std::vector<std::int32_t> levels(layer.w.size());
    (void)round_with_feedback(within, layer.w, step, rounder, levels, 1, &across);
    double errors[2] = {};
    for (std::size_t i = 0; i < levels.size(); ++i) {
      errors[i / layer.inputs % 2] += std::pow(static_cast<double>(layer.w[i]) - step * levels[i], 2);
    }
    CHECK(errors[1] < 0.5 * errors[0]);
  };
  const codec::LevelRates rates(layer.nearest(0.6), layer.shape());
  check(0.6, calibrate::RateRounder(0.6, 0.3, within.mean_weight(), rates, layer.inputs, 1));
  const codec::ColumnQuantizer columns(layer.nearest(0.3), layer.shape(), 8, true);
  check(0.3, calibrate::TrellisRounder(0.3, 1.2, within.mean_weight(), columns));
}

TEST_CASE("moments of outputs that do not fit are refused") {
  const Layer layer(2, 4, 3, 1);
  const calibrate::Feedback within = layer.within();
  const calibrate::NearestRounder nearest(1.0);
  std::vector<std::int32_t> levels(layer.w.size());
  const auto moments = [](std::size_t groups, std::size_t n) {
    return calibrate::Feedback(std::vector<double>(groups * n * n), groups, n, 1);
  };
  for (const auto& [groups, n] :
       {std::pair{1, 4}, std::pair{1, 8}, std::pair{2, 3}, std::pair{2, 8}, std::pair{4, 2}}) {
    const calibrate::Feedback outputs =
        moments(static_cast<std::size_t>(groups), static_cast<std::size_t>(n));
    CHECK_THROWS_AS((void)round_with_feedback(within, layer.w, 1.0, nearest, levels, 1, &outputs),
                    core::InvalidArgument);
  }
}

TEST_CASE("a covariance that rounding has made indefinite is factorised all the same") {
  const std::size_t n = 40;
  std::vector<double> c(n * n, 1.0);
  std::mt19937 random(3);
  std::uniform_real_distribution<double> error(-2e-3, 2e-3);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = i; j < n; ++j) c[j * n + i] = c[i * n + j] += error(random);
  }
  const calibrate::Feedback feedback(c, 1, n, 1);
  CHECK(std::isfinite(feedback.mean_weight()));
  for (const float share : feedback.factor(0)) CHECK(std::abs(share) < 1e4F);
  for (const float weight : feedback.weights(0)) CHECK(weight > 0.0F);
}

TEST_CASE("what does not fit is refused") {
  CHECK_THROWS_AS(calibrate::Covariance({.channels = 4, .groups = 3}, 8), core::InvalidArgument);
  CHECK_THROWS_AS(calibrate::Covariance({.channels = 4, .kernel = {0, 1}}, 8), core::InvalidArgument);
  calibrate::Covariance moments({.channels = 2, .kernel = {3, 3}}, 8);
  CHECK_THROWS_AS((void)moments.matrix(true, 1), core::InvalidArgument);
  const std::vector<float> small(2 * 2 * 2);
  CHECK_THROWS_AS(moments.add(small, 1, 2, 2, 1), core::InvalidArgument);
  CHECK_THROWS_AS(moments.add(small, 2, 2, 2, 1), core::InvalidArgument);
  CHECK_THROWS_AS(calibrate::Feedback(std::vector<double>{1.0, NAN, NAN, 1.0}, 1, 2, 1),
                  core::InvalidArgument);
  const calibrate::Feedback feedback(std::vector<double>{1.0, 0.0, 0.0, 1.0}, 1, 2, 1);
  const std::vector<float> w(4);
  std::vector<std::int32_t> levels(4), few(3);
  const calibrate::NearestRounder nearest(1.0);
  CHECK_THROWS_AS((void)round_with_feedback(feedback, w, 0.0, nearest, levels, 1), core::InvalidArgument);
  CHECK_THROWS_AS((void)round_with_feedback(feedback, w, 1.0, nearest, few, 1), core::InvalidArgument);
  CHECK_THROWS_AS(codec::LevelRates(few, std::vector<std::uint64_t>{4}), core::InvalidArgument);
}
