#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "rdquant/core/error.hpp"
#include "rdquant/quant/quantizer.hpp"

using namespace rdquant;
using quant::Quantizer;

namespace {

std::vector<float> laplacian(std::size_t n) {
  std::mt19937 engine(1);
  std::exponential_distribution<float> magnitude(10.0F);
  std::vector<float> x(n);
  for (float& v : x) v = (engine() & 1) != 0 ? magnitude(engine) : -magnitude(engine);
  return x;
}

std::vector<std::int32_t> levels_of(const Quantizer& q, const std::vector<float>& x) {
  std::vector<std::int32_t> levels(x.size());
  quant::quantize(q, x, levels);
  return levels;
}

}  // namespace

TEST_CASE("uniform quantizers follow equation 2.25 for all lengths") {
  const std::vector<float> all = laplacian(1100);
  for (const double step : {1.0 / 128, 0.0123, 1e-6, 3.0}) {
    for (const double delta : {0.0, 0.1, 0.5, 0.7}) {
      for (const std::size_t n : {0, 1, 2, 7, 8, 15, 16, 17, 31, 33, 511, 512, 513, 1100}) {
        const std::vector<float> x(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(n));
        const auto levels = levels_of(quant::Uniform{.step = step, .delta = delta}, x);
        for (std::size_t i = 0; i < n; ++i) {
          const double magnitude = std::fabs(static_cast<double>(x[i]));
          const double exact = magnitude < delta * step ? 0.0 : std::ceil(magnitude / step - delta);
          REQUIRE(levels[i] == static_cast<std::int32_t>(std::copysign(exact, x[i])));
        }
      }
    }
  }
}

TEST_CASE("a step whose significand is all ones is divided by exactly") {
  const double step = std::nextafter(0.25, 0.0);
  const auto levels = levels_of(quant::Uniform{.step = step, .delta = 0.0}, {0.25F, 0.5F, 1.0F});
  CHECK(levels == std::vector<std::int32_t>{2, 3, 5});  // just above 1, 2 and 4 steps
}

TEST_CASE("values that are no numbers are refused with their place") {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> x(1000, 0.1F);
    x[700] = bad;
    std::vector<std::int32_t> levels(x.size());
    const std::vector<Quantizer> all = {quant::Uniform{.step = 0.1}, quant::MuLaw{.step = 0.1},
                                        quant::Minifloat{}, quant::Codebook{{0.0F, 1.0F}}};
    for (const Quantizer& q : all) {
      CHECK_THROWS_WITH_AS(quant::quantize(q, x, levels, 42), doctest::Contains("index 742"),
                           core::InvalidArgument);
    }
  }
}

TEST_CASE("runs cover the array once and keep to their channel") {
  const auto runs = quant::runs_of(2 * 3 * 5, 3, 5, 4);
  std::size_t at = 0;
  for (const auto& run : runs) {
    CHECK(run.begin == at);
    CHECK(run.end - run.begin <= 4);
    CHECK(run.channel == at / 5 % 3);
    at = run.end;
  }
  CHECK(at == 30);
  CHECK_THROWS_AS((void)quant::runs_of(31, 3, 5, 4), core::InvalidArgument);
}

TEST_CASE("parameters are checked") {
  const std::vector<Quantizer> wrong = {quant::Uniform{.step = 0.0},
                                        quant::Uniform{.step = std::nan("")},
                                        quant::Uniform{.step = 1.0, .delta = 1.0},
                                        quant::MuLaw{.mu = -1.0},
                                        quant::MuLaw{.range = 0.0},
                                        quant::Minifloat{.exponent = 9},
                                        quant::Minifloat{.mantissa = 23},
                                        quant::Minifloat{.bias = 127},
                                        quant::Codebook{{}},
                                        quant::Codebook{{1.0F, 1.0F}}};
  for (const Quantizer& q : wrong) CHECK_THROWS_AS(quant::validate(q), core::InvalidArgument);
  quant::validate(quant::Minifloat{.exponent = 0, .mantissa = 3, .bias = 0});
}

TEST_CASE("every level of a minifloat comes back") {
  for (int exponent = 0; exponent <= 4; ++exponent) {
    for (int mantissa = 0; mantissa <= 6; ++mantissa) {
      const quant::Minifloat q{.exponent = exponent, .mantissa = mantissa, .bias = 3};
      std::vector<std::int32_t> levels;
      for (std::int32_t code = 1; code <= 1 << (exponent + mantissa); ++code) {
        levels.push_back(code);
        levels.push_back(-code);
      }
      std::vector<float> x(levels.size());
      quant::dequantize(q, levels, x);
      CHECK(levels_of(q, x) == levels);
    }
  }
}

TEST_CASE("lloyd_max never does worse than its start, and serves degenerate input") {
  const std::vector<float> x = laplacian(20000);
  double previous = std::numeric_limits<double>::infinity();
  for (const int count : {1, 2, 3, 8, 64}) {
    const quant::Codebook book = quant::lloyd_max(x, count);
    std::vector<std::int32_t> levels(x.size());
    std::vector<float> back(x.size());
    quant::quantize(book, x, levels);
    quant::dequantize(book, levels, back);
    double error = 0.0;
    for (std::size_t i = 0; i < x.size(); ++i) error += std::pow(x[i] - back[i], 2.0);
    CHECK(error < previous);
    previous = error;
  }
  CHECK(quant::lloyd_max(std::vector<float>(5, 2.0F), 4).values == std::vector<float>{2.0F});
  CHECK_THROWS_AS((void)quant::lloyd_max({}, 4), core::InvalidArgument);
  CHECK_THROWS_AS((void)quant::lloyd_max(x, 0), core::InvalidArgument);
}

TEST_CASE("biases far below what floats hold are refused, down to the least int") {
  for (const int bias : {-113, -1000, std::numeric_limits<int>::min()}) {
    CHECK_THROWS_AS(quant::validate(quant::Minifloat{.exponent = 4, .mantissa = 3, .bias = bias}),
                    core::InvalidArgument);
  }
}
