// Ints: kBlock int32 sums; Quads and Taps: four numbers for each of them, and their products. With
// integer_pack.inl, integer_bytes.inl and integer_lookup.inl the only place with intrinsics for levels.
//
// Without VNNI instructions products are made of int16: four bytes become two pairs, `even` (the first and
// the third) and `odd`, for 8-bit products summed as int16 would saturate.
#pragma once

#include "runtime/kernels/vec.inl"

#if !defined(__AVX2__) && defined(__SSE4_1__)
#include <smmintrin.h>
#endif

namespace rdquant::runtime::kernels {
namespace {

constexpr Index kTapBytes = 4 * kBlock;  // of the weights of a block for four channels

#if defined(__AVX512F__)

struct Ints {
  __m512i v;
};
inline Ints load(const std::int32_t* p) { return {_mm512_loadu_si512(p)}; }
inline void store(std::int32_t* p, Ints a) { _mm512_storeu_si512(p, a.v); }
inline Ints splat(std::int32_t x) { return {_mm512_set1_epi32(x)}; }
inline Ints operator+(Ints a, Ints b) { return {_mm512_add_epi32(a.v, b.v)}; }
inline Ints operator-(Ints a, Ints b) { return {_mm512_sub_epi32(a.v, b.v)}; }
inline Ints operator*(Ints a, Ints b) { return {_mm512_mullo_epi32(a.v, b.v)}; }
inline Ints clamp(Ints a, std::int32_t low, std::int32_t high) {
  return {_mm512_maskz_min_epi32(kAll, splat(high).v, _mm512_maskz_max_epi32(kAll, splat(low).v, a.v))};
}
inline Ints least(Ints a, Ints b) { return {_mm512_maskz_min_epi32(kAll, a.v, b.v)}; }
inline Ints greatest(Ints a, Ints b) { return {_mm512_maskz_max_epi32(kAll, a.v, b.v)}; }
inline Vec to_float(Ints a) { return {_mm512_maskz_cvtepi32_ps(kAll, a.v)}; }
// Ties to even; the least int32 for what is too large and for what is not a number.
inline Ints nearest(Vec a) { return {_mm512_maskz_cvtps_epi32(kAll, a.v)}; }
template <bool Signed>
inline Ints extend(const std::uint8_t* p) {
  const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {Signed ? _mm512_maskz_cvtepi8_epi32(kAll, x) : _mm512_maskz_cvtepu8_epi32(kAll, x)};
}
// The lowest byte of each.
inline void store_bytes(std::uint8_t* p, Ints a, Index n) {
  _mm_mask_storeu_epi8(p, first_lanes(n), _mm512_maskz_cvtepi32_epi8(kAll, a.v));
}
// Entries of a table of 256 bytes, by the lowest byte: it is held as 64 words of four.
inline Ints lookup(const std::uint8_t* table, Ints a) {
  const __m512i word = _mm512_maskz_srli_epi32(kAll, _mm512_and_si512(a.v, _mm512_set1_epi32(0xff)), 2);
  const __m512i first =
      _mm512_permutex2var_epi32(_mm512_loadu_si512(table), word, _mm512_loadu_si512(table + 64));
  const __m512i last =
      _mm512_permutex2var_epi32(_mm512_loadu_si512(table + 128), word, _mm512_loadu_si512(table + 192));
  const __mmask16 upper_half = _mm512_test_epi32_mask(a.v, _mm512_set1_epi32(0x80));
  const __m512i shift = _mm512_maskz_slli_epi32(kAll, _mm512_and_si512(a.v, _mm512_set1_epi32(3)), 3);
  return {
      _mm512_and_si512(_mm512_maskz_srlv_epi32(kAll, _mm512_mask_blend_epi32(upper_half, first, last), shift),
                       _mm512_set1_epi32(0xff))};
}

#if defined(__AVX512VNNI__)
struct Quads {
  __m512i v;
};
struct Taps {
  __m512i v;
};
inline Quads quads(__m512i x) { return {x}; }
[[gnu::always_inline]] inline Taps load_taps(const std::int8_t* p) { return {_mm512_loadu_si512(p)}; }
[[gnu::always_inline]] inline Ints dot(Quads x, Taps w, Ints sum) {
  return {_mm512_dpbusd_epi32(sum.v, x.v, w.v)};
}
#else
struct Quads {
  __m512i even, odd;
};
using Taps = Quads;
inline Quads quads(__m512i x) {
  return {_mm512_and_si512(x, _mm512_set1_epi16(0xff)), _mm512_srli_epi16(x, 8)};
}
[[gnu::always_inline]] inline Taps load_taps(const std::int8_t* p) {
  const auto half = [](const std::int8_t* from) {
    return _mm512_maskz_cvtepi8_epi16(0xffffffffu,
                                      _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  };
  return {half(p), half(p + 32)};
}
[[gnu::always_inline]] inline Ints dot(Quads x, Taps w, Ints sum) {
  sum.v = _mm512_add_epi32(sum.v, _mm512_madd_epi16(x.even, w.even));
  return {_mm512_add_epi32(sum.v, _mm512_madd_epi16(x.odd, w.odd))};
}
#endif
// Four bytes for all lanes; int8 is made uint8 by adding 128.
template <bool Signed>
[[gnu::always_inline]] inline Quads broadcast(const std::uint8_t* p) {
  std::int32_t x;
  std::memcpy(&x, p, sizeof x);
  const __m512i all = _mm512_set1_epi32(x);
  return quads(Signed ? _mm512_xor_si512(all, _mm512_set1_epi8(-128)) : all);
}

#elif defined(__AVX2__)

struct Ints {
  __m256i v;
};
inline Ints load(const std::int32_t* p) { return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))}; }
inline void store(std::int32_t* p, Ints a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.v); }
inline Ints splat(std::int32_t x) { return {_mm256_set1_epi32(x)}; }
inline Ints operator+(Ints a, Ints b) { return {_mm256_add_epi32(a.v, b.v)}; }
inline Ints operator-(Ints a, Ints b) { return {_mm256_sub_epi32(a.v, b.v)}; }
inline Ints operator*(Ints a, Ints b) { return {_mm256_mullo_epi32(a.v, b.v)}; }
inline Ints clamp(Ints a, std::int32_t low, std::int32_t high) {
  return {_mm256_min_epi32(splat(high).v, _mm256_max_epi32(splat(low).v, a.v))};
}
inline Ints least(Ints a, Ints b) { return {_mm256_min_epi32(a.v, b.v)}; }
inline Ints greatest(Ints a, Ints b) { return {_mm256_max_epi32(a.v, b.v)}; }
inline Vec to_float(Ints a) { return {_mm256_cvtepi32_ps(a.v)}; }
inline Ints nearest(Vec a) { return {_mm256_cvtps_epi32(a.v)}; }
template <bool Signed>
inline Ints extend(const std::uint8_t* p) {
  const __m128i x = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return {Signed ? _mm256_cvtepi8_epi32(x) : _mm256_cvtepu8_epi32(x)};
}
inline void store_bytes(std::uint8_t* p, Ints a, Index n) {
  std::int32_t x[kBlock];
  store(x, a);
  for (Index i = 0; i < n; ++i) p[i] = static_cast<std::uint8_t>(x[i]);
}
inline Ints lookup(const std::uint8_t* table, Ints a) {
  const __m256i word = _mm256_srli_epi32(_mm256_and_si256(a.v, _mm256_set1_epi32(0xff)), 2);
  const __m256i four = _mm256_i32gather_epi32(reinterpret_cast<const int*>(table), word, 4);
  const __m256i shift = _mm256_slli_epi32(_mm256_and_si256(a.v, _mm256_set1_epi32(3)), 3);
  return {_mm256_and_si256(_mm256_srlv_epi32(four, shift), _mm256_set1_epi32(0xff))};
}

struct Quads {
  __m256i even, odd;
};
using Taps = Quads;
inline Quads quads(__m256i x) {
  return {_mm256_and_si256(x, _mm256_set1_epi16(0xff)), _mm256_srli_epi16(x, 8)};
}
[[gnu::always_inline]] inline Taps load_taps(const std::int8_t* p) {
  const auto half = [](const std::int8_t* from) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  };
  return {half(p), half(p + 16)};
}
[[gnu::always_inline]] inline Ints dot(Quads x, Taps w, Ints sum) {
  sum.v = _mm256_add_epi32(sum.v, _mm256_madd_epi16(x.even, w.even));
  return {_mm256_add_epi32(sum.v, _mm256_madd_epi16(x.odd, w.odd))};
}
template <bool Signed>
[[gnu::always_inline]] inline Quads broadcast(const std::uint8_t* p) {
  std::int32_t x;
  std::memcpy(&x, p, sizeof x);
  const __m256i all = _mm256_set1_epi32(x);
  return quads(Signed ? _mm256_xor_si256(all, _mm256_set1_epi8(-128)) : all);
}

#else

// In the compiler's own notation, but for products, rounding and widening where SSE4.1 has them.
struct Ints {
  QuadInt a, b;
};
inline Ints load(const std::int32_t* p) {
  Ints x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
inline void store(std::int32_t* p, Ints x) { std::memcpy(p, &x, sizeof x); }
inline Ints splat(std::int32_t x) { return {QuadInt{x, x, x, x}, QuadInt{x, x, x, x}}; }
// Through unsigned numbers, whose sums may pass the end.
using QuadUnsigned = std::uint32_t __attribute__((vector_size(16)));
inline QuadUnsigned bits(QuadInt x) { return std::bit_cast<QuadUnsigned>(x); }
inline QuadInt number(QuadUnsigned x) { return std::bit_cast<QuadInt>(x); }
inline Ints operator+(Ints x, Ints y) {
  return {number(bits(x.a) + bits(y.a)), number(bits(x.b) + bits(y.b))};
}
inline Ints operator-(Ints x, Ints y) {
  return {number(bits(x.a) - bits(y.a)), number(bits(x.b) - bits(y.b))};
}
inline Ints operator*(Ints x, Ints y) {
  return {number(bits(x.a) * bits(y.a)), number(bits(x.b) * bits(y.b))};
}
inline Ints clamp(Ints x, std::int32_t low, std::int32_t high) {
  const Ints l = splat(low);
  const Ints h = splat(high);
  x = {x.a > l.a ? x.a : l.a, x.b > l.b ? x.b : l.b};
  return {x.a < h.a ? x.a : h.a, x.b < h.b ? x.b : h.b};
}
inline Ints least(Ints x, Ints y) { return {x.a < y.a ? x.a : y.a, x.b < y.b ? x.b : y.b}; }
inline Ints greatest(Ints x, Ints y) { return {x.a > y.a ? x.a : y.a, x.b > y.b ? x.b : y.b}; }
inline Vec to_float(Ints x) {
  return {__builtin_convertvector(x.a, Quad), __builtin_convertvector(x.b, Quad)};
}
#if defined(__SSE4_1__)
inline Ints nearest(Vec x) {
  return {std::bit_cast<QuadInt>(_mm_cvtps_epi32(x.a)), std::bit_cast<QuadInt>(_mm_cvtps_epi32(x.b))};
}
#else
// By the trick of `round`, between bounds that no level reaches.
inline Ints nearest(Vec x) {
  x = round(min(max(x, splat(-65536.0f)), splat(65536.0f)));
  return {__builtin_convertvector(x.a, QuadInt), __builtin_convertvector(x.b, QuadInt)};
}
#endif
template <bool Signed>
inline Ints extend(const std::uint8_t* p) {
  std::int32_t x[kBlock];
  for (Index i = 0; i < kBlock; ++i) x[i] = Signed ? static_cast<std::int8_t>(p[i]) : std::int32_t{p[i]};
  return load(x);
}
inline void store_bytes(std::uint8_t* p, Ints a, Index n) {
  std::int32_t x[kBlock];
  store(x, a);
  for (Index i = 0; i < n; ++i) p[i] = static_cast<std::uint8_t>(x[i]);
}
inline Ints lookup(const std::uint8_t* table, Ints a) {
  std::int32_t x[kBlock];
  store(x, a);
  for (std::int32_t& i : x) i = table[i & 0xff];
  return load(x);
}

#if defined(__SSE4_1__)
struct Quads {
  __m128i even, odd;
};
struct Taps {
  __m128i even[2], odd[2];
};
[[gnu::always_inline]] inline Taps load_taps(const std::int8_t* p) {
  const auto quarter = [](const std::int8_t* from) {
    return _mm_cvtepi8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
  };
  return {{quarter(p), quarter(p + 8)}, {quarter(p + 16), quarter(p + 24)}};
}
[[gnu::always_inline]] inline Ints dot(Quads x, Taps w, Ints sum) {
  const auto add = [&](QuadInt part, int half) {
    const __m128i first = _mm_add_epi32(std::bit_cast<__m128i>(part), _mm_madd_epi16(x.even, w.even[half]));
    return std::bit_cast<QuadInt>(_mm_add_epi32(first, _mm_madd_epi16(x.odd, w.odd[half])));
  };
  return {add(sum.a, 0), add(sum.b, 1)};
}
template <bool Signed>
[[gnu::always_inline]] inline Quads broadcast(const std::uint8_t* p) {
  std::int32_t x;
  std::memcpy(&x, p, sizeof x);
  __m128i all = _mm_set1_epi32(x);
  if constexpr (Signed) all = _mm_xor_si128(all, _mm_set1_epi8(-128));
  return {_mm_and_si128(all, _mm_set1_epi16(0xff)), _mm_srli_epi16(all, 8)};
}
#else
struct Quads {
  std::int32_t x[4];
};
struct Taps {
  const std::int8_t* at;  // pairs like the others'
};
inline Taps load_taps(const std::int8_t* p) { return {p}; }
inline Ints dot(Quads x, Taps w, Ints sum) {
  std::int32_t products[kBlock];
  for (Index i = 0; i < kBlock; ++i) {
    const std::int8_t* const even = w.at + 2 * i;
    const std::int8_t* const odd = even + 2 * kBlock;
    products[i] = x.x[0] * even[0] + x.x[1] * odd[0] + x.x[2] * even[1] + x.x[3] * odd[1];
  }
  return sum + load(products);
}
template <bool Signed>
inline Quads broadcast(const std::uint8_t* p) {
  constexpr int kFlip = Signed ? 128 : 0;
  return {{p[0] ^ kFlip, p[1] ^ kFlip, p[2] ^ kFlip, p[3] ^ kFlip}};
}
#endif

#endif

inline Ints extend(const std::uint8_t* p, bool is_signed) {
  return is_signed ? extend<true>(p) : extend<false>(p);
}

// Where the weight of channel i of four and of filter `lane` lies among the kTapBytes.
inline Index tap_place(Index lane, Index i) {
#if defined(__AVX512VNNI__)
  return lane * 4 + i;
#else
  return i % 2 * 2 * kBlock + lane * 2 + i / 2;
#endif
}

}  // namespace
}  // namespace rdquant::runtime::kernels
