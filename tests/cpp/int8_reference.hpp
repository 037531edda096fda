#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "kernel_reference.hpp"
#include "runtime/kernels/int8/kernels.hpp"

/// The definition that convolutions of levels are compared with: the rule in int8.hpp, one output at a
/// time.
namespace reference {

using Bytes = std::vector<std::uint8_t>;
constexpr Index kSlack = 64;  // readable bytes behind a source

enum class Values { random, extreme };
enum class Output { levels, floats };

struct Case {
  ConvShape shape;
  bool src_signed = false, dst_signed = false;
  std::int32_t src_zero = 0;
  Values values = Values::random;
  Output output = Output::levels;
  Activation activation = {};
  float scale = 1.0f, multiplier = 0.875f;
  bool bias = true, float_bias = false, table = false, residual = false, residual_last = false;
  bool whole = false;  // levels are all of uint8, 0 stands for 0
  Index extra = 0;     // bytes between pixels
};

inline Bytes random_bytes(Index n, unsigned seed) {
  std::mt19937 generator(seed);
  Bytes x(at(n));
  for (std::uint8_t& value : x) value = static_cast<std::uint8_t>(generator());
  return x;
}

inline std::int32_t level(std::uint8_t byte, bool is_signed) {
  return is_signed ? static_cast<std::int8_t>(byte) : std::int32_t{byte};
}

inline std::int32_t to_level(float x, std::int32_t zero, std::int32_t low, std::int32_t high) {
  if (!(x >= static_cast<float>(low - zero))) return low;
  if (x > static_cast<float>(high - zero)) return high;
  return static_cast<std::int32_t>(std::nearbyint(x)) + zero;
}

// All that a convolution reads: sources and destinations are slices of larger arrays.
struct Data {
  explicit Data(const Case& of) : test(of), s(of.shape) {
    pixel = s.c + test.extra;
    image = s.h * s.w * pixel + 5;
    src = random_bytes(s.n * image + kSlack, 1);
    const Bytes bytes = random_bytes(s.k * (s.c / s.groups) * s.kh * s.kw, 2);
    weights.assign(bytes.begin(), bytes.end());
    if (test.values == Values::extreme) {
      std::fill(weights.begin(), weights.end(), std::int8_t{-128});
      std::fill(src.begin(), src.end(), test.src_signed ? std::uint8_t{127} : std::uint8_t{255});
    }
    area = s.oh() * s.ow();
    dst_pixel = s.k + test.extra;
    dst_image = area * dst_pixel + 7;
    residual = random_bytes(s.n * dst_image + kSlack, 3);
    table = random_bytes(256, 4);
    const Index padded = divide(s.k, 16) * 16;
    std::mt19937 generator(5);
    const auto terms = static_cast<float>(s.c / s.groups * s.kh * s.kw);
    std::uniform_real_distribution<float> numbers(0.5f, 2.0f);
    bias.assign(at(padded), 0);
    multipliers.assign(at(padded), 0.0f);
    float_bias.assign(at(padded), 0.0f);
    slopes.assign(at(padded), 0.0f);
    const float wanted = test.output == Output::floats || test.scale != 1.0f ? 3.0f : 90.0f;
    for (Index k = 0; k < s.k; ++k) {
      bias[at(k)] = static_cast<std::int32_t>(generator() % 20001) - 10000;
      multipliers[at(k)] = numbers(generator) * wanted / (11000.0f * std::sqrt(terms));
      float_bias[at(k)] = numbers(generator) - 1.25f;
      slopes[at(k)] = numbers(generator) - 1.0f;
    }
    zero = test.dst_signed ? -9 : 117;
    low = test.dst_signed ? -120 : 3;
    high = test.dst_signed ? 127 : 250;
    if (test.whole) zero = low = 0, high = 255;
    sum = {0.73f, 0.41f, 100, 7, 12, 0, 254, test.dst_signed, true};
    if (test.dst_signed) sum.low = -128, sum.high = 126, sum.zero = -3;
  }

  [[nodiscard]] std::int32_t sum_at(Index n, Index k, Index y, Index x) const {
    const Index c = s.c / s.groups;
    std::uint32_t total = test.bias ? static_cast<std::uint32_t>(bias[at(k)]) : 0u;
    for (Index ky = 0; ky < s.kh; ++ky) {
      for (Index kx = 0; kx < s.kw; ++kx) {
        const Index row = y * s.sh - s.top + ky * s.dh;
        const Index column = x * s.sw - s.left + kx * s.dw;
        if (row < 0 || row >= s.h || column < 0 || column >= s.w) continue;
        for (Index i = 0; i < c; ++i) {
          const Index from = n * image + (row * s.w + column) * pixel + k / (s.k / s.groups) * c + i;
          const std::int32_t q = level(src[at(from)], test.src_signed) - test.src_zero;
          total += static_cast<std::uint32_t>(q * weights[at(((k * c + i) * s.kh + ky) * s.kw + kx)]);
        }
      }
    }
    return static_cast<std::int32_t>(total);
  }

  [[nodiscard]] float number_at(Index n, Index k, Index p) const {
    const auto sum_of = static_cast<float>(sum_at(n, k, p / s.ow(), p % s.ow()));
    float v = sum_of * (multipliers[at(k)] * test.multiplier);
    if (test.float_bias) v = v + float_bias[at(k)];
    return v;
  }

  [[nodiscard]] float activate(float v, Index k) const {
    if (test.activation.function == Function::none) return v;
    Activation f = test.activation;
    f.slopes = slopes.data();
    return static_cast<float>(reference::function(f, v, k));
  }

  [[nodiscard]] std::uint8_t int8_at(Index n, Index k, Index p) const {
    const float scaled = activate(number_at(n, k, p), k) * test.scale;
    auto byte = static_cast<std::uint8_t>(to_level(scaled, zero, low, high));
    if (test.table) byte = table[byte];
    if (!test.residual) return byte;
    const std::uint8_t other = residual[at(n * dst_image + p * dst_pixel + k)];
    const float a = static_cast<float>(level(byte, sum.a_signed) - sum.a_zero) * sum.a_scale;
    const float b = static_cast<float>(level(other, sum.b_signed) - sum.b_zero) * sum.b_scale;
    return static_cast<std::uint8_t>(to_level(a + b, sum.zero, sum.low, sum.high));
  }

  const Case& test;
  const ConvShape& s;
  Index pixel, image, area, dst_pixel, dst_image;
  Bytes src, residual, table;
  std::vector<std::int8_t> weights;
  std::vector<std::int32_t> bias;
  Floats multipliers, float_bias, slopes;
  std::int32_t zero, low, high;
  Int8Sum sum;
};

}  // namespace reference
