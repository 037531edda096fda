// What the compiler's notation does not say, or says badly, for one register of floats or of int32: the only place
// that knows the instruction sets by name. Wider sets have the narrower ones' functions too.
#pragma once

#include "simd/vector.inl"

namespace rdquant::simd {
namespace {
namespace native {

using I4 = Register<std::int32_t, 4>;
using S8 = Register<std::int16_t, 8>;

// min and max: b where either is not a number, and where both are 0.
// nearest: ties to even; the least int32 for what is too small, on x86 also for what is too large, and for what
// is not a number.

#if defined(__SSE4_1__)

inline __m128 fma(__m128 a, __m128 b, __m128 c) {
#if defined(__FMA__)
  return _mm_fmadd_ps(a, b, c);
#else
  return _mm_add_ps(_mm_mul_ps(a, b), c);
#endif
}
inline __m128 min(__m128 a, __m128 b) { return _mm_min_ps(a, b); }
inline __m128 max(__m128 a, __m128 b) { return _mm_max_ps(a, b); }
inline __m128 abs(__m128 a) { return _mm_andnot_ps(_mm_set1_ps(-0.0f), a); }
inline __m128 sqrt(__m128 a) { return _mm_sqrt_ps(a); }
inline __m128 round(__m128 a) { return _mm_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline __m128 floor(__m128 a) { return _mm_floor_ps(a); }
inline __m128 ceil(__m128 a) { return _mm_ceil_ps(a); }
inline I4 min(I4 a, I4 b) { return (I4)_mm_min_epi32((__m128i)a, (__m128i)b); }
inline I4 max(I4 a, I4 b) { return (I4)_mm_max_epi32((__m128i)a, (__m128i)b); }
inline I4 nearest(__m128 a) { return (I4)_mm_cvtps_epi32(a); }
inline bool any(I4 condition) { return _mm_movemask_epi8((__m128i)condition) != 0; }
// Bit i: element i of a condition.
inline std::uint32_t bits(I4 low, I4 high) {
  const __m128i halves = _mm_packs_epi32((__m128i)low, (__m128i)high);
  return static_cast<std::uint32_t>(_mm_movemask_epi8(_mm_packs_epi16(halves, _mm_setzero_si128())));
}
inline I4 select(I4 condition, I4 a, I4 b) {
  return (I4)_mm_blendv_epi8((__m128i)b, (__m128i)a, (__m128i)condition);
}
inline __m128 select(I4 condition, __m128 a, __m128 b) { return _mm_blendv_ps(b, a, (__m128)condition); }
inline I4 reaches_unsigned(I4 a, I4 b) {
  return (I4)_mm_cmpeq_epi32(_mm_max_epu32((__m128i)a, (__m128i)b), (__m128i)a);
}
inline __m128 about_inverse(__m128 a) { return _mm_rcp_ps(a); }
// Products of numbers below 2^16.
inline I4 mul_halves(I4 a, I4 b) {
  const __m128i low = _mm_mullo_epi16((__m128i)a, (__m128i)b), high = _mm_mulhi_epu16((__m128i)a, (__m128i)b);
  return (I4)_mm_or_si128(low, _mm_slli_epi32(high, 16));
}
inline I4 shift_left_by(I4 a, I4 n) {
#if defined(__AVX2__)
  return (I4)_mm_sllv_epi32((__m128i)a, (__m128i)n);
#else  // 2^n by way of floats
  const __m128i power =
      _mm_cvttps_epi32((__m128)_mm_slli_epi32(_mm_add_epi32((__m128i)n, _mm_set1_epi32(127)), 23));
  return (I4)_mm_mullo_epi32((__m128i)a, power);
#endif
}
inline I4 load_shorts(const std::int16_t* p) {
  return (I4)_mm_cvtepi16_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
using B16 = Register<std::uint8_t, 16>;
// Bytes of a register by the low four bits of places below 128.
inline B16 shuffle(B16 a, B16 at) { return (B16)_mm_shuffle_epi8((__m128i)a, (__m128i)at); }

// a[2i]·b[2i] + a[2i + 1]·b[2i + 1]
inline I4 add_pairs(S8 a, S8 b) { return (I4)_mm_madd_epi16((__m128i)a, (__m128i)b); }
inline S8 widen(const std::int8_t* p) {
  return (S8)_mm_cvtepi8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}

#elif defined(__ARM_NEON)

inline float32x4_t fma(float32x4_t a, float32x4_t b, float32x4_t c) { return vfmaq_f32(c, a, b); }
inline float32x4_t min(float32x4_t a, float32x4_t b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
inline float32x4_t max(float32x4_t a, float32x4_t b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
inline float32x4_t abs(float32x4_t a) { return vabsq_f32(a); }
inline float32x4_t sqrt(float32x4_t a) { return vsqrtq_f32(a); }
inline float32x4_t round(float32x4_t a) { return vrndnq_f32(a); }
inline float32x4_t floor(float32x4_t a) { return vrndmq_f32(a); }
inline float32x4_t ceil(float32x4_t a) { return vrndpq_f32(a); }
inline I4 min(I4 a, I4 b) { return vminq_s32(a, b); }
inline I4 max(I4 a, I4 b) { return vmaxq_s32(a, b); }
inline I4 nearest(float32x4_t a) {
  return vbslq_s32(vceqq_f32(a, a), vcvtnq_s32_f32(a), vdupq_n_s32(INT32_MIN));
}
inline bool any(I4 condition) { return vmaxvq_u32(vreinterpretq_u32_s32(condition)) != 0; }
inline std::uint32_t bits(I4 low, I4 high) {
  constexpr I4 kLow = {1, 2, 4, 8}, kHigh = {16, 32, 64, 128};
  return static_cast<std::uint32_t>(vaddvq_s32((low & kLow) | (high & kHigh)));
}
inline I4 select(I4 condition, I4 a, I4 b) { return vbslq_s32(vreinterpretq_u32_s32(condition), a, b); }
inline float32x4_t select(I4 condition, float32x4_t a, float32x4_t b) {
  return vbslq_f32(vreinterpretq_u32_s32(condition), a, b);
}
inline I4 reaches_unsigned(I4 a, I4 b) {
  return vreinterpretq_s32_u32(vcgeq_u32(vreinterpretq_u32_s32(a), vreinterpretq_u32_s32(b)));
}
inline float32x4_t about_inverse(float32x4_t a) {
  const float32x4_t r = vrecpeq_f32(a);
  return vmulq_f32(r, vrecpsq_f32(a, r));
}
inline I4 mul_halves(I4 a, I4 b) { return vmulq_s32(a, b); }
inline I4 shift_left_by(I4 a, I4 n) { return vshlq_s32(a, n); }
inline I4 load_shorts(const std::int16_t* p) { return vmovl_s16(vld1_s16(p)); }
using B16 = Register<std::uint8_t, 16>;
inline B16 shuffle(B16 a, B16 at) { return vqtbl1q_u8(a, at); }
inline I4 add_pairs(S8 a, S8 b) {
  return vpaddq_s32(vmull_s16(vget_low_s16(a), vget_low_s16(b)), vmull_high_s16(a, b));
}
inline S8 widen(const std::int8_t* p) { return vmovl_s8(vld1_s8(p)); }

#else

using Floats = Register<float, 4>;
template <class F>
inline Floats one_by_one(Floats a, F f) {
  return Floats{f(a[0]), f(a[1]), f(a[2]), f(a[3])};
}
inline Floats fma(Floats a, Floats b, Floats c) { return a * b + c; }
inline Floats min(Floats a, Floats b) { return a < b ? a : b; }
inline Floats max(Floats a, Floats b) { return a > b ? a : b; }
inline Floats abs(Floats a) {
  return one_by_one(a, [](float x) { return __builtin_fabsf(x); });
}
inline Floats sqrt(Floats a) {
  return one_by_one(a, [](float x) { return __builtin_sqrtf(x); });
}
inline Floats round(Floats a) {
  return one_by_one(a, [](float x) { return __builtin_rintf(x); });
}
inline Floats floor(Floats a) {
  return one_by_one(a, [](float x) { return __builtin_floorf(x); });
}
inline Floats ceil(Floats a) {
  return one_by_one(a, [](float x) { return __builtin_ceilf(x); });
}
inline I4 min(I4 a, I4 b) { return a < b ? a : b; }
inline I4 max(I4 a, I4 b) { return a > b ? a : b; }
inline I4 nearest(Floats a) {
  const I4 inside = (a > -2147483648.0f) & (a < 2147483648.0f);
  const I4 whole = __builtin_convertvector(round(inside ? a : Floats{}), I4);
  return inside ? whole : I4{} + INT32_MIN;
}
inline I4 add_pairs(S8 a, S8 b) {
  I4 sums;
  for (int i = 0; i < 4; ++i) sums[i] = a[2 * i] * b[2 * i] + a[2 * i + 1] * b[2 * i + 1];
  return sums;
}
inline S8 widen(const std::int8_t* p) {
  S8 x;
  for (int i = 0; i < 8; ++i) x[i] = p[i];
  return x;
}
inline bool any(I4 condition) { return (condition[0] | condition[1] | condition[2] | condition[3]) != 0; }
inline std::uint32_t bits(I4 low, I4 high) {
  const I4 all = (low & I4{1, 2, 4, 8}) | (high & I4{16, 32, 64, 128});
  return static_cast<std::uint32_t>(all[0] | all[1] | all[2] | all[3]);
}
inline I4 select(I4 condition, I4 a, I4 b) { return condition ? a : b; }
inline Floats select(I4 condition, Floats a, Floats b) { return condition ? a : b; }
inline I4 reaches_unsigned(I4 a, I4 b) {
  using U4 = Register<std::uint32_t, 4>;
  return (I4)((U4)a >= (U4)b);
}
inline Floats about_inverse(Floats a) { return 1.0F / a; }
inline I4 mul_halves(I4 a, I4 b) { return a * b; }
inline I4 shift_left_by(I4 a, I4 n) { return a << n; }
inline I4 load_shorts(const std::int16_t* p) { return I4{p[0], p[1], p[2], p[3]}; }
using B16 = Register<std::uint8_t, 16>;
inline B16 shuffle(B16 a, B16 at) {
  B16 found;
  for (int i = 0; i < 16; ++i) found[i] = a[at[i] & 15];
  return found;
}

#endif

#if defined(__AVX2__)

using I8 = Register<std::int32_t, 8>;
inline __m256 fma(__m256 a, __m256 b, __m256 c) { return _mm256_fmadd_ps(a, b, c); }
inline __m256 min(__m256 a, __m256 b) { return _mm256_min_ps(a, b); }
inline __m256 max(__m256 a, __m256 b) { return _mm256_max_ps(a, b); }
inline __m256 abs(__m256 a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
inline __m256 sqrt(__m256 a) { return _mm256_sqrt_ps(a); }
inline __m256 round(__m256 a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline __m256 floor(__m256 a) { return _mm256_floor_ps(a); }
inline __m256 ceil(__m256 a) { return _mm256_ceil_ps(a); }
inline I8 min(I8 a, I8 b) { return (I8)_mm256_min_epi32((__m256i)a, (__m256i)b); }
inline I8 max(I8 a, I8 b) { return (I8)_mm256_max_epi32((__m256i)a, (__m256i)b); }
inline I8 nearest(__m256 a) { return (I8)_mm256_cvtps_epi32(a); }
inline bool any(I8 condition) { return _mm256_movemask_epi8((__m256i)condition) != 0; }
inline std::uint32_t bits(I8 condition) {
  return static_cast<std::uint32_t>(_mm256_movemask_ps((__m256)condition));
}
inline I8 select(I8 condition, I8 a, I8 b) {
  return (I8)_mm256_blendv_epi8((__m256i)b, (__m256i)a, (__m256i)condition);
}
inline __m256 select(I8 condition, __m256 a, __m256 b) { return _mm256_blendv_ps(b, a, (__m256)condition); }
inline I8 reaches_unsigned(I8 a, I8 b) {
  return (I8)_mm256_cmpeq_epi32(_mm256_min_epu32((__m256i)a, (__m256i)b), (__m256i)b);
}
inline __m256 about_inverse(__m256 a) { return _mm256_rcp_ps(a); }
inline I8 mul_halves(I8 a, I8 b) {
  const __m256i low = _mm256_mullo_epi16((__m256i)a, (__m256i)b),
                high = _mm256_mulhi_epu16((__m256i)a, (__m256i)b);
  return (I8)_mm256_or_si256(low, _mm256_slli_epi32(high, 16));
}
inline I8 shift_left_by(I8 a, I8 n) { return (I8)_mm256_sllv_epi32((__m256i)a, (__m256i)n); }
using S16 = Register<std::int16_t, 16>;
inline I8 add_pairs(S16 a, S16 b) { return (I8)_mm256_madd_epi16((__m256i)a, (__m256i)b); }

#endif

#if defined(__AVX512F__)

using I16 = Register<std::int32_t, 16>;
constexpr __mmask16 kAll = 0xffff;  // the forms without a mask make GCC 12 warn of its own header
inline __m512 fma(__m512 a, __m512 b, __m512 c) { return _mm512_fmadd_ps(a, b, c); }
inline __m512 min(__m512 a, __m512 b) { return _mm512_maskz_min_ps(kAll, a, b); }
inline __m512 max(__m512 a, __m512 b) { return _mm512_maskz_max_ps(kAll, a, b); }
inline __m512 abs(__m512 a) { return _mm512_abs_ps(a); }
inline __m512 sqrt(__m512 a) { return _mm512_maskz_sqrt_ps(kAll, a); }
inline __m512 round(__m512 a) {
  return _mm512_maskz_roundscale_ps(kAll, a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline __m512 floor(__m512 a) {
  return _mm512_maskz_roundscale_ps(kAll, a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}
inline __m512 ceil(__m512 a) {
  return _mm512_maskz_roundscale_ps(kAll, a, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC);
}
inline I16 min(I16 a, I16 b) { return (I16)_mm512_maskz_min_epi32(kAll, (__m512i)a, (__m512i)b); }
inline I16 max(I16 a, I16 b) { return (I16)_mm512_maskz_max_epi32(kAll, (__m512i)a, (__m512i)b); }
inline I16 nearest(__m512 a) { return (I16)_mm512_maskz_cvtps_epi32(kAll, a); }
inline bool any(I16 condition) { return _mm512_test_epi32_mask((__m512i)condition, (__m512i)condition) != 0; }

inline __m512 about_inverse(__m512 a) { return _mm512_maskz_rcp14_ps(kAll, a); }
inline I16 mul_halves(I16 a, I16 b) {
  const __m512i low = _mm512_mullo_epi16((__m512i)a, (__m512i)b),
                high = _mm512_mulhi_epu16((__m512i)a, (__m512i)b);
  return (I16)_mm512_or_si512(low, _mm512_maskz_slli_epi32(kAll, high, 16));
}
inline I16 shift_left_by(I16 a, I16 n) { return (I16)_mm512_maskz_sllv_epi32(kAll, (__m512i)a, (__m512i)n); }
using S32 = Register<std::int16_t, 32>;
inline I16 add_pairs(S32 a, S32 b) { return (I16)_mm512_madd_epi16((__m512i)a, (__m512i)b); }

inline __mmask16 first_lanes(std::ptrdiff_t n) { return static_cast<__mmask16>((1u << n) - 1u); }

#elif defined(__AVX2__)

inline __m256i first_lanes(std::ptrdiff_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

#endif

}  // namespace native
}  // namespace
}  // namespace rdquant::simd
