// Bytes: many channels of a pixel, and their interleaving with those of other pixels. With AVX2 or AVX-512
// only.
#pragma once

#include "runtime/kernels/int8/convolution/pack.inl"

namespace rdquant::runtime::kernels {
namespace {

#if defined(__AVX512F__)

constexpr Index kLanes = 4;  // of 16 bytes

// Bytes of many channels of one pixel, or of fewer channels of R rows' pixels.
struct Bytes {
  __m512i v;
};
inline Quads quads(__m512i x) { return simd::quads({(simd::Register<std::uint32_t, kBlock>)x}); }
template <int R>
[[gnu::always_inline]] inline Bytes load_rows(const std::uint8_t* const (&p)[R]) {
  const auto quarter = [](const std::uint8_t* from) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  };
  const auto half = [](const std::uint8_t* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  };
  if constexpr (R == 1) {
    return {_mm512_loadu_si512(p[0])};
  } else if constexpr (R == 2) {
    return {_mm512_maskz_inserti64x4(0xff, _mm512_castsi256_si512(half(p[0])), half(p[1]), 1)};
  } else {
    const __m512i two =
        _mm512_maskz_inserti32x4(simd::native::kAll, _mm512_castsi128_si512(quarter(p[0])), quarter(p[1]), 1);
    const __m512i three = _mm512_maskz_inserti32x4(simd::native::kAll, two, quarter(p[2]), 2);
    return {_mm512_maskz_inserti32x4(simd::native::kAll, three, quarter(p[3]), 3)};
  }
}
// int8 to uint8
inline Bytes flip(Bytes x) { return {_mm512_xor_si512(x.v, _mm512_set1_epi8(-128))}; }
inline Bytes no_bytes() { return {_mm512_setzero_si512()}; }
[[gnu::always_inline]] inline void interleave(Bytes a, Bytes b, Bytes c, Bytes d, Quads (&out)[4]) {
  const __m512i ab0 = _mm512_unpacklo_epi8(a.v, b.v);
  const __m512i ab1 = _mm512_unpackhi_epi8(a.v, b.v);
  const __m512i cd0 = _mm512_unpacklo_epi8(c.v, d.v);
  const __m512i cd1 = _mm512_unpackhi_epi8(c.v, d.v);
  out[0] = quads(_mm512_unpacklo_epi16(ab0, cd0));
  out[1] = quads(_mm512_unpackhi_epi16(ab0, cd0));
  out[2] = quads(_mm512_unpacklo_epi16(ab1, cd1));
  out[3] = quads(_mm512_unpackhi_epi16(ab1, cd1));
}
inline Quads splat_quads(std::uint8_t x) { return quads(_mm512_set1_epi8(static_cast<char>(x))); }

// I32 whose four elements from 4·j on lie at p + j·kBlock.
[[gnu::always_inline]] inline I32 load_quarters(const std::int32_t* p) {
  const auto quarter = [=](int j) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + j * kBlock));
  };
  const __m512i two =
      _mm512_maskz_inserti32x4(simd::native::kAll, _mm512_castsi128_si512(quarter(0)), quarter(1), 1);
  const __m512i three = _mm512_maskz_inserti32x4(simd::native::kAll, two, quarter(2), 2);
  return {(simd::Register<std::int32_t, kBlock>)_mm512_maskz_inserti32x4(simd::native::kAll, three,
                                                                         quarter(3), 3)};
}

// n int8 values of the pixels of R rows (the first `rows` of them) in the order that interleave makes.
template <int R>
[[gnu::always_inline]] inline void store_interleaved(std::uint8_t* const (&p)[R], Index rows, Index n,
                                                     Packed bytes) {
  if constexpr (R == 1) store_first(p[0], bytes, n);
  if constexpr (R > 1) {
    for_each<R>([&](auto r) __attribute__((always_inline)) {
      if (r >= rows) return;
      if constexpr (R == 2) {
        const __m256i own = _mm512_maskz_extracti64x4_epi64(0xf, bytes, r);
        _mm256_mask_storeu_epi8(p[r], static_cast<__mmask32>((std::uint64_t{1} << n) - 1), own);
      } else {
        _mm_mask_storeu_epi8(p[r], simd::native::first_lanes(n),
                             _mm512_maskz_extracti32x4_epi32(0xf, bytes, r));
      }
    });
  }
}

#elif defined(__AVX2__)

constexpr Index kLanes = 2;

struct Bytes {
  __m256i v;
};
inline Quads quads(__m256i x) { return simd::quads({(simd::Register<std::uint32_t, kBlock>)x}); }
template <int R>
[[gnu::always_inline]] inline Bytes load_rows(const std::uint8_t* const (&p)[R]) {
  const auto half = [](const std::uint8_t* from) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  };
  if constexpr (R == 1) return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p[0]))};
  if constexpr (R == 2) return {_mm256_inserti128_si256(_mm256_castsi128_si256(half(p[0])), half(p[1]), 1)};
}
inline Bytes flip(Bytes x) { return {_mm256_xor_si256(x.v, _mm256_set1_epi8(-128))}; }
inline Bytes no_bytes() { return {_mm256_setzero_si256()}; }
[[gnu::always_inline]] inline void interleave(Bytes a, Bytes b, Bytes c, Bytes d, Quads (&out)[4]) {
  const __m256i ab0 = _mm256_unpacklo_epi8(a.v, b.v);
  const __m256i ab1 = _mm256_unpackhi_epi8(a.v, b.v);
  const __m256i cd0 = _mm256_unpacklo_epi8(c.v, d.v);
  const __m256i cd1 = _mm256_unpackhi_epi8(c.v, d.v);
  out[0] = quads(_mm256_unpacklo_epi16(ab0, cd0));
  out[1] = quads(_mm256_unpackhi_epi16(ab0, cd0));
  out[2] = quads(_mm256_unpacklo_epi16(ab1, cd1));
  out[3] = quads(_mm256_unpackhi_epi16(ab1, cd1));
}
inline Quads splat_quads(std::uint8_t x) { return quads(_mm256_set1_epi8(static_cast<char>(x))); }

[[gnu::always_inline]] inline I32 load_quarters(const std::int32_t* p) {
  const auto half = [=](int j) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + j * kBlock)); };
  return {(simd::Register<std::int32_t, kBlock>)_mm256_inserti128_si256(_mm256_castsi128_si256(half(0)),
                                                                        half(1), 1)};
}

template <int R>
[[gnu::always_inline]] inline void store_interleaved(std::uint8_t* const (&p)[R], Index rows, Index n,
                                                     Packed bytes) {
  store_first(p[0], bytes, n);
  if constexpr (R == 2) {
    if (rows > 1) store_first(p[1], _mm256_permute2x128_si256(bytes, bytes, 1), n);
  }
}

#endif

}  // namespace
}  // namespace rdquant::runtime::kernels
