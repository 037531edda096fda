// Elements of a mask pushed together, and spread out again.
#pragma once

#include "simd/int32.inl"

namespace rdquant::simd {
namespace {
namespace native {

#if !defined(__AVX512F__)

/// For every set of the first kCount elements, where in the register each byte of the result comes from. Spread: of
/// element i, as many elements on as there are of the set before it. Together: of result i, the i-th of the set.
template <int kCount, bool kSpread>
struct Order {
  std::uint8_t at[1 << kCount][16];
};
template <int kCount, bool kSpread>
constexpr Order<kCount, kSpread> make_order() {
  constexpr int kBytes = 16 / kCount;
  Order<kCount, kSpread> order{};
  for (int set = 0; set < 1 << kCount; ++set) {
    for (int i = 0, next = 0; i < kCount; ++i) {
      const int to = kSpread ? i : next, from = kSpread ? next : i;
      for (int b = 0; b < kBytes && (kSpread || (set >> i & 1) != 0); ++b) {
        order.at[set][to * kBytes + b] = static_cast<std::uint8_t>(from * kBytes + b);
      }
      next += set >> i & 1;
    }
  }
  return order;
}
alignas(64) constexpr auto kSpreadOfEight = make_order<8, true>();
alignas(64) constexpr auto kSpreadOfFour = make_order<4, true>();
alignas(64) constexpr auto kTogetherOfEight = make_order<8, false>();

[[gnu::always_inline]] inline B16 load_16(const void* p) {
  B16 x;
  std::memcpy(&x, p, sizeof x);
  return x;
}

/// The low halves of all elements.
[[gnu::always_inline]] inline B16 low_halves(I32 a) {
#if defined(__SSE4_1__) && !defined(__AVX2__)
  const __m128i ones = _mm_set1_epi32(0xffff);
  return (B16)_mm_packus_epi32(_mm_and_si128((__m128i)a.low.v, ones), _mm_and_si128((__m128i)a.high.v, ones));
#elif defined(__ARM_NEON)
  return (B16)vuzp1q_s16((S8)a.low.v, (S8)a.high.v);
#else
  return bits_as<B16>(convert<std::int16_t>(a));
#endif
}

#endif

}  // namespace native

/// The elements of `where` take the next of the unsigned 16-bit words at p, kLanes of which are read; what the others
/// get is not said.
[[gnu::always_inline]] inline I32 spread_words(const std::uint8_t* p, Mask where) {
#if defined(__AVX512F__)
  const __m256i next = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {
      (native::I16)_mm512_maskz_expand_epi32(where.bits, _mm512_maskz_cvtepu16_epi32(native::kAll, next))};
#else
  const native::B16 words =
      native::shuffle(native::load_16(p), native::load_16(native::kSpreadOfEight.at[bits(where)]));
#if defined(__AVX2__)
  return {(native::I8)_mm256_cvtepu16_epi32((__m128i)words)};
#else
  return convert<std::int32_t>(bits_as<Vector<std::uint16_t, 8>>(words));
#endif
#endif
}

/// The same of the int32 at p.
[[gnu::always_inline]] inline I32 spread(const std::int32_t* p, Mask where) {
#if defined(__AVX512F__)
  return {(native::I16)_mm512_maskz_expand_epi32(where.bits, _mm512_loadu_si512(p))};
#else
  const std::uint32_t low = bits(where) & 15, high = bits(where) >> 4;
  const native::B16 first =
      native::shuffle(native::load_16(p), native::load_16(native::kSpreadOfFour.at[low]));
  const native::B16 last = native::shuffle(native::load_16(p + __builtin_popcount(low)),
                                           native::load_16(native::kSpreadOfFour.at[high]));
#if defined(__AVX2__)
  return {(native::I8)_mm256_set_m128i((__m128i)last, (__m128i)first)};
#else
  return {{(native::I4)first}, {(native::I4)last}};
#endif
#endif
}

/// The low halves of the elements of `where`, one after the other; what follows them is not said.
[[gnu::always_inline]] inline Vector<std::int16_t, kLanes> together(I32 a, Mask where) {
#if defined(__AVX512F__)
  const __m512i some = _mm512_maskz_compress_epi32(where.bits, (__m512i)a.v);
  return {(Register<std::int16_t, 16>)_mm512_maskz_cvtepi32_epi16(native::kAll, some)};
#else
  const native::B16 order = native::load_16(native::kTogetherOfEight.at[bits(where)]);
  return bits_as<Vector<std::int16_t, 8>>(native::shuffle(native::low_halves(a), order));
#endif
}

}  // namespace
}  // namespace rdquant::simd
