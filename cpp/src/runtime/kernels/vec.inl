// Vec: kBlock floats. The only place with intrinsics.
#pragma once

#include "runtime/kernels/base.inl"

namespace rdquant::runtime::kernels {
namespace {

#if defined(__AVX512F__)

constexpr Index kBlock = 16;
constexpr __mmask16 kAll = 0xffff;  // the forms without a mask make GCC 12 warn of its own header
struct Vec {
  __m512 v;
};
inline Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void store(float* p, Vec a) { _mm512_storeu_ps(p, a.v); }
inline __mmask16 first_lanes(Index n) { return static_cast<__mmask16>((1u << n) - 1u); }
inline Vec load_some(const float* p, Index n) { return {_mm512_maskz_loadu_ps(first_lanes(n), p)}; }
inline void store_some(float* p, Vec a, Index n) { _mm512_mask_storeu_ps(p, first_lanes(n), a.v); }
inline Vec splat(float x) { return {_mm512_set1_ps(x)}; }
inline Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec min(Vec a, Vec b) {
  return {_mm512_maskz_min_ps(kAll, a.v, b.v)};
}  // b where either is not a number
inline Vec max(Vec a, Vec b) { return {_mm512_maskz_max_ps(kAll, a.v, b.v)}; }
inline Vec abs(Vec a) { return {_mm512_abs_ps(a.v)}; }
inline Vec sqrt(Vec a) { return {_mm512_maskz_sqrt_ps(kAll, a.v)}; }
inline Vec round(Vec a) {
  return {_mm512_maskz_roundscale_ps(kAll, a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline Vec floor(Vec a) {
  return {_mm512_maskz_roundscale_ps(kAll, a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)};
}
inline Vec ceil(Vec a) {
  return {_mm512_maskz_roundscale_ps(kAll, a.v, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC)};
}
// x < 0 ? a : b
inline Vec if_negative(Vec x, Vec a, Vec b) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(x.v, _mm512_setzero_ps(), _CMP_LT_OQ), b.v, a.v)};
}
// a·2^n, n whole
inline Vec scale(Vec a, Vec n) { return {_mm512_maskz_scalef_ps(kAll, a.v, n.v)}; }
// 1/a within 2 ulp, for finite a ≥ 1
inline Vec inverse(Vec a) {
  const Vec r = {_mm512_maskz_rcp14_ps(kAll, a.v)};
  return {_mm512_fmadd_ps(r.v, _mm512_fnmadd_ps(a.v, r.v, _mm512_set1_ps(1.0f)), r.v)};
}
inline __m256 lower(Vec a) { return _mm512_maskz_extractf32x8_ps(0xff, a.v, 0); }
inline __m256 upper(Vec a) { return _mm512_maskz_extractf32x8_ps(0xff, a.v, 1); }
inline float sum(Vec a) {
  const __m256 y = _mm256_add_ps(lower(a), upper(a));
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
inline float greatest(Vec a) {
  const __m256 y = _mm256_max_ps(lower(a), upper(a));
  __m128 x = _mm_max_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}

// Pairs of rows are interleaved, then pairs of pairs, and so on.
inline void transpose(Vec (&x)[kBlock]) {
  __m512 y[kBlock];
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
}

#elif defined(__AVX2__)

constexpr Index kBlock = 8;
struct Vec {
  __m256 v;
};
inline Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
inline void store(float* p, Vec a) { _mm256_storeu_ps(p, a.v); }
inline __m256i first_lanes(Index n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline Vec load_some(const float* p, Index n) { return {_mm256_maskload_ps(p, first_lanes(n))}; }
inline void store_some(float* p, Vec a, Index n) { _mm256_maskstore_ps(p, first_lanes(n), a.v); }
inline Vec splat(float x) { return {_mm256_set1_ps(x)}; }
inline Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
inline Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
inline Vec abs(Vec a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
inline Vec sqrt(Vec a) { return {_mm256_sqrt_ps(a.v)}; }
inline Vec round(Vec a) { return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
inline Vec floor(Vec a) { return {_mm256_floor_ps(a.v)}; }
inline Vec ceil(Vec a) { return {_mm256_ceil_ps(a.v)}; }
inline Vec if_negative(Vec x, Vec a, Vec b) {
  return {_mm256_blendv_ps(b.v, a.v, _mm256_cmp_ps(x.v, _mm256_setzero_ps(), _CMP_LT_OQ))};
}
inline Vec scale(Vec a, Vec n) {
  const __m256i power =
      _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n.v), _mm256_set1_epi32(127)), 23);
  return {_mm256_mul_ps(a.v, _mm256_castsi256_ps(power))};
}
inline Vec inverse(Vec a) { return splat(1.0f) / a; }
inline float sum(Vec a) {
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
inline float greatest(Vec a) {
  __m128 x = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}

inline void transpose(Vec (&x)[kBlock]) {
  __m256 y[kBlock];
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
}

#else

// Two vectors of four in the compiler's own notation: SSE on x86-64, NEON on ARM.
constexpr Index kBlock = 8;
using Quad = float __attribute__((vector_size(16)));
using QuadInt = std::int32_t __attribute__((vector_size(16)));
struct Vec {
  Quad a, b;
};
inline Vec load(const float* p) {
  Vec x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
inline void store(float* p, Vec x) { std::memcpy(p, &x, sizeof x); }
inline Vec load_some(const float* p, Index n) {
  Vec x = {};
  std::memcpy(&x, p, static_cast<std::size_t>(n) * sizeof(float));
  return x;
}
inline void store_some(float* p, Vec x, Index n) {
  std::memcpy(p, &x, static_cast<std::size_t>(n) * sizeof(float));
}
inline Vec splat(float x) { return {Quad{x, x, x, x}, Quad{x, x, x, x}}; }
inline Vec operator+(Vec x, Vec y) { return {x.a + y.a, x.b + y.b}; }
inline Vec operator-(Vec x, Vec y) { return {x.a - y.a, x.b - y.b}; }
inline Vec operator*(Vec x, Vec y) { return {x.a * y.a, x.b * y.b}; }
inline Vec operator/(Vec x, Vec y) { return {x.a / y.a, x.b / y.b}; }
inline Vec fma(Vec x, Vec y, Vec z) { return {x.a * y.a + z.a, x.b * y.b + z.b}; }
inline Vec min(Vec x, Vec y) { return {x.a < y.a ? x.a : y.a, x.b < y.b ? x.b : y.b}; }
inline Vec max(Vec x, Vec y) { return {x.a > y.a ? x.a : y.a, x.b > y.b ? x.b : y.b}; }
inline Vec if_negative(Vec x, Vec y, Vec z) { return {x.a < 0.0f ? y.a : z.a, x.b < 0.0f ? y.b : z.b}; }
template <class F>
inline Vec each(Vec x, F f) {
  for (int i = 0; i < 4; ++i) {
    x.a[i] = f(x.a[i]);
    x.b[i] = f(x.b[i]);
  }
  return x;
}
inline Vec abs(Vec x) {
  return each(x, [](float y) { return __builtin_fabsf(y); });
}
inline Vec sqrt(Vec x) {
  return each(x, [](float y) { return __builtin_sqrtf(y); });
}
// Adding and taking away 1.5·2^23 rounds what is below 2^22 to the nearest whole number.
inline Vec round(Vec x) { return (x + splat(12582912.0f)) - splat(12582912.0f); }
inline Vec floor(Vec x) {
  return each(x, [](float y) { return __builtin_floorf(y); });
}
inline Vec ceil(Vec x) {
  return each(x, [](float y) { return __builtin_ceilf(y); });
}
inline Quad power_of_two(Quad n) {
  return std::bit_cast<Quad>((__builtin_convertvector(n, QuadInt) + 127) << 23);
}
inline Vec scale(Vec x, Vec n) { return {x.a * power_of_two(n.a), x.b * power_of_two(n.b)}; }
inline Vec inverse(Vec x) { return splat(1.0f) / x; }
inline float sum(Vec x) {
  const Quad y = x.a + x.b;
  return (y[0] + y[1]) + (y[2] + y[3]);
}
inline void transpose(Vec (&x)[kBlock]) {
  float y[kBlock][kBlock];
  for (Index i = 0; i < kBlock; ++i) store(y[i], x[i]);
  float z[kBlock][kBlock];
  for (Index i = 0; i < kBlock; ++i) {
    for (Index j = 0; j < kBlock; ++j) z[j][i] = y[i][j];
  }
  for (Index i = 0; i < kBlock; ++i) x[i] = load(z[i]);
}
inline float greatest(Vec x) {
  const Quad y = x.a > x.b ? x.a : x.b;
  const float z = y[0] > y[1] ? y[0] : y[1];
  const float t = y[2] > y[3] ? y[2] : y[3];
  return z > t ? z : t;
}

#endif

}  // namespace
}  // namespace rdquant::runtime::kernels
