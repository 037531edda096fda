#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "calibrate/kernels.hpp"
#include "rdquant/calibrate/covariance.hpp"
#include "rdquant/calibrate/feedback.hpp"
#include "rdquant/codec/level_rates.hpp"
#include "rdquant/codec/levels.hpp"
#include "rdquant/core/cpu.hpp"
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

template <typename T>
void check_product(const calibrate::Kernels& kernels, std::size_t depth, std::size_t rows, std::size_t cols) {
  const std::size_t lda = rows + 3, ldb = cols + 5, ldc = cols + 1;
  const std::vector<float> fa = noise(depth * lda, 1), fb = noise(depth * ldb, 2), fc = noise(rows * ldc, 3);
  const std::vector<T> a(fa.begin(), fa.end()), b(fb.begin(), fb.end());
  std::vector<T> c(fc.begin(), fc.end()), wanted = c;
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t k = 0; k < cols; ++k) {
      T sum = 0;
      for (std::size_t t = 0; t < depth; ++t) sum += a[t * lda + i] * b[t * ldb + k];
      wanted[i * ldc + k] -= sum;
    }
  }
  const calibrate::Product<T> product{a.data(), lda, b.data(), ldb, depth, rows, cols, T{-1}, c.data(), ldc};
  if constexpr (sizeof(T) == sizeof(float)) {
    kernels.multiply_f32(product);
  } else {
    kernels.multiply_f64(product);
  }
  CHECK(c == wanted);
}

}  // namespace

TEST_CASE("products are the plain sums to the bit in every instruction set") {
  std::vector<const calibrate::Kernels*> sets = {&calibrate::baseline::kernels};
#if defined(__x86_64__)
  if (core::available_isa() >= core::Isa::avx2) sets.push_back(&calibrate::avx2::kernels);
  if (core::available_isa() >= core::Isa::avx512) sets.push_back(&calibrate::avx512::kernels);
#endif
  for (const calibrate::Kernels* kernels : sets) {
    for (const std::size_t rows : {1, 3, 4, 9}) {
      for (const std::size_t cols : {1, 15, 16, 32, 77}) {
        check_product<float>(*kernels, 13, rows, cols);
        check_product<double>(*kernels, 13, rows, cols);
      }
    }
    check_product<float>(*kernels, 0, 4, 32);
  }
}

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
