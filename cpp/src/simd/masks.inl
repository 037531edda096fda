// F32 and I32, the vectors of most kernels, and masks: which of their elements meet a condition, in what the
// instruction set has for that. Operators (vector.inl) give conditions as vectors, with which one can compute; a mask
// only chooses.
#pragma once

#include "simd/registers.inl"

namespace rdquant::simd {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#else
constexpr int kLanes = 8;
#endif

using F32 = Vector<float, kLanes>;
using I32 = Vector<std::int32_t, kLanes>;
using U32 = Vector<std::uint32_t, kLanes>;

#if defined(__AVX512F__)

struct Mask {
  __mmask16 bits;
};
[[gnu::always_inline]] inline Mask operator&(Mask a, Mask b) {
  return {static_cast<__mmask16>(a.bits & b.bits)};
}
[[gnu::always_inline]] inline Mask operator|(Mask a, Mask b) {
  return {static_cast<__mmask16>(a.bits | b.bits)};
}

// reaches_unsigned: a ≥ b; not_zero: of bits, none of which is set; unordered: a or b is not a number;
// add_where: a + b where m, else a.
[[gnu::always_inline]] inline Mask less(I32 a, I32 b) {
  return {_mm512_cmplt_epi32_mask((__m512i)a.v, (__m512i)b.v)};
}
[[gnu::always_inline]] inline Mask less_unsigned(I32 a, I32 b) {
  return {_mm512_cmplt_epu32_mask((__m512i)a.v, (__m512i)b.v)};
}
[[gnu::always_inline]] inline Mask reaches_unsigned(I32 a, I32 b) {
  return {_mm512_cmpge_epu32_mask((__m512i)a.v, (__m512i)b.v)};
}
[[gnu::always_inline]] inline Mask not_zero(I32 a) {
  return {_mm512_test_epi32_mask((__m512i)a.v, (__m512i)a.v)};
}
[[gnu::always_inline]] inline Mask unordered(F32 a, F32 b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_UNORD_Q)};
}
[[gnu::always_inline]] inline Mask mask_of_first(std::size_t n) {
  return {static_cast<__mmask16>(n >= kLanes ? 0xffff : (1U << n) - 1)};
}
[[gnu::always_inline]] inline std::uint32_t bits(Mask m) { return m.bits; }
[[gnu::always_inline]] inline I32 select(Mask m, I32 a, I32 b) {
  return {(native::I16)_mm512_mask_blend_epi32(m.bits, (__m512i)b.v, (__m512i)a.v)};
}
[[gnu::always_inline]] inline F32 select(Mask m, F32 a, F32 b) {
  return {_mm512_mask_blend_ps(m.bits, b.v, a.v)};
}
[[gnu::always_inline]] inline I32 add_where(Mask m, I32 a, I32 b) {
  return {(native::I16)_mm512_mask_add_epi32((__m512i)a.v, m.bits, (__m512i)a.v, (__m512i)b.v)};
}
[[gnu::always_inline]] inline bool any(Mask m) { return m.bits != 0; }

#else

/// −1 or 0 each.
struct Mask {
  I32 all;
};
[[gnu::always_inline]] inline Mask operator&(Mask a, Mask b) { return {a.all & b.all}; }
[[gnu::always_inline]] inline Mask operator|(Mask a, Mask b) { return {a.all | b.all}; }

[[gnu::always_inline]] inline Mask less(I32 a, I32 b) { return {a < b}; }
[[gnu::always_inline]] inline Mask less_unsigned(I32 a, I32 b) { return {bits_as<U32>(a) < bits_as<U32>(b)}; }
[[gnu::always_inline]] inline Mask reaches_unsigned(I32 a, I32 b) {
  return {each(a, b,
               [](auto x, auto y) __attribute__((always_inline)) { return native::reaches_unsigned(x, y); })};
}
[[gnu::always_inline]] inline Mask not_zero(I32 a) { return {~(a == I32{})}; }
[[gnu::always_inline]] inline Mask unordered(F32 a, F32 b) {
#if defined(__AVX2__)
  return {{(native::I8)_mm256_cmp_ps(a.v, b.v, _CMP_UNORD_Q)}};
#else
  return {~((a == a) & (b == b))};
#endif
}
[[gnu::always_inline]] inline Mask mask_of_first(std::size_t n) {
  constexpr std::int32_t kCount[kLanes] = {0, 1, 2, 3, 4, 5, 6, 7};
  return less(load_as<I32>(kCount), splat_as<I32>(static_cast<std::int32_t>(n)));
}
[[gnu::always_inline]] inline std::uint32_t bits(Mask m) {
#if defined(__AVX2__)
  return native::bits(m.all.v);
#else
  return native::bits(m.all.low.v, m.all.high.v);
#endif
}
template <class V>
[[gnu::always_inline]] inline V select(Mask m, V a, V b) {
#if defined(__AVX2__)
  return {native::select(m.all.v, a.v, b.v)};
#else
  return {{native::select(m.all.low.v, a.low.v, b.low.v)},
          {native::select(m.all.high.v, a.high.v, b.high.v)}};
#endif
}
[[gnu::always_inline]] inline I32 add_where(Mask m, I32 a, I32 b) { return a + (m.all & b); }
[[gnu::always_inline]] inline bool any(Mask m) {
#if defined(__AVX2__)
  return native::bits(m.all.v) != 0;
#else
  return native::any(m.all.low.v | m.all.high.v);
#endif
}

#endif

[[gnu::always_inline]] inline Mask& operator|=(Mask& a, Mask b) { return a = a | b; }

}  // namespace
}  // namespace rdquant::simd
