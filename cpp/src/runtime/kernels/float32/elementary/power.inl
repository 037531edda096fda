// Powers a^b, with the special values of std::pow.
#pragma once

#include "runtime/kernels/float32/elementary/logarithm.inl"

namespace rdquant::runtime::kernels {
namespace {

using F64 = simd::Vector<double, simd::kLanes>;
using I64 = simd::Vector<std::int64_t, simd::kLanes>;

// log2 of a positive finite number, within 2^-37 of itself: ln m = 2·(s + s³/3 + …), s = (m − 1)/(m + 1).
inline F64 exact_log2(F32 x) {
  const Parts parts = parts_of(x);
  const F64 m = simd::convert<double>(parts.mantissa);
  const F64 s = (m - 1.0) / (m + 1.0), z = s * s;
  F64 p = z * (1.0 / 13) + 1.0 / 11;
  p = p * z + 1.0 / 9;
  p = p * z + 1.0 / 7;
  p = p * z + 1.0 / 5;
  p = p * z + 1.0 / 3;
  p = p * z + 1.0;
  return s * p * 2.8853900817779268147 + simd::convert<double>(parts.exponent);
}

// 2^t for |t| ≤ 1000, within 2^-31 of itself.
inline F64 exact_exp2(F64 t) {
  const double whole =
      0x1.8p52;  // added and taken off again, it leaves the nearest whole number in the last bits
  const F64 shifted = t + whole;
  const F64 r = (t - (shifted - whole)) * 0.69314718055994530942;
  F64 p = r * (1.0 / 40320) + 1.0 / 5040;
  p = p * r + 1.0 / 720;
  p = p * r + 1.0 / 120;
  p = p * r + 1.0 / 24;
  p = p * r + 1.0 / 6;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  const I64 power = (simd::bits_as<I64>(shifted) << 52) + simd::bits_as<I64>(simd::splat_as<F64>(1.0));
  return p * simd::bits_as<F64>(power);
}

inline F32 power(F32 a, F32 b) {
  const F32 zero = splat(0.0f), one = splat(1.0f), infinity = splat(__builtin_inff()), size = abs(a);
  F64 log = exact_log2(size);
  const F32 end =
      select(size == zero, -infinity, select(size < infinity, zero, size));  // what parts_of cannot
  log = log + simd::convert<double>(end);
  F64 t = log * simd::convert<double>(b);
  t = simd::max(simd::splat_as<F64>(-1000.0), simd::min(simd::splat_as<F64>(1000.0), t));
  F32 y = simd::convert<float>(exact_exp2(t));
  const F32 near = simd::min(splat(0x1p24f), abs(b));  // what is larger is whole and even
  const auto whole = round(near) == near, odd = (simd::nearest(near) & 1) == I32{} + 1;
  y = select((size == one) & (b == b), one, y);
  const auto negative = simd::bits_as<I32>(a) < I32{};
  y = select(negative & whole & odd, -y, y);
  y = select((a < zero) & (size < infinity) & ~whole & (b == b), splat(__builtin_nanf("")), y);
  return select((b == zero) | (a == one), one, y);
}

// Exponents that are whole quarters up to 4 in size need products and square roots only.
inline bool is_of_roots(float b) {
  const float quarters = b * 4.0f;
  return quarters >= -16.0f && quarters <= 16.0f &&
         quarters == static_cast<float>(static_cast<int>(quarters));
}

/// a^(quarters/4)
inline F32 power_of_roots(F32 a, int quarters) {
  const int size = quarters < 0 ? -quarters : quarters;
  const F32 one = splat(1.0f), infinity = splat(__builtin_inff());
  const F32 base = size % 4 == 0 ? a : abs(a);
  F32 y = one;
  for (int i = 0; i < size / 4; ++i) y = y * base;
  if (size % 4 != 0) {
    const F32 root = sqrt(select(a == -infinity, infinity, a + splat(0.0f)));
    if (size % 4 != 1) y = y * root;
    if (size % 2 != 0) y = y * sqrt(root);
  }
  return quarters < 0 ? one / y : y;
}

}  // namespace
}  // namespace rdquant::runtime::kernels
