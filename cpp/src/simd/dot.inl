// Products of 8-bit integers, four of which are summed for each element of an I32: Quads are uint8, Taps int8.
//
// Without VNNI instructions products are made of int16: four bytes become two pairs, `even` (the first and the
// third) and `odd`, for 8-bit products summed as int16 would saturate.
#pragma once

#include "simd/int8.inl"

namespace rdquant::simd {
namespace {

constexpr int kTapBytes = 4 * kLanes;  // what load_taps reads

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

/// Four bytes for all lanes; int8 becomes uint8 by adding 128.
template <bool IsSigned>
[[gnu::always_inline]] inline Quads broadcast(const std::uint8_t* p) {
  std::uint32_t bytes;
  std::memcpy(&bytes, p, sizeof bytes);
  const U32 all = splat_as<U32>(bytes);
  return quads(IsSigned ? all ^ splat_as<U32>(0x80808080u) : all);
}

/// Where the weight of byte i of four and of lane `lane` lies among the kTapBytes.
inline std::ptrdiff_t tap_place(std::ptrdiff_t lane, std::ptrdiff_t i) {
#if defined(__AVX512VNNI__)
  return lane * 4 + i;
#else
  return i % 2 * 2 * kLanes + lane * 2 + i / 2;
#endif
}

}  // namespace
}  // namespace rdquant::simd
