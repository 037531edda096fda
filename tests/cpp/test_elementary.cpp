// Elementary functions of float32 on every instruction set, against double precision.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "runtime/kernels/float32/elementary/elementary.hpp"

using namespace rdquant::runtime::kernels;
using rdquant::core::Isa;
using Floats = std::vector<float>;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

template <class Body>
void for_every_isa(Body body) {
  for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
    if (isa > rdquant::core::available_isa()) continue;
    CAPTURE(rdquant::core::isa_name(isa));
    body(elementary(isa), kernels(isa));
  }
}

double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::fabs(x))); }

/// What `f` should give, and how many units in the last place may lie between.
double expected(Elementary f, double a, double b, double x) {
  switch (f) {
    case Elementary::log:
      return std::log(x);
    case Elementary::softplus:
      return std::isnan(x) ? x : softplus(x);
    case Elementary::selu:
      return b * (x > 0 ? x : a * std::expm1(x));
    case Elementary::celu:
      return x < 0 ? a * std::expm1(x / a) : x;
    case Elementary::softsign:
      return x / (1 + std::fabs(x));
    case Elementary::thresholded_relu:
      return x > a ? x : 0;
    case Elementary::shrink:
      return x < -a ? x + b : x > a ? x - b : 0;
    case Elementary::sign:
      return std::isnan(x) ? x : static_cast<double>(x > 0) - static_cast<double>(x < 0);
    case Elementary::round:
      return std::nearbyint(x);
    case Elementary::sin:
      return std::sin(x);
    case Elementary::cos:
      return std::cos(x);
    case Elementary::tan:
      return std::tan(x);
    case Elementary::asin:
      return std::asin(x);
    case Elementary::acos:
      return std::acos(x);
    case Elementary::atan:
      return std::atan(x);
    case Elementary::sinh:
      return std::sinh(x);
    case Elementary::cosh:
      return std::cosh(x);
    case Elementary::asinh:
      return std::asinh(x);
    case Elementary::acosh:
      return std::acosh(x);
    case Elementary::atanh:
      return std::atanh(x);
  }
  return x;
}

/// Zeros, infinities, NaN, numbers on either side of every scale, and places where functions cross zero.
Floats special_numbers() {
  Floats x{0.0F, -0.0F, kInfinity, -kInfinity, kNan, 0.5F, 1.0F, 2.0F, 1.0F - 0x1p-24F, 1.0F + 0x1p-23F};
  for (int e = -149; e < 128; ++e) {
    for (const float m : {1.0F, 1.41421354F, 1.99F}) {
      x.push_back(std::ldexp(m, e));
      x.push_back(-std::ldexp(m, e));
    }
  }
  for (int i = 1; i < 30000; i += i < 100 ? 1 : 37) {
    const float zero = static_cast<float>(i * 1.5707963267948966);
    x.insert(x.end(), {zero, -zero, std::nextafter(zero, kInfinity)});
  }
  return x;
}

Floats random_numbers(int n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 1);
  Floats x;
  for (int i = 0; i < n; ++i) x.push_back(normal(random) * (i % 3 == 0 ? 30.0F : i % 3 == 1 ? 1.0F : 0.3F));
  return x;
}

/// Distance in units in the last place of `exact`, at least of the least normal number. Zero may stand for subnormal
/// numbers.
double error_of(float found, double exact) {
  const auto rounded = static_cast<float>(exact);
  if (std::isnan(found) || std::isnan(rounded)) return std::isnan(found) == std::isnan(rounded) ? 0 : 1e9;
  if (std::isinf(found) || std::isinf(rounded)) return found == rounded ? 0 : 1e9;
  if (found == 0 && std::fabs(rounded) < std::numeric_limits<float>::min()) return 0;  // subnormal
  const int exponent = std::max(-126, exact == 0 ? -126 : std::ilogb(exact));
  return std::fabs(found - exact) / std::ldexp(1.0, exponent - 23);
}

}  // namespace

TEST_CASE("elementary functions over special, near and far numbers") {
  Floats x = special_numbers();
  const Floats more = random_numbers(20000, 1);
  x.insert(x.end(), more.begin(), more.end());
  for (int code = 0; code <= static_cast<int>(Elementary::atanh); ++code) {
    const auto f = static_cast<Elementary>(code);
    const float a = f == Elementary::celu ? 1.5F : 1.67326F, b = 1.0507F;
    for_every_isa([&](const ElementaryKernels& kernels, const Kernels&) {
      Floats y(x.size());
      kernels.unary(f, a, b, x.data(), y.data(), static_cast<Index>(x.size()));
      double worst = 0;
      float where = 0;
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double error = error_of(y[i], expected(f, a, b, x[i]));
        if (error > worst) worst = error, where = x[i];
      }
      CAPTURE(code);
      CAPTURE(where);
      CHECK(worst <= 5);
    });
  }
}

TEST_CASE("zeros keep their sign, and no function writes past its end") {
  using enum Elementary;
  for_every_isa([&](const ElementaryKernels& kernels, const Kernels&) {
    for (const auto f :
         {selu, celu, softsign, Elementary::round, Elementary::sin, Elementary::tan, Elementary::asin,
          Elementary::atan, Elementary::sinh, Elementary::asinh, Elementary::atanh}) {
      CAPTURE(static_cast<int>(f));
      for (const Index n : {1, 7, 16, 19}) {
        Floats x(40, -0.0F);
        kernels.unary(f, 1.5F, 1.1F, x.data(), x.data(), n);
        for (Index i = 0; i < n; ++i) CHECK(std::signbit(x[static_cast<std::size_t>(i)]));
        Floats y(40, 7.0F);
        kernels.unary(f, 1.5F, 1.1F, x.data(), y.data(), n);
        for (std::size_t i = static_cast<std::size_t>(n); i < 40; ++i) CHECK(y[i] == 7.0F);
      }
    }
  });
}

TEST_CASE("powers: of every special value by every other, of random numbers, of one exponent for all") {
  Floats special{0.0F,      -0.0F,      kInfinity, -kInfinity, kNan,        1.0F,     -1.0F,
                 0x1p-149F, -0x1p-140F, 0.5F,      -0.5F,      2.0F,        3.0F,     -3.0F,
                 -2.0F,     0x1p24F,    0x1.8p23F, 1e30F,      -1e30F,      0.75F,    2.5F,
                 -0.25F,    1.5F,       -1.5F,     1e-30F,     16777217.0F, 0x1p-23F, 1.0F + 0x1p-23F,
                 4.0F,      -4.0F};
  Floats a, b;
  for (const float x : special) {
    for (const float y : special) a.push_back(x), b.push_back(y);
  }
  const Floats bases = random_numbers(20000, 2), exponents = random_numbers(20000, 3);
  for (std::size_t i = 0; i < bases.size(); ++i) a.push_back(std::fabs(bases[i])), b.push_back(exponents[i]);
  for_every_isa([&](const ElementaryKernels&, const Kernels& kernels) {
    const auto compare = [&](std::size_t i, float found, float base, float exponent) {
      CAPTURE(base);
      CAPTURE(exponent);
      CAPTURE(i);
      const double exact = std::pow(static_cast<double>(base), static_cast<double>(exponent));
      CHECK(error_of(found, exact) <= 4);
      if (static_cast<float>(exact) == 0) CHECK(std::signbit(found) == std::signbit(exact));
    };
    const auto n = static_cast<Index>(a.size());
    Floats y(a.size());
    kernels.binary(Binary::pow, a.data(), 1, b.data(), 1, y.data(), 0, n);
    for (std::size_t i = 0; i < a.size(); ++i) compare(i, y[i], a[i], b[i]);
    for (const float exponent : special) {
      kernels.binary(Binary::pow, a.data(), 1, &exponent, 0, y.data(), 0, n);
      for (std::size_t i = 0; i < a.size(); i += 7) compare(i, y[i], a[i], exponent);
    }
    for (const float base : special) {
      kernels.binary(Binary::pow, &base, 0, b.data(), 1, y.data(), 0, n);
      for (std::size_t i = 0; i < 900; ++i) compare(i, y[i], base, b[i]);
    }
  });
}
