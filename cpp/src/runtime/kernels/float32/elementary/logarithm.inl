// Logarithms, and functions of e^x where math.inl's exp alone would lose digits.
#pragma once

#include "runtime/kernels/float32/math.inl"

namespace rdquant::runtime::kernels {
namespace {

/// A positive number as mantissa·2^exponent, mantissa in [√½, √2).
struct Parts {
  F32 mantissa, exponent;
};
inline Parts parts_of(F32 x) {
  const auto tiny = x < splat(0x1p-126f);  // as it is stored, too small for its first bit to stand for itself
  const F32 scaled = select(tiny, x * splat(0x1p25f), x);
  constexpr std::int32_t kRoot = 0x3f3504f3;  // the bits of √½
  const I32 bits = simd::bits_as<I32>(scaled) - kRoot;
  const F32 exponent = simd::to_float(bits >> 23) - select(tiny, splat(25.0f), splat(0.0f));
  return {simd::bits_as<F32>((bits & 0x007fffff) + kRoot), exponent};
}

// ln x as Cephes has it; NaN below 0.
inline F32 log(F32 x) {
  const Parts parts = parts_of(x);
  const F32 f = parts.mantissa - splat(1.0f), z = f * f;
  F32 p = splat(7.0376836292e-2f);
  p = fma(p, f, splat(-1.1514610310e-1f));
  p = fma(p, f, splat(1.1676998740e-1f));
  p = fma(p, f, splat(-1.2420140846e-1f));
  p = fma(p, f, splat(1.4249322787e-1f));
  p = fma(p, f, splat(-1.6668057665e-1f));
  p = fma(p, f, splat(2.0000714765e-1f));
  p = fma(p, f, splat(-2.4999993993e-1f));
  p = fma(p, f, splat(3.3333331174e-1f));
  F32 y = fma(f * z, p, parts.exponent * splat(-2.12194440e-4f));
  y = f + fma(splat(-0.5f), z, y);
  y = fma(parts.exponent, splat(0.693359375f), y);
  const F32 infinity = splat(__builtin_inff());
  y = select(x < infinity, y, x);  // infinity and what is not a number
  y = select(x == splat(0.0f), -infinity, y);
  return if_negative(x, splat(__builtin_nanf("")), y);
}

// e^x, 0 where float32 has no normal number for it, infinity where it has none.
inline F32 exp_to_zero(F32 x) { return if_negative(x + splat(87.33654f), splat(0.0f), exp(x)); }

// ln(1 + e), e ≥ 0: what the sum lost comes back, where it matters.
inline F32 log_of_one_and(F32 e) {
  const F32 sum = splat(1.0f) + e, whole = log(sum);
  return select(e < splat(0x1p24f), whole + (e - (sum - splat(1.0f))) / sum, whole);
}

inline F32 softplus(F32 x) {
  return simd::max_or_nan(x, splat(0.0f)) + log_of_one_and(exp_to_zero(splat(0.0f) - abs(x)));
}

// e^x − 1 for x ≤ 0, as math.inl's exp, whose 1 is taken off before it could hide small results.
inline F32 exp_minus_one(F32 x) {
  x = max(splat(-20.0f), x);
  const F32 n = round(x * splat(1.44269504088896341f));
  const F32 r = fma(n, splat(2.12194440e-4f), fma(n, splat(-0.693359375f), x));
  F32 p = splat(1.9875691500e-4f);
  p = fma(p, r, splat(1.3981999507e-3f));
  p = fma(p, r, splat(8.3334519073e-3f));
  p = fma(p, r, splat(4.1665795894e-2f));
  p = fma(p, r, splat(1.6666665459e-1f));
  p = fma(p, r, splat(5.0000001201e-1f));
  const F32 power = simd::scale(splat(1.0f), n);
  return fma(fma(p, r * r, r), power, power - splat(1.0f));
}

inline F32 signed_as(F32 x, F32 magnitude) {
  return simd::bits_as<F32>(simd::bits_as<I32>(magnitude) |
                            (simd::bits_as<I32>(x) ^ simd::bits_as<I32>(abs(x))));
}

// Halves of e^|x| by roots, which overflow no earlier than the result; near zero a polynomial of Cephes.
inline F32 sinh(F32 x) {
  const F32 a = abs(x), z = x * x, root = exp(splat(0.5f) * a);
  F32 p = splat(2.03721912945e-4f);
  p = fma(p, z, splat(8.33028376239e-3f));
  p = fma(p, z, splat(1.66667160211e-1f));
  const F32 small = fma(p * z, x, x);
  const F32 half = splat(0.5f) * root * root;
  const F32 large = half - splat(0.25f) / half;
  return select(
      a <= splat(1.0f), small,
      simd::bits_as<F32>(simd::bits_as<I32>(large) | (simd::bits_as<I32>(x) ^ simd::bits_as<I32>(a))));
}
inline F32 cosh(F32 x) {
  const F32 root = exp(splat(0.5f) * abs(x)), half = splat(0.5f) * root * root;
  return half + splat(0.25f) / half;
}

// The inverses, as logarithms of 1 and something; from kSteep on as those of 2x, whose square would be too large.
constexpr float kSteep = 1e4f;
inline F32 log_of_twice(F32 x) { return log(x) + splat(0.693147181f); }
inline F32 asinh(F32 x) {
  const F32 a = abs(x), z = a * a, one = splat(1.0f);
  const F32 near = log_of_one_and(a + z / (one + sqrt(z + one)));
  return signed_as(x, select(splat(kSteep) < a, log_of_twice(a), near));
}
inline F32 acosh(F32 x) {
  const F32 t = x - splat(1.0f);
  const F32 near = log_of_one_and(t + sqrt(fma(t, t, t + t)));
  return if_negative(t, splat(__builtin_nanf("")), select(splat(kSteep) < x, log_of_twice(x), near));
}
inline F32 atanh(F32 x) {
  const F32 a = abs(x);
  return signed_as(x, splat(0.5f) * log_of_one_and((a + a) / (splat(1.0f) - a)));
}

}  // namespace
}  // namespace rdquant::runtime::kernels
