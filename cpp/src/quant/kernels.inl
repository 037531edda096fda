// The loops behind kernels.hpp. Included by one file per instruction set, which sets RDQUANT_KERNELS_ISA.
// Everything here is local to the including file: code built for one set must not be linked into another.
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "quant/kernels.hpp"
#include "simd/stream.inl"

namespace rdquant::quant {
namespace {

constexpr double kLevelEnd = 2147483648.0;

// x/step, correctly rounded. With FMA it comes from the rounded reciprocal and one correction (Markstein
// 1990), which equals the division for every step whose significand is not all ones; kernel.cpp keeps those
// away.
inline double divide(double x, const UniformArgs& args) {
#if defined(__FMA__)
  const double quotient = x * args.inverse;
  const double remainder = std::fma(-quotient, args.step, x);
  return std::fma(remainder, args.inverse, quotient);
#else
  return x / args.step;
#endif
}

inline std::int32_t with_sign(double magnitude, float x) {
  const auto level = static_cast<std::int32_t>(magnitude);
  const std::int32_t sign = std::bit_cast<std::int32_t>(x) >> 31;
  return (level ^ sign) - sign;
}

// The definition: double precision throughout.
bool uniform_exact(const float* __restrict x, std::int32_t* __restrict levels, std::size_t n,
                   const UniformArgs& a) {
  const UniformArgs args = a;
  std::int32_t bad = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double magnitude = std::ceil(divide(std::fabs(static_cast<double>(x[i])), args) - args.delta);
    bad |= !(magnitude < kLevelEnd);
    const double positive = magnitude > 0.0 ? magnitude : 0.0;
    levels[i] = with_sign(positive < args.limit ? positive : args.limit, x[i]);
  }
  return bad == 0;
}

// The same in single precision, as long as rounding cannot matter. With q = x/Δ, the level is the integer
// next to t = q + sign(x)·(½ − δ), which 1.5·2^23 + t rounds to in the low bits of its own representation. In
// single precision q is off by at most |q|·2^-23 and t by (|q| + 1)·2^-22, so that the level is the exact one
// where t is no more than ½ − (|q| + 1)·2^-22 away from it. Returns false if some t is further (a tie, x is
// not finite, |q| ≥ 2^21): do it again exactly.
bool uniform_single(const float* __restrict x, std::int32_t* __restrict levels, std::size_t n,
                    const UniformArgs& a) {
  constexpr float kRounder = 0x1.8p23f;
  constexpr float kError = 0x1p-22f;
  const auto inverse = static_cast<float>(a.inverse);
  const auto shift = std::bit_cast<std::uint32_t>(static_cast<float>(0.5 - a.delta));
  const auto limit = static_cast<std::int32_t>(a.limit);
  std::int32_t unsure = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const float q = x[i] * inverse;
    const std::uint32_t sign = std::bit_cast<std::uint32_t>(x[i]) & 0x80000000U;
    const float t = q + std::bit_cast<float>(shift ^ sign);
    const float rounded = t + kRounder;
    const float away = std::fabs(t - (rounded - kRounder)) + std::fabs(q) * kError;
    unsure |= !(away < 0.5f - kError) & !(x[i] == 0.0f);
    auto level = static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(rounded) -
                                           std::bit_cast<std::uint32_t>(kRounder));
    level = level < limit ? level : limit;
    levels[i] = level > -limit ? level : -limit;
  }
  return unsure == 0;
}

bool uniform(const float* x, std::int32_t* levels, std::size_t n, const UniformArgs& args) {
  constexpr std::size_t kBlock = 512;
  bool good = true;
  // Single precision is tried as long as it mostly pays; it does not for steps near float32's own resolution.
  const bool in_range = args.inverse < 1e38 && args.inverse > 1e-38;
  int credit = in_range ? 8 : 0;
  for (std::size_t i = 0; i < n; i += kBlock) {
    const std::size_t count = n - i < kBlock ? n - i : kBlock;
    if (credit > 0 && uniform_single(x + i, levels + i, count, args)) {
      credit = credit < 64 ? credit + 1 : credit;
      continue;
    }
    credit -= credit > 0 ? 2 : 0;
    good &= uniform_exact(x + i, levels + i, count, args);
  }
  return good;
}

// Natural logarithm of a finite t ≥ 1, within 2 ulp: t = 2^e·m with m in [√½, √2), then the series of
// ln((1 + s)/(1 − s)), s = (m − 1)/(m + 1), with the minimax coefficients of FreeBSD's e_log.c (Sun
// Microsystems, 1993). Written without branches so that compilers vectorise it.
inline double log_from_one(double t) {
  constexpr std::uint64_t kHalfRoot = 0x3fe6a09e667f3bcdULL;  // √½
  const std::uint64_t bits = std::bit_cast<std::uint64_t>(t);
  const std::uint64_t exponent = (bits - kHalfRoot) >> 52;
  const double m = std::bit_cast<double>(bits - (exponent << 52));
  const double e = std::bit_cast<double>(exponent | 0x4330000000000000ULL) - 4503599627370496.0;
  const double f = m - 1.0;
  const double s = f / (m + 1.0);
  const double z = s * s;
  const double w = z * z;
  const double odd =
      w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01));
  const double even =
      z * (6.666666666666735130e-01 +
           w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01)));
  const double half_square = 0.5 * f * f;
  return e * 0.693147180559945309417 - ((half_square - s * (half_square + odd + even)) - f);
}

bool mulaw(const float* __restrict x, std::int32_t* __restrict levels, std::size_t n, const MuLawArgs& a) {
  const MuLawArgs args = a;
  std::int32_t bad = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double grown = 1.0 + std::fabs(static_cast<double>(x[i])) * args.mu_over_range;
    const double magnitude = std::ceil(log_from_one(grown) * args.scale - 0.5);
    bad |= !(grown < std::numeric_limits<double>::infinity()) | !(magnitude < kLevelEnd);
    const double positive = magnitude > 0.0 ? magnitude : 0.0;
    levels[i] = with_sign(positive < args.limit ? positive : args.limit, x[i]);
  }
  return bad == 0;
}

// Rounds float32's significand to fewer bits by integer arithmetic on its bits; a carry moves into the
// exponent.
bool minifloat(const float* __restrict x, std::int32_t* __restrict levels, std::size_t n,
               const MinifloatArgs& a) {
  const MinifloatArgs args = a;
  const std::int32_t half = (1 << args.shift) >> 1;
  std::int32_t bad = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const std::int32_t bits = std::bit_cast<std::int32_t>(x[i]) & 0x7fffffff;
    bad |= bits >= 0x7f800000;
    const std::int32_t odd = (bits >> args.shift) & 1;
    const std::int32_t wide = (bits < 0x7f800000 ? bits : 0) + half - 1 + odd;
    std::int32_t code = (wide >> args.shift) - args.offset;
    code = code < 0 ? 0 : code;
    code = code < args.most ? code : args.most;
    levels[i] = x[i] < 0.0f ? -1 - code : 1 + code;
  }
  return bad == 0;
}

void uniform_dequantize(const std::int32_t* __restrict levels, float* __restrict x, std::size_t n,
                        const UniformArgs& a) {
  const UniformArgs args = a;
  const double shift = args.delta - 0.5;
  for (std::size_t i = 0; i < n; ++i) {
    const double level = levels[i];
    const double magnitude = args.step * (std::fabs(level) + shift);
    const double value = level < 0.0 ? -magnitude : magnitude;
    x[i] = static_cast<float>(levels[i] == 0 ? 0.0 : value);
  }
}

// Copies whole cache lines, 16 levels each, to an aligned place with stores that go around the caches.
void stream(const std::int32_t* __restrict from, std::int32_t* __restrict to, std::size_t lines) {
  using Line = simd::Vector<std::int32_t, 16>;
  for (std::size_t i = 0; i < lines * 16; i += 16) simd::stream_as(to + i, simd::load_as<Line>(from + i));
}

}  // namespace

namespace RDQUANT_KERNELS_ISA {
const Kernels kernels = {.uniform = uniform,
                         .mulaw = mulaw,
                         .minifloat = minifloat,
                         .uniform_dequantize = uniform_dequantize,
                         .stream = stream,
                         .stream_end = simd::stream_end};
}  // namespace RDQUANT_KERNELS_ISA

}  // namespace rdquant::quant
