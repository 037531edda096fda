// Vectors of int32: what the operators of vector.inl do not say.
#pragma once

#include "simd/masks.inl"

namespace rdquant::simd {
namespace {

[[gnu::always_inline]] inline I32 load(const std::int32_t* p) { return load_as<I32>(p); }
[[gnu::always_inline]] inline void store(std::int32_t* p, I32 a) { store_as(p, a); }
[[gnu::always_inline]] inline I32 splat(std::int32_t x) { return splat_as<I32>(x); }
[[gnu::always_inline]] inline I32 load_shorts(const std::int16_t* p) {
#if defined(__AVX512F__)
  const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {(native::I16)_mm512_maskz_cvtepi16_epi32(native::kAll, x)};
#elif defined(__AVX2__)
  return {(native::I8)_mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
#else
  return {{native::load_shorts(p)}, {native::load_shorts(p + 4)}};
#endif
}

template <int N>
[[gnu::always_inline]] inline Vector<std::int32_t, N> min(Vector<std::int32_t, N> a,
                                                          Vector<std::int32_t, N> b) {
  return each(a, b, [](auto x, auto y) __attribute__((always_inline)) { return native::min(x, y); });
}
template <int N>
[[gnu::always_inline]] inline Vector<std::int32_t, N> max(Vector<std::int32_t, N> a,
                                                          Vector<std::int32_t, N> b) {
  return each(a, b, [](auto x, auto y) __attribute__((always_inline)) { return native::max(x, y); });
}
inline I32 clamp(I32 a, std::int32_t low, std::int32_t high) { return min(splat(high), max(splat(low), a)); }

/// Zeros come in from above.
[[gnu::always_inline]] inline I32 shift_right(I32 a, int bits) {
  return bits_as<I32>(bits_as<U32>(a) >> bits);
}
/// a·2^n, each by its own n ≥ 0, of results below 2^31.
[[gnu::always_inline]] inline I32 shift_left_by(I32 a, I32 n) {
  return each(a, n,
              [](auto x, auto y) __attribute__((always_inline)) { return native::shift_left_by(x, y); });
}
/// Products of numbers below 2^16, modulo 2^32.
[[gnu::always_inline]] inline I32 mul_halves(I32 a, I32 b) {
  return each(a, b, [](auto x, auto y) __attribute__((always_inline)) { return native::mul_halves(x, y); });
}

/// a[2i]·b[2i] + a[2i + 1]·b[2i + 1]
template <int N>
[[gnu::always_inline]] inline Vector<std::int32_t, N / 2> add_pairs(Vector<std::int16_t, N> a,
                                                                    Vector<std::int16_t, N> b) {
  if constexpr (kFits<std::int16_t, N>) {
    return {native::add_pairs(a.v, b.v)};
  } else {
    return {add_pairs(a.low, b.low), add_pairs(a.high, b.high)};
  }
}
/// The same of the signed halves of each element.
[[gnu::always_inline]] inline I32 add_pairs(I32 a, I32 b) {
  using Halves = Vector<std::int16_t, 2 * kLanes>;
  return add_pairs(bits_as<Halves>(a), bits_as<Halves>(b));
}

}  // namespace
}  // namespace rdquant::simd
