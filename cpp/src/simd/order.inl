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
  struct {
    native::B16 low, high;
  } const halves = {native::shuffle(native::load_16(p), native::load_16(native::kSpreadOfFour.at[low])),
                    native::shuffle(native::load_16(p + __builtin_popcount(low)),
                                    native::load_16(native::kSpreadOfFour.at[high]))};
  return bits_as<I32>(halves);
#endif
}

/// The low halves of the elements of `where`, one after the other; what follows them is not said.
[[gnu::always_inline]] inline Vector<std::int16_t, kLanes> together(I32 a, Mask where) {
#if defined(__AVX512F__)
  const __m512i some = _mm512_maskz_compress_epi32(where.bits, (__m512i)a.v);
  return {(Register<std::int16_t, 16>)_mm512_maskz_cvtepi32_epi16(native::kAll, some)};
#else
  const auto halves = bits_as<native::B16>(convert<std::int16_t>(a));
  return bits_as<Vector<std::int16_t, 8>>(
      native::shuffle(halves, native::load_16(native::kTogetherOfEight.at[bits(where)])));
#endif
}

}  // namespace
}  // namespace rdquant::simd
