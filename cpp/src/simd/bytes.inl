// Vectors of bytes, as many as four vectors of int32 have elements: sums packed into them, parts of them stored, tables
// of 16 bytes. A *part* is 16 bytes of a vector, which shuffles and packing do not leave.
#pragma once

#include "simd/int8.inl"
#if defined(__AVX512VNNI__)
#include "rdquant/core/cpu.hpp"
#endif

namespace rdquant::simd {
namespace {

using Bytes = Vector<std::uint8_t, kWordBytes>;
using PackedShorts = Vector<std::int16_t, 2 * kLanes>;
constexpr int kParts = kWordBytes / 16;

namespace native {

using C16 = Register<std::int8_t, 16>;

// min, max: of unsigned bytes. pack: elements saturated to half their width, those of a in the lower half of each
// part; pack_unsigned: int16 to uint8. add, subtract: saturated. pick: elements of tables of 16 by the low four bits of
// the places in each part, 0 where these are negative.
#if defined(__SSE4_1__)
inline B16 min(B16 a, B16 b) { return (B16)_mm_min_epu8((__m128i)a, (__m128i)b); }
inline B16 max(B16 a, B16 b) { return (B16)_mm_max_epu8((__m128i)a, (__m128i)b); }
inline S8 pack(I4 a, I4 b) { return (S8)_mm_packs_epi32((__m128i)a, (__m128i)b); }
inline B16 pack_unsigned(S8 a, S8 b) { return (B16)_mm_packus_epi16((__m128i)a, (__m128i)b); }
inline S8 add(S8 a, S8 b) { return (S8)_mm_adds_epi16((__m128i)a, (__m128i)b); }
inline B16 subtract(B16 a, B16 b) { return (B16)_mm_subs_epi8((__m128i)a, (__m128i)b); }
inline B16 pick(B16 table, B16 at) { return (B16)_mm_shuffle_epi8((__m128i)table, (__m128i)at); }
#elif defined(__ARM_NEON)
inline B16 min(B16 a, B16 b) { return vminq_u8(a, b); }
inline B16 max(B16 a, B16 b) { return vmaxq_u8(a, b); }
inline S8 pack(I4 a, I4 b) { return vqmovn_high_s32(vqmovn_s32(a), b); }
inline B16 pack_unsigned(S8 a, S8 b) { return vqmovun_high_s16(vqmovun_s16(a), b); }
inline S8 add(S8 a, S8 b) { return vqaddq_s16(a, b); }
inline B16 subtract(B16 a, B16 b) { return (B16)vqsubq_s8((C16)a, (C16)b); }
inline B16 pick(B16 table, B16 at) { return vqtbl1q_u8(table, at & 0x8f); }
#else
inline int saturated(int x, int low, int high) { return x < low ? low : (x > high ? high : x); }
inline B16 min(B16 a, B16 b) { return a < b ? a : b; }
inline B16 max(B16 a, B16 b) { return a > b ? a : b; }
inline S8 pack(I4 a, I4 b) {
  S8 x;
  for (int i = 0; i < 8; ++i)
    x[i] = static_cast<std::int16_t>(saturated(i < 4 ? a[i] : b[i - 4], INT16_MIN, INT16_MAX));
  return x;
}
inline B16 pack_unsigned(S8 a, S8 b) {
  B16 x;
  for (int i = 0; i < 16; ++i) x[i] = static_cast<std::uint8_t>(saturated(i < 8 ? a[i] : b[i - 8], 0, 255));
  return x;
}
inline S8 add(S8 a, S8 b) {
  S8 x;
  for (int i = 0; i < 8; ++i) x[i] = static_cast<std::int16_t>(saturated(a[i] + b[i], INT16_MIN, INT16_MAX));
  return x;
}
inline B16 subtract(B16 a, B16 b) {
  const C16 from = (C16)a, less = (C16)b;
  B16 x;
  for (int i = 0; i < 16; ++i) x[i] = static_cast<std::uint8_t>(saturated(from[i] - less[i], -128, 127));
  return x;
}
inline B16 pick(B16 table, B16 at) {
  B16 x;
  for (int i = 0; i < 16; ++i) x[i] = at[i] < 128 ? table[at[i] & 15] : std::uint8_t{0};
  return x;
}
#endif
#if defined(__AVX2__)
using B32 = Register<std::uint8_t, 32>;
inline B32 min(B32 a, B32 b) { return (B32)_mm256_min_epu8((__m256i)a, (__m256i)b); }
inline B32 max(B32 a, B32 b) { return (B32)_mm256_max_epu8((__m256i)a, (__m256i)b); }
inline S16 pack(I8 a, I8 b) { return (S16)_mm256_packs_epi32((__m256i)a, (__m256i)b); }
inline B32 pack_unsigned(S16 a, S16 b) { return (B32)_mm256_packus_epi16((__m256i)a, (__m256i)b); }
inline S16 add(S16 a, S16 b) { return (S16)_mm256_adds_epi16((__m256i)a, (__m256i)b); }
inline B32 subtract(B32 a, B32 b) { return (B32)_mm256_subs_epi8((__m256i)a, (__m256i)b); }
inline B32 pick(B32 table, B32 at) { return (B32)_mm256_shuffle_epi8((__m256i)table, (__m256i)at); }
#endif
#if defined(__AVX512F__)
using B64 = Register<std::uint8_t, 64>;
inline B64 min(B64 a, B64 b) { return (B64)_mm512_min_epu8((__m512i)a, (__m512i)b); }
inline B64 max(B64 a, B64 b) { return (B64)_mm512_max_epu8((__m512i)a, (__m512i)b); }
inline S32 pack(I16 a, I16 b) { return (S32)_mm512_packs_epi32((__m512i)a, (__m512i)b); }
inline B64 pack_unsigned(S32 a, S32 b) { return (B64)_mm512_packus_epi16((__m512i)a, (__m512i)b); }
inline S32 add(S32 a, S32 b) { return (S32)_mm512_adds_epi16((__m512i)a, (__m512i)b); }
inline B64 subtract(B64 a, B64 b) { return (B64)_mm512_subs_epi8((__m512i)a, (__m512i)b); }
inline B64 pick(B64 table, B64 at) { return (B64)_mm512_shuffle_epi8((__m512i)table, (__m512i)at); }
#endif

}  // namespace native

[[gnu::always_inline]] inline Bytes min(Bytes a, Bytes b) {
#if defined(__AVX2__)
  return {native::min(a.v, b.v)};
#else
  return {{native::min(a.low.v, b.low.v)}, {native::min(a.high.v, b.high.v)}};
#endif
}
[[gnu::always_inline]] inline Bytes max(Bytes a, Bytes b) {
#if defined(__AVX2__)
  return {native::max(a.v, b.v)};
#else
  return {{native::max(a.low.v, b.low.v)}, {native::max(a.high.v, b.high.v)}};
#endif
}
/// Saturated sums.
[[gnu::always_inline]] inline PackedShorts add_saturated(PackedShorts a, PackedShorts b) {
#if defined(__AVX2__)
  return {native::add(a.v, b.v)};
#else
  return {{native::add(a.low.v, b.low.v)}, {native::add(a.high.v, b.high.v)}};
#endif
}
/// Saturated differences of int8.
[[gnu::always_inline]] inline Bytes subtract_saturated(Bytes a, Bytes b) {
#if defined(__AVX2__)
  return {native::subtract(a.v, b.v)};
#else
  return {{native::subtract(a.low.v, b.low.v)}, {native::subtract(a.high.v, b.high.v)}};
#endif
}
/// Bytes of a table of 16 by the low four bits of places, 0 where these are negative.
[[gnu::always_inline]] inline Bytes pick(Bytes table, Bytes at) {
#if defined(__AVX2__)
  return {native::pick(table.v, at.v)};
#else
  return {{native::pick(table.low.v, at.low.v)}, {native::pick(table.high.v, at.high.v)}};
#endif
}
/// 16 bytes, again in every part.
[[gnu::always_inline]] inline Bytes load_part_everywhere(const std::uint8_t* p) {
#if defined(__AVX512F__)
  const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {(native::B64)_mm512_maskz_broadcast_i32x4(native::kAll, x)};
#elif defined(__AVX2__)
  const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {(native::B32)_mm256_broadcastsi128_si256(x)};
#else
  const auto part = load_as<Vector<std::uint8_t, 16>>(p);
  return {part, part};
#endif
}

/// Saturated to int16, part by part: the four elements of a, then those of b.
[[gnu::always_inline]] inline PackedShorts pack(I32 a, I32 b) {
#if defined(__AVX2__)
  return {native::pack(a.v, b.v)};
#else
  return {{native::pack(a.low.v, b.low.v)}, {native::pack(a.high.v, b.high.v)}};
#endif
}
/// Saturated to uint8, part by part.
[[gnu::always_inline]] inline Bytes pack_unsigned(PackedShorts a, PackedShorts b) {
#if defined(__AVX2__)
  return {native::pack_unsigned(a.v, b.v)};
#else
  return {{native::pack_unsigned(a.low.v, b.low.v)}, {native::pack_unsigned(a.high.v, b.high.v)}};
#endif
}
/// What was packed of four vectors as these follow each other: the first four bytes of all parts, then the second …
[[gnu::always_inline]] inline Bytes in_order(Bytes x) {
#if defined(__AVX512F__)
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return {(native::B64)_mm512_maskz_permutexvar_epi32(native::kAll, order, (__m512i)x.v)};
#elif defined(__AVX2__)
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  return {(native::B32)_mm256_permutevar8x32_epi32((__m256i)x.v, order)};
#else
  const auto low = (native::I4)x.low.v, high = (native::I4)x.high.v;
  return {{(native::B16)__builtin_shufflevector(low, high, 0, 4, 1, 5)},
          {(native::B16)__builtin_shufflevector(low, high, 2, 6, 3, 7)}};
#endif
}

/// Bytes Size·At … of a vector, and stores of the first n of them.
template <int Size, int At>
[[gnu::always_inline]] inline Vector<std::uint8_t, Size> piece(Bytes x) {
#if defined(__AVX512F__)
  if constexpr (Size == 64) return x;
  if constexpr (Size == 32) return {(native::B32)_mm512_maskz_extracti64x4_epi64(0xf, (__m512i)x.v, At)};
  if constexpr (Size == 16) return {(native::B16)_mm512_maskz_extracti32x4_epi32(0xf, (__m512i)x.v, At)};
#elif defined(__AVX2__)
  if constexpr (Size == 32) return x;
  if constexpr (Size == 16) {
    if constexpr (At == 0) return {(native::B16)_mm256_castsi256_si128((__m256i)x.v)};
    return {(native::B16)_mm256_extracti128_si256((__m256i)x.v, At)};
  }
  if constexpr (Size == 8) return half<At % 2>(piece<16, At / 2>(x));
#else
  if constexpr (Size == 32) return x;
  if constexpr (Size == 16) return At == 0 ? x.low : x.high;
  if constexpr (Size == 8) return half<At % 2>(At < 2 ? x.low : x.high);
#endif
}

/// The first n bytes, 0 < n ≤ N.
template <int N>
[[gnu::always_inline]] inline void store_some(std::uint8_t* p, Vector<std::uint8_t, N> x, std::ptrdiff_t n) {
#if defined(__AVX512F__)
  if constexpr (N == 64) {
    if (n == 64) return store_as(p, x);
    _mm512_mask_storeu_epi8(p, (__mmask64{1} << n) - 1, (__m512i)x.v);
  } else if constexpr (N == 32) {
    _mm256_mask_storeu_epi8(p, static_cast<__mmask32>((std::uint64_t{1} << n) - 1), (__m256i)x.v);
  } else {
    _mm_mask_storeu_epi8(p, native::first_lanes(n), (__m128i)x.v);
  }
#else
  if (n == N) return store_as(p, x);
  if constexpr (N == 32) {
    if (n == 16) return store_as(p, half<0>(x));
    if (n == 8) return store_as(p, half<0>(half<0>(x)));
  } else if constexpr (N == 16) {
    if (n == 8) return store_as(p, half<0>(x));
  }
  std::uint8_t all[N];
  store_as(all, x);
  std::memcpy(p, all, static_cast<std::size_t>(n));
#endif
}

/// R pieces side by side.
template <int R>
[[gnu::always_inline]] inline Bytes load_pieces(const std::uint8_t* const (&p)[R]) {
  if constexpr (R == 1) {
    return load_as<Bytes>(p[0]);
  } else {
#if defined(__AVX512F__)
    if constexpr (R == 2) {
      const auto a = load_as<Vector<std::uint8_t, 32>>(p[0]), b = load_as<Vector<std::uint8_t, 32>>(p[1]);
      return {
          (native::B64)_mm512_maskz_inserti64x4(0xff, _mm512_castsi256_si512((__m256i)a.v), (__m256i)b.v, 1)};
    } else {
      const auto part = [&](int i) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p[i])); };
      const __m512i two = _mm512_maskz_inserti32x4(native::kAll, _mm512_castsi128_si512(part(0)), part(1), 1);
      const __m512i three = _mm512_maskz_inserti32x4(native::kAll, two, part(2), 2);
      return {(native::B64)_mm512_maskz_inserti32x4(native::kAll, three, part(3), 3)};
    }
#else
    const auto a = load_as<Vector<std::uint8_t, 16>>(p[0]), b = load_as<Vector<std::uint8_t, 16>>(p[1]);
#if defined(__AVX2__)
    return {(native::B32)_mm256_inserti128_si256(_mm256_castsi128_si256((__m128i)a.v), (__m128i)b.v, 1)};
#else
    return {a, b};
#endif
#endif
  }
}

/// Int32 whose four elements from 4·j on lie at p + j·kLanes.
[[gnu::always_inline]] inline I32 load_quads(const std::int32_t* p) {
  const auto* const bytes = reinterpret_cast<const std::uint8_t*>(p);
  constexpr int kStep = 4 * kLanes;
  if constexpr (kParts == 4) {
    const std::uint8_t* const parts[] = {bytes, bytes + kStep, bytes + 2 * kStep, bytes + 3 * kStep};
    return bits_as<I32>(load_pieces(parts));
  } else {
    const std::uint8_t* const parts[] = {bytes, bytes + kStep};
    return bits_as<I32>(load_pieces(parts));
  }
}

/// Elements of a and b in turn, in each part the lower (0) or upper (1) halves of theirs.
template <int Which, class T, int N>
[[gnu::always_inline]] inline Vector<T, N> interleaved_parts(Vector<T, N> a, Vector<T, N> b) {
  constexpr int kCount = 16 / static_cast<int>(sizeof(T));
  if constexpr (kFits<T, N>) {
    return [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
      return Vector<T, N>{__builtin_shufflevector(
          a.v, b.v, (I / kCount * kCount + Which * kCount / 2 + I % kCount / 2 + I % 2 * N)...)};
    }(std::make_integer_sequence<int, N>{});
  } else {
    return {interleaved_parts<Which>(a.low, b.low), interleaved_parts<Which>(a.high, b.high)};
  }
}
/// Words of one byte of each of four vectors, part by part: the first four bytes of parts, the second …
[[gnu::always_inline]] inline void interleave(Bytes a, Bytes b, Bytes c, Bytes d, U32 (&out)[4]) {
  using Pairs = Vector<std::uint16_t, 2 * kLanes>;
  const auto ab0 = bits_as<Pairs>(interleaved_parts<0>(a, b)),
             ab1 = bits_as<Pairs>(interleaved_parts<1>(a, b));
  const auto cd0 = bits_as<Pairs>(interleaved_parts<0>(c, d)),
             cd1 = bits_as<Pairs>(interleaved_parts<1>(c, d));
  out[0] = bits_as<U32>(interleaved_parts<0>(ab0, cd0));
  out[1] = bits_as<U32>(interleaved_parts<1>(ab0, cd0));
  out[2] = bits_as<U32>(interleaved_parts<0>(ab1, cd1));
  out[3] = bits_as<U32>(interleaved_parts<1>(ab1, cd1));
}

#if defined(__AVX512VNNI__)
namespace native {
// Of 128 entries by seven bits of an index. In assembler, for most processors with VNNI instructions have VBMI ones
// too, but not all: they are asked about at run time.
inline __m512i permute(const std::uint8_t* entries, __m512i index) {
  asm("vpermi2b %2, %1, %0"
      : "+v"(index)
      : "v"(_mm512_loadu_si512(entries)), "v"(_mm512_loadu_si512(entries + 64)));
  return index;
}
}  // namespace native
/// Whether the processor has what `lookup` needs.
inline bool looks_up() { return core::has(core::Feature::vbmi); }
/// Bytes of a table of 256.
[[gnu::always_inline]] inline Bytes lookup(const std::uint8_t* table, Bytes at) {
  const auto index = (__m512i)at.v;
  return {(native::B64)_mm512_mask_blend_epi8(_mm512_movepi8_mask(index), native::permute(table, index),
                                              native::permute(table + 128, index))};
}
#elif defined(__ARM_NEON)
/// Bytes of a table of 256, which fills 16 registers.
struct ByteTable {
  explicit ByteTable(const std::uint8_t* p)
      : quarters{vld1q_u8_x4(p), vld1q_u8_x4(p + 64), vld1q_u8_x4(p + 128), vld1q_u8_x4(p + 192)} {}
  [[nodiscard, gnu::always_inline]] uint8x16_t operator[](uint8x16_t at) const {
    const uint8x16_t step = vdupq_n_u8(64);
    uint8x16_t x = vqtbl4q_u8(quarters[0], at);  // 0 where it is beyond, and left alone in what follows
    at = vsubq_u8(at, step);
    x = vqtbx4q_u8(x, quarters[1], at);
    at = vsubq_u8(at, step);
    x = vqtbx4q_u8(x, quarters[2], at);
    return vqtbx4q_u8(x, quarters[3], vsubq_u8(at, step));
  }
  [[gnu::always_inline]] void translate(const std::uint8_t* src, std::uint8_t* dst) const {
    vst1q_u8(dst, (*this)[vld1q_u8(src)]);
  }
  uint8x16x4_t quarters[4];
};
inline bool looks_up() { return true; }
[[gnu::always_inline]] inline Bytes lookup(const std::uint8_t* table, Bytes at) {
  const ByteTable entries(table);
  return {{entries[at.low.v]}, {entries[at.high.v]}};
}
#endif

}  // namespace
}  // namespace rdquant::simd
