// Products of 8-bit integers, four of which are summed for each element of an I32: Taps are int8, Quads uint8, or int8
// on ARM, whose instructions multiply like by like (kSignedQuads).
//
// ARM without dot products multiplies bytes into int16 and adds pairs of these to the sums. On x86 without VNNI instructions products are made of int16: four bytes become two pairs, `even` (the first and the
// third) and `odd`, for 8-bit products summed as int16 would saturate.
#pragma once

#include "simd/int8.inl"

namespace rdquant::simd {
namespace {

constexpr int kTapBytes = 4 * kLanes;  // what load_taps reads
#if defined(__ARM_NEON)
constexpr bool kSignedQuads = true;
#else
constexpr bool kSignedQuads = false;
#endif

#if defined(__AVX512VNNI__)

struct Quads {
  __m512i v;
};
struct Taps {
  __m512i v;
};
/// Four bytes in each of 32 bits.
[[gnu::always_inline]] inline Quads quads(U32 x) { return {(__m512i)x.v}; }
[[gnu::always_inline]] inline Taps load_taps(const std::int8_t* p) { return {_mm512_loadu_si512(p)}; }
[[gnu::always_inline]] inline I32 dot(Quads x, Taps w, I32 sum) {
  return {(Register<std::int32_t, 16>)_mm512_dpbusd_epi32((__m512i)sum.v, x.v, w.v)};
}

#elif defined(__ARM_NEON)

struct Quads {
  int8x16_t v;  // the same four bytes, or, in a vector of separate bytes, those of the first four lanes
  int8x16_t high;
};
struct Taps {
  int8x16_t low, high;
};
/// Four bytes in each of 32 bits.
[[gnu::always_inline]] inline Quads quads(U32 x) {
  return {vreinterpretq_s8_u32(x.low.v), vreinterpretq_s8_u32(x.high.v)};
}
[[gnu::always_inline]] inline Taps load_taps(const std::int8_t* p) { return {vld1q_s8(p), vld1q_s8(p + 16)}; }
[[gnu::always_inline]] inline int32x4_t dot(int8x16_t x, int8x16_t w, int32x4_t sum) {
#if defined(__ARM_FEATURE_DOTPROD)
  return vdotq_s32(sum, x, w);
#else
  // Each half holds two bytes of all four lanes.
  const int16x8_t first = vmull_s8(vget_low_s8(x), vget_low_s8(w));
  return vpadalq_s16(vpadalq_s16(sum, first), vmull_high_s8(x, w));
#endif
}
[[gnu::always_inline]] inline I32 dot(Quads x, Taps w, I32 sum) {
  return {{dot(x.v, w.low, sum.low.v)}, {dot(x.high, w.high, sum.high.v)}};
}

#else

using Shorts = Vector<std::int16_t, 2 * kLanes>;
struct Quads {
  Shorts even, odd;
};
using Taps = Quads;

[[gnu::always_inline]] inline I32 dot(Quads x, Taps w, I32 sum) {
  return sum + add_pairs(x.even, w.even) + add_pairs(x.odd, w.odd);
}

[[gnu::always_inline]] inline Shorts widen(const std::int8_t* p) {
#if defined(__AVX512F__)
  const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {(Register<std::int16_t, 32>)_mm512_maskz_cvtepi8_epi16(0xffffffffu, bytes)};
#elif defined(__AVX2__)
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {(Register<std::int16_t, 16>)_mm256_cvtepi8_epi16(bytes)};
#else
  return {{native::widen(p)}, {native::widen(p + 8)}};
#endif
}
[[gnu::always_inline]] inline Taps load_taps(const std::int8_t* p) {
  return {widen(p), widen(p + 2 * kLanes)};
}

/// Four bytes in each of 32 bits.
[[gnu::always_inline]] inline Quads quads(U32 x) {
  const auto pairs = bits_as<Vector<std::uint16_t, 2 * kLanes>>(x);
  return {bits_as<Shorts>(pairs & 255), bits_as<Shorts>(pairs >> 8)};
}

#endif

/// Four bytes for all lanes; int8 becomes uint8, or uint8 int8, by adding 128.
template <bool IsSigned>
[[gnu::always_inline]] inline Quads broadcast(const std::uint8_t* p) {
#if defined(__ARM_NEON) && !defined(__ARM_FEATURE_DOTPROD)
  std::uint16_t halves[2];
  std::memcpy(halves, p, sizeof halves);
  uint16x8_t all = vcombine_u16(vdup_n_u16(halves[0]), vdup_n_u16(halves[1]));
  if (!IsSigned) all = veorq_u16(all, vdupq_n_u16(0x8080));
  return {vreinterpretq_s8_u16(all), vreinterpretq_s8_u16(all)};
#else
  std::uint32_t bytes;
  std::memcpy(&bytes, p, sizeof bytes);
  const U32 all = splat_as<U32>(bytes);
  return quads(IsSigned != kSignedQuads ? all ^ splat_as<U32>(0x80808080u) : all);
#endif
}

/// Where the weight of byte i of four and of lane `lane` lies among the kTapBytes.
inline std::ptrdiff_t tap_place(std::ptrdiff_t lane, std::ptrdiff_t i) {
#if defined(__AVX512VNNI__) || defined(__ARM_FEATURE_DOTPROD)
  return lane * 4 + i;
#elif defined(__ARM_NEON)
  return lane / 4 * 16 + i / 2 * 8 + lane % 4 * 2 + i % 2;
#else
  return i % 2 * 2 * kLanes + lane * 2 + i / 2;
#endif
}

}  // namespace
}  // namespace rdquant::simd
