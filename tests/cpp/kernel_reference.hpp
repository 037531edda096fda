#pragma once

#include <cmath>
#include <cstddef>
#include <random>
#include <vector>

#include "runtime/kernels/float32/kernels.hpp"

/// The definitions that kernels are compared with: plain loops in double precision over plain arrays.
namespace reference {

using namespace rdquant::runtime::kernels;
using Floats = std::vector<float>;
using Doubles = std::vector<double>;

inline std::size_t at(Index i) { return static_cast<std::size_t>(i); }

inline Floats random_floats(Index n, unsigned seed) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> numbers(-1.0f, 1.0f);
  Floats x(at(n));
  for (float& value : x) value = numbers(generator);
  return x;
}

inline double function(const Activation& f, double x, Index channel) {
  using enum Function;
  const double a = f.alpha;
  const double b = f.beta;
  const auto clip01 = [](double y) { return std::fmin(std::fmax(y, 0.0), 1.0); };
  switch (f.function) {
    case none:
      return x;
    case relu:
      return std::fmax(x, 0.0);
    case clip:
      return std::fmin(std::fmax(x, a), b);
    case leaky_relu:
      return x < 0 ? a * x : x;
    case prelu:
      return x < 0 ? f.slopes[channel] * x : x;
    case sigmoid:
      return 1.0 / (1.0 + std::exp(-x));
    case silu:
      return x / (1.0 + std::exp(-x));
    case swish:
      return x / (1.0 + std::exp(-a * x));
    case hard_swish:
      return x * clip01(x / 6.0 + 0.5);
    case hard_sigmoid:
      return clip01(a * x + b);
    case Function::tanh:
      return std::tanh(x);
    case elu:
      return x < 0 ? a * std::expm1(x) : x;
    case gelu_erf:
      return 0.5 * x * (1.0 + std::erf(x / std::sqrt(2.0)));
    case gelu_tanh:
      return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
    case mish:
      return x * std::tanh(std::log1p(std::exp(x)));
    case Function::exp:
      return std::exp(x);
    case Function::erf:
      return std::erf(x);
    case Function::sqrt:
      return std::sqrt(x);
    case reciprocal:
      return 1.0 / x;
    case Function::abs:
      return std::fabs(x);
    case negate:
      return -x;
    case Function::floor:
      return std::floor(x);
    case Function::ceil:
      return std::ceil(x);
  }
  return x;
}

/// Sums of a convolution, plain: [n][k][oh][ow].
inline Doubles convolve(const ConvShape& s, const Floats& x, const Floats& w, const Floats& bias) {
  const Index c = s.c / s.groups;
  const Index k = s.k / s.groups;
  Doubles y;
  y.reserve(at(s.n * s.k * s.oh() * s.ow()));
  for (Index n = 0; n < s.n; ++n) {
    for (Index f = 0; f < s.k; ++f) {
      for (Index i = 0; i < s.oh() * s.ow(); ++i) {
        const Index top = i / s.ow() * s.sh - s.top;
        const Index left = i % s.ow() * s.sw - s.left;
        double sum = bias.empty() ? 0.0 : bias[at(f)];
        for (Index t = 0; t < c * s.kh * s.kw; ++t) {
          const Index row = top + t / s.kw % s.kh * s.dh;
          const Index column = left + t % s.kw * s.dw;
          if (row < 0 || row >= s.h || column < 0 || column >= s.w) continue;
          const Index channel = f / k * c + t / (s.kw * s.kh);
          sum += static_cast<double>(x[at(((n * s.c + channel) * s.h + row) * s.w + column)]) *
                 w[at(f * c * s.kh * s.kw + t)];
        }
        y.push_back(sum);
      }
    }
  }
  return y;
}

/// Pooling of plain images.
inline Doubles pool(const PoolShape& s, const Floats& x) {
  Doubles y;
  for (Index plane = 0; plane < s.n * s.c; ++plane) {
    for (Index i = 0; i < s.oh * s.ow; ++i) {
      double sum = 0.0;
      double most = -HUGE_VAL;
      Index real = 0;
      Index padded = 0;
      for (Index t = 0; t < s.kh * s.kw; ++t) {
        const Index row = i / s.ow * s.sh - s.top + t / s.kw * s.dh;
        const Index column = i % s.ow * s.sw - s.left + t % s.kw * s.dw;
        padded += row < s.h + s.bottom && column < s.w + s.right;
        if (row < 0 || row >= s.h || column < 0 || column >= s.w) continue;
        const double value = x[at((plane * s.h + row) * s.w + column)];
        sum += value;
        most = std::fmax(most, value);
        ++real;
      }
      const double mean = sum / static_cast<double>(s.count_pad ? padded : real);
      y.push_back(real == 0 ? 0.0 : (s.average ? mean : most));
    }
  }
  return y;
}

/// Blocked from plain, padding lanes 0, images `gap` floats further apart than they are long.
inline Floats blocked(const Floats& x, Index n, Index c, Index area, Index block, Index gap) {
  const Index image = divide(c, block) * block * area + gap;
  Floats y(at(n * image), 0.0f);
  for (Index i = 0; i < n * c * area; ++i) {
    const Index channel = i / area % c;
    y[at(i / area / c * image + (channel / block * area + i % area) * block + channel % block)] = x[at(i)];
  }
  return y;
}

/// One element of blocked images.
inline float element(const Floats& x, Index image, Index n, Index channel, Index pixel, Index area,
                     Index block) {
  return x[at(n * image + (channel / block * area + pixel) * block + channel % block)];
}

}  // namespace reference
