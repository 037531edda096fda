// Sine, cosine, tangent and their inverses. The polynomials are those of Cephes (Moshier 1992).
#pragma once

#include "runtime/kernels/float32/elementary/power.inl"

namespace rdquant::runtime::kernels {
namespace {

constexpr float kFarthest = 30000.0f;  // up to here angles are reduced in vectors

/// An angle x = quarter·π/2 + rest, |rest| ≤ π/4 and a little more.
struct Angle {
  F32 rest;
  I32 quarter;
};

// Of 0 ≤ x ≤ kFarthest. In three parts of π/2 (Cody and Waite 1980): the first difference is exact where products are
// not rounded; elsewhere double precision does.
inline Angle reduce(F32 x) {
  const F32 n = round(x * splat(0.636619772f));
#if defined(__FMA__) || defined(__ARM_NEON)
  F32 rest = fma(n, splat(-1.57079637e+0f), x);
  rest = fma(n, splat(4.37113883e-8f), rest);
  rest = fma(n, splat(1.71512451e-15f), rest);
#else
  const F64 high = simd::convert<double>(n) * 1.57079632673412561417e+0;  // its last 20 bits are zeros
  const F64 low = simd::convert<double>(n) * 6.07710050650619224932e-11;
  const F32 rest = simd::convert<float>((simd::convert<double>(x) - high) - low);
#endif
  return {rest, nearest(n)};
}

inline F32 sine_of_rest(F32 r) {
  const F32 s = r * r;
  F32 p = splat(-1.9515295891e-4f);
  p = fma(p, s, splat(8.3321608736e-3f));
  p = fma(p, s, splat(-1.6666654611e-1f));
  return fma(p * s, r, r);
}

inline F32 cosine_of_rest(F32 r) {
  const F32 s = r * r;
  F32 p = splat(2.443315711809948e-5f);
  p = fma(p, s, splat(-1.388731625493765e-3f));
  p = fma(p, s, splat(4.166664568298827e-2f));
  return fma(p, s * s, fma(splat(-0.5f), s, splat(1.0f)));
}

// The sine of the angle and `quarters` right angles.
inline F32 sine_of(Angle angle, int quarters) {
  const I32 quarter = angle.quarter + quarters;
  const F32 sine = sine_of_rest(angle.rest), cosine = cosine_of_rest(angle.rest);
  const F32 value = select((quarter & 1) == I32{}, sine, cosine);
  return simd::bits_as<F32>(simd::bits_as<I32>(value) ^ ((quarter & 2) << 30));
}

inline F32 tangent_of(Angle angle) {
  const F32 sine = sine_of_rest(angle.rest), cosine = cosine_of_rest(angle.rest);
  const simd::Condition<float, kBlock> even = (angle.quarter & 1) == I32{};
  return select(even, sine, splat(0.0f) - cosine) / select(even, cosine, sine);
}

// f(x), one by one where any is far from zero: `exact` takes and gives doubles.
template <class F, class Exact>
inline F32 of_angles(F32 x, F f, Exact exact) {
  const F32 far = splat(kFarthest);
  const F32 y = f(simd::min(far, abs(x)));
  if (!simd::any_above(abs(x), far)) [[likely]]
    return y;
  float from[kBlock], to[kBlock];
  store(from, x);
  store(to, y);
  for (int i = 0; i < kBlock; ++i) {
    if (!(__builtin_fabsf(from[i]) <= kFarthest))
      to[i] = static_cast<float>(exact(static_cast<double>(from[i])));
  }
  return load(to);
}

// −y where x is negative: the sine of −x is that of x with the other sign.
inline F32 turned_as(F32 x, F32 y) {
  return simd::bits_as<F32>(simd::bits_as<I32>(y) ^ simd::bits_as<I32>(x) ^ simd::bits_as<I32>(abs(x)));
}

inline F32 sin(F32 x) {
  return of_angles(
      x, [x](F32 a) { return turned_as(x, sine_of(reduce(a), 0)); },
      [](double a) { return __builtin_sin(a); });
}
inline F32 cos(F32 x) {
  return of_angles(x, [](F32 a) { return sine_of(reduce(a), 1); }, [](double a) { return __builtin_cos(a); });
}
inline F32 tan(F32 x) {
  return of_angles(
      x, [x](F32 a) { return turned_as(x, tangent_of(reduce(a))); },
      [](double a) { return __builtin_tan(a); });
}

// asin(y) for 0 ≤ y ≤ ½, of z = y².
inline F32 small_arc_sine(F32 y, F32 z) {
  F32 p = splat(4.2163199048e-2f);
  p = fma(p, z, splat(2.4181311049e-2f));
  p = fma(p, z, splat(4.5470025998e-2f));
  p = fma(p, z, splat(7.4953002686e-2f));
  p = fma(p, z, splat(1.6666752422e-1f));
  return fma(p * z, y, y);
}

// The arc sine of a = |x| where `small`, else half of what lacks a right angle.
struct ArcSine {
  simd::Condition<float, kBlock> small;
  F32 value;
};
inline ArcSine arc_sine(F32 a) {
  const auto small = a <= splat(0.5f);
  const F32 z = select(small, a * a, splat(0.5f) * (splat(1.0f) - a));
  return {small, small_arc_sine(select(small, a, sqrt(z)), z)};
}
inline F32 asin(F32 x) {
  const ArcSine s = arc_sine(abs(x));
  return signed_as(x, select(s.small, s.value, splat(1.57079637f) - (s.value + s.value)));
}
inline F32 acos(F32 x) {
  const ArcSine s = arc_sine(abs(x));
  const F32 twice = s.value + s.value;
  const F32 large = if_negative(x, splat(3.14159274f) - twice, twice);
  return select(s.small, splat(1.57079637f) - signed_as(x, s.value), large);
}

inline F32 atan(F32 x) {
  const F32 a = abs(x), one = splat(1.0f);
  const auto steep = splat(2.414213562373095f) < a, middle = splat(0.4142135623730950f) < a;
  // tan(π/2 − y) = 1/tan y, tan(y − π/4) = (tan y − 1)/(tan y + 1)
  const F32 above = select(steep, splat(-1.0f), a - one);
  const F32 below = select(steep, a, a + one);
  const F32 r = select(middle, above / below, a);
  const F32 start = select(steep, splat(1.57079637f), select(middle, splat(0.785398163f), splat(0.0f)));
  const F32 z = r * r;
  F32 p = splat(8.05374449538e-2f);
  p = fma(p, z, splat(-1.38776856032e-1f));
  p = fma(p, z, splat(1.99777106478e-1f));
  p = fma(p, z, splat(-3.33329491539e-1f));
  return signed_as(x, start + fma(p * z, r, r));
}

}  // namespace
}  // namespace rdquant::runtime::kernels
