// Products of float32 vectors with int8 weights by digits, against sums in double.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "runtime/kernels/int8/digits/digits.hpp"

using namespace rdquant::runtime::kernels;

namespace {

struct Product {
  Index batch, rows, depth;
  float size;  ///< of the vectors' elements
};

struct Numbers {
  std::vector<float> x, scales, added;
  std::vector<std::int8_t> weights;

  explicit Numbers(const Product& p) {
    std::mt19937 random(static_cast<unsigned>(p.rows * 131 + p.depth));
    std::uniform_real_distribution<float> number(-1, 1);
    for (Index i = 0; i < p.batch * p.depth; ++i) x.push_back(p.size * number(random));
    for (Index i = 0; i < p.rows; ++i) scales.push_back(0.01F * (1 + number(random)));
    for (Index i = 0; i < p.batch * p.rows; ++i) added.push_back(p.size * number(random));
    for (Index i = 0; i < p.rows * p.depth; ++i)
      weights.push_back(static_cast<std::int8_t>(static_cast<int>(random() % 256) - 128));
  }
};

std::vector<float> run(const DigitKernels& kernels, const Product& p, const Numbers& given, bool added) {
  const auto bytes = static_cast<std::size_t>(kernels.packed_bytes(p.rows, p.depth));
  const auto digit_bytes = static_cast<std::size_t>(kernels.digit_bytes(p.depth));
  std::vector<std::byte> packed(bytes);
  std::vector<std::uint8_t> digits(digit_bytes * static_cast<std::size_t>(p.batch));
  std::vector<float> units, y(static_cast<std::size_t>(p.batch * p.rows), -7);
  kernels.pack(given.weights.data(), p.rows, p.depth, packed.data());
  for (Index b = 0; b < p.batch; ++b)
    units.push_back(kernels.split(given.x.data() + b * p.depth, p.depth,
                                  digits.data() + static_cast<std::size_t>(b) * digit_bytes));
  DigitArgs args;
  args.packed = packed.data();
  args.rows = p.rows;
  args.depth = p.depth;
  args.digits = digits.data();
  args.units = units.data();
  args.batch = p.batch;
  args.scales = given.scales.data();
  args.added = added ? given.added.data() : nullptr;
  args.y = y.data();
  args.y_row = p.rows;
  kernels.run(args, 0, divide(p.rows, kernels.rows));
  return y;
}

void check(const DigitKernels& kernels, const Product& p, bool added) {
  const Numbers given(p);
  const std::vector<float> y = run(kernels, p, given, added);
  double worst = 0;
  for (Index i = 0; i < p.batch * p.rows; ++i) {
    const Index b = i / p.rows, row = i % p.rows;
    double sum = 0, size = 0;
    for (Index k = 0; k < p.depth; ++k) {
      const double weight = given.weights[static_cast<std::size_t>(row * p.depth + k)];
      sum += given.x[static_cast<std::size_t>(b * p.depth + k)] * weight;
      size += p.size * std::abs(weight);
    }
    const auto at = static_cast<std::size_t>(i);
    const double scale = given.scales[static_cast<std::size_t>(row)], more = added ? given.added[at] : 0;
    const double most = std::abs(scale) * size + std::abs(more) + std::numeric_limits<float>::min();
    worst = std::fmax(worst, std::abs(y[at] - (sum * scale + more)) / most);
  }
  CHECK(worst < 2e-7);
}

}  // namespace

TEST_CASE("products by digits are as exact as float32") {
  const DigitKernels* const kernels = digit_kernels(rdquant::core::available_isa());
  if (kernels == nullptr) return;
  for (const Index depth : {1, 3, 4, 15, 16, 17, 64, 130}) {
    for (const Index rows : {1, 15, 16, 17, 33, 64, 65, 112, 129}) {
      for (const float size : {1.0F, 3e-3F, 1e30F, 1e-25F, 0.0F}) {
        CAPTURE(depth);
        CAPTURE(rows);
        CAPTURE(size);
        check(*kernels, {3, rows, depth, size}, rows % 2 == 0);
      }
    }
  }
}

TEST_CASE("what is not finite makes no number") {
  const DigitKernels* const kernels = digit_kernels(rdquant::core::available_isa());
  if (kernels == nullptr) return;
  const Product p{2, 20, 40, 1};
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    for (const std::size_t place : {0, 17, 39}) {
      Numbers given(p);
      given.x[place] = bad;
      const std::vector<float> y = run(*kernels, p, given, true);
      for (std::size_t i = 0; i < y.size(); ++i) CHECK(std::isnan(y[i]) == (i < 20));
    }
  }
}
