// Vectors of float32: F32 fills a register, or two where registers hold four.
#pragma once

#include "simd/masks.inl"

namespace rdquant::simd {
namespace {

[[gnu::always_inline]] inline F32 load(const float* p) { return load_as<F32>(p); }
[[gnu::always_inline]] inline void store(float* p, F32 a) { store_as(p, a); }
[[gnu::always_inline]] inline F32 splat(float x) { return splat_as<F32>(x); }

/// The first n elements, 0 ≤ n ≤ kLanes; load_some gives zeros behind them.
inline F32 load_some(const float* p, std::ptrdiff_t n) {
#if defined(__AVX512F__)
  return {_mm512_maskz_loadu_ps(native::first_lanes(n), p)};
#elif defined(__AVX2__)
  return {_mm256_maskload_ps(p, native::first_lanes(n))};
#else
  F32 x = {};
  std::memcpy(&x, p, static_cast<std::size_t>(n) * sizeof(float));
  return x;
#endif
}
inline void store_some(float* p, F32 a, std::ptrdiff_t n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, native::first_lanes(n), a.v);
#elif defined(__AVX2__)
  _mm256_maskstore_ps(p, native::first_lanes(n), a.v);
#else
  std::memcpy(p, &a, static_cast<std::size_t>(n) * sizeof(float));
#endif
}

[[gnu::always_inline]] inline I32 load_some(const std::int32_t* p, std::ptrdiff_t n) {
  return bits_as<I32>(load_some(reinterpret_cast<const float*>(p), n));
}

/// a·b + c, rounded once where the instruction set can, else twice.
template <int N>
[[gnu::always_inline]] inline Vector<float, N> fma(Vector<float, N> a, Vector<float, N> b,
                                                   Vector<float, N> c) {
  if constexpr (kFits<float, N>) {
    return {native::fma(a.v, b.v, c.v)};
  } else {
    return {fma(a.low, b.low, c.low), fma(a.high, b.high, c.high)};
  }
}
/// a·b − c
[[gnu::always_inline]] inline F32 fma_minus(F32 a, F32 b, F32 c) {
#if defined(__AVX512F__)
  return {_mm512_fmsub_ps(a.v, b.v, c.v)};
#elif defined(__AVX2__)
  return {_mm256_fmsub_ps(a.v, b.v, c.v)};
#else
  return fma(a, b, -c);
#endif
}
/// b where either is not a number: a bound goes on the left, so that what is not a number stays so.
template <int N>
[[gnu::always_inline]] inline Vector<float, N> min(Vector<float, N> a, Vector<float, N> b) {
  return each(a, b, [](auto x, auto y) __attribute__((always_inline)) { return native::min(x, y); });
}
template <int N>
[[gnu::always_inline]] inline Vector<float, N> max(Vector<float, N> a, Vector<float, N> b) {
  return each(a, b, [](auto x, auto y) __attribute__((always_inline)) { return native::max(x, y); });
}
template <int N>
[[gnu::always_inline]] inline Vector<float, N> clamp(Vector<float, N> x, Vector<float, N> low,
                                                     Vector<float, N> high) {
  return min(high, max(low, x));
}
/// Not a number where either is not.
template <int N>
[[gnu::always_inline]] inline Vector<float, N> min_or_nan(Vector<float, N> a, Vector<float, N> b) {
  return select(a == a, min(a, b), a);
}
template <int N>
[[gnu::always_inline]] inline Vector<float, N> max_or_nan(Vector<float, N> a, Vector<float, N> b) {
  return select(a == a, max(a, b), a);
}
template <int N>
[[gnu::always_inline]] inline Vector<float, N> abs(Vector<float, N> a) {
  return each(a, [](auto x) __attribute__((always_inline)) { return native::abs(x); });
}
template <int N>
[[gnu::always_inline]] inline Vector<float, N> sqrt(Vector<float, N> a) {
  return each(a, [](auto x) __attribute__((always_inline)) { return native::sqrt(x); });
}
/// To the nearest whole number, ties to even.
template <int N>
[[gnu::always_inline]] inline Vector<float, N> round(Vector<float, N> a) {
  return each(a, [](auto x) __attribute__((always_inline)) { return native::round(x); });
}
template <int N>
[[gnu::always_inline]] inline Vector<float, N> floor(Vector<float, N> a) {
  return each(a, [](auto x) __attribute__((always_inline)) { return native::floor(x); });
}
template <int N>
[[gnu::always_inline]] inline Vector<float, N> ceil(Vector<float, N> a) {
  return each(a, [](auto x) __attribute__((always_inline)) { return native::ceil(x); });
}
/// x < 0 ? a : b
template <int N>
[[gnu::always_inline]] inline Vector<float, N> if_negative(Vector<float, N> x, Vector<float, N> a,
                                                           Vector<float, N> b) {
  return select(x < Vector<float, N>{}, a, b);
}

/// The nearest integers, ties to even; the least int32 for what is below them and for what is not a number.
/// What is above them must not come.
template <int N>
[[gnu::always_inline]] inline Vector<std::int32_t, N> nearest(Vector<float, N> a) {
  if constexpr (kFits<float, N>) {
    return {native::nearest(a.v)};
  } else {
    return {nearest(a.low), nearest(a.high)};
  }
}
template <int N>
[[gnu::always_inline]] inline Vector<float, N> to_float(Vector<std::int32_t, N> a) {
  return convert<float>(a);
}
/// Whether a condition on floats or int32 holds anywhere.
template <int N>
[[gnu::always_inline]] inline bool any(Vector<std::int32_t, N> condition) {
  if constexpr (kFits<std::int32_t, N>) {
    return native::any(condition.v);
  } else {
    return any(condition.low | condition.high);
  }
}

/// Whether any element is above its bound.
inline bool any_above(F32 a, F32 bound) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(a.v, bound.v, _CMP_GT_OQ) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps(_mm256_cmp_ps(a.v, bound.v, _CMP_GT_OQ)) != 0;
#else
  return any(a > bound);
#endif
}

/// A running maximum, which is not a number once an element was none. To see two at a time takes less.
struct Maximum {
  F32 most = splat(-__builtin_inff());
  Mask bad = {};

  [[gnu::always_inline]] void see(F32 x) { see(x, x); }
  [[gnu::always_inline]] void see(F32 x, F32 y) {
    most = max(most, max(x, y));
    bad |= unordered(x, y);
  }
  [[nodiscard, gnu::always_inline]] F32 get() const { return select(bad, splat(__builtin_nanf("")), most); }
};

/// a·2^n, n whole and 2^n a normal number.
template <int N>
[[gnu::always_inline]] inline Vector<float, N> scale(Vector<float, N> a, Vector<float, N> n) {
#if defined(__AVX512F__)
  if constexpr (N == 16) return {_mm512_maskz_scalef_ps(native::kAll, a.v, n.v)};
#endif
  const auto exponent = nearest(n) + 127;
  return a * bits_as<Vector<float, N>>(exponent << 23);
}
/// 1/a within 2 ulp, for finite a ≥ 1.
template <int N>
[[gnu::always_inline]] inline Vector<float, N> inverse(Vector<float, N> a) {
#if defined(__AVX512F__)
  if constexpr (N == 16) {
    const __m512 r = _mm512_maskz_rcp14_ps(native::kAll, a.v);
    return {_mm512_fmadd_ps(r, _mm512_fnmadd_ps(a.v, r, _mm512_set1_ps(1.0f)), r)};
  }
#endif
  return splat_as<Vector<float, N>>(1.0f) / a;
}

/// 1/a within some hundredths of a percent; differs from processor to processor.
[[gnu::always_inline]] inline F32 about_inverse(F32 a) {
  return each(a, [](auto x) __attribute__((always_inline)) { return native::about_inverse(x); });
}

/// The greatest element, none of which may be not a number.
template <int N>
[[gnu::always_inline]] inline float max_of(Vector<float, N> a) {
  if constexpr (N > 4) {
    return max_of(max(half<0>(a), half<1>(a)));
  } else {
    const auto pairs = native::max(a.v, __builtin_shufflevector(a.v, a.v, 2, 3, 0, 1));
    return native::max(pairs, __builtin_shufflevector(pairs, pairs, 1, 0, 3, 2))[0];
  }
}

// Pairs of rows are interleaved, then pairs of pairs, and so on.
inline void transpose(F32 (&x)[kLanes]) {
#if defined(__AVX512F__)
  using native::kAll;
  __m512 y[kLanes];
  for (int i = 0; i < 16; i += 2) {
    y[i] = _mm512_maskz_unpacklo_ps(kAll, x[i].v, x[i + 1].v);
    y[i + 1] = _mm512_maskz_unpackhi_ps(kAll, x[i].v, x[i + 1].v);
  }
  for (int i = 0; i < 16; i += 4) {
    for (int j = 0; j < 2; ++j) {
      x[i + 2 * j].v = _mm512_maskz_shuffle_ps(kAll, y[i + j], y[i + j + 2], 0x44);
      x[i + 2 * j + 1].v = _mm512_maskz_shuffle_ps(kAll, y[i + j], y[i + j + 2], 0xee);
    }
  }
  for (int i = 0; i < 16; i += 8) {
    for (int j = 0; j < 4; ++j) {
      y[i + j] = _mm512_maskz_shuffle_f32x4(kAll, x[i + j].v, x[i + j + 4].v, 0x88);
      y[i + j + 4] = _mm512_maskz_shuffle_f32x4(kAll, x[i + j].v, x[i + j + 4].v, 0xdd);
    }
  }
  for (int j = 0; j < 8; ++j) {
    x[j].v = _mm512_maskz_shuffle_f32x4(kAll, y[j], y[j + 8], 0x88);
    x[j + 8].v = _mm512_maskz_shuffle_f32x4(kAll, y[j], y[j + 8], 0xdd);
  }
#elif defined(__AVX2__)
  __m256 y[kLanes];
  for (int i = 0; i < 8; i += 2) {
    y[i] = _mm256_unpacklo_ps(x[i].v, x[i + 1].v);
    y[i + 1] = _mm256_unpackhi_ps(x[i].v, x[i + 1].v);
  }
  for (int i = 0; i < 8; i += 4) {
    for (int j = 0; j < 2; ++j) {
      x[i + 2 * j].v = _mm256_shuffle_ps(y[i + j], y[i + j + 2], 0x44);
      x[i + 2 * j + 1].v = _mm256_shuffle_ps(y[i + j], y[i + j + 2], 0xee);
    }
  }
  for (int j = 0; j < 4; ++j) {
    y[j] = _mm256_permute2f128_ps(x[j].v, x[j + 4].v, 0x20);
    y[j + 4] = _mm256_permute2f128_ps(x[j].v, x[j + 4].v, 0x31);
  }
  for (int j = 0; j < 8; ++j) x[j].v = y[j];
#else
  float y[kLanes][kLanes];
  for (int i = 0; i < kLanes; ++i) store(y[i], x[i]);
  float z[kLanes][kLanes];
  for (int i = 0; i < kLanes; ++i) {
    for (int j = 0; j < kLanes; ++j) z[j][i] = y[i][j];
  }
  for (int i = 0; i < kLanes; ++i) x[i] = load(z[i]);
#endif
}

}  // namespace
}  // namespace rdquant::simd
