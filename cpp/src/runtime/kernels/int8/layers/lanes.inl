// Levels of 8 bits beside Vec: Ints, kBlock int32, in the compiler's own notation but for conversions. A
// *word* is four levels side by side in an int32: words are taken apart and put together without any shuffle.
#pragma once

#include "runtime/kernels/vec.inl"

namespace rdquant::runtime::kernels {
namespace {

using Ints = std::int32_t __attribute__((vector_size(kBlock * sizeof(std::int32_t))));
using UInts = std::uint32_t __attribute__((vector_size(kBlock * sizeof(std::uint32_t))));
constexpr Index kWords = kBlock;       // of an Ints
constexpr Index kLevels = 4 * kWords;  // and their levels

#if defined(__AVX2__)
constexpr bool kPortable = false;
#else
constexpr bool kPortable = true;
#endif

inline Ints splat_int(std::int32_t x) { return Ints{} + x; }

#if defined(__AVX512F__)

inline Vec to_floats(Ints x) { return {_mm512_maskz_cvtepi32_ps(kAll, std::bit_cast<__m512i>(x))}; }
inline bool any_above(Vec x, Vec bound) { return _mm512_cmp_ps_mask(x.v, bound.v, _CMP_GT_OQ) != 0; }
// The nearest integers, ties to even, of |x| < 2^22.
inline Ints to_ints(Vec x) { return std::bit_cast<Ints>(_mm512_maskz_cvtps_epi32(kAll, x.v)); }
template <bool Signed>
inline Ints widen(__m128i x) {
  return std::bit_cast<Ints>(Signed ? _mm512_maskz_cvtepi8_epi32(kAll, x)
                                    : _mm512_maskz_cvtepu8_epi32(kAll, x));
}
// kBlock levels.
template <bool Signed>
inline Ints load_levels(const std::uint8_t* p) {
  return widen<Signed>(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
template <bool Signed>
inline Ints load_some_levels(const std::uint8_t* p, Index n) {
  return widen<Signed>(_mm_maskz_loadu_epi8(first_lanes(n), p));
}
inline void store_levels(std::uint8_t* p, Ints x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm512_maskz_cvtepi32_epi8(kAll, std::bit_cast<__m512i>(x)));
}
inline void store_some_levels(std::uint8_t* p, Ints x, Index n) {
  _mm_mask_storeu_epi8(p, first_lanes(n), _mm512_maskz_cvtepi32_epi8(kAll, std::bit_cast<__m512i>(x)));
}

#elif defined(__AVX2__)

inline Vec to_floats(Ints x) { return {_mm256_cvtepi32_ps(std::bit_cast<__m256i>(x))}; }
inline bool any_above(Vec x, Vec bound) {
  return _mm256_movemask_ps(_mm256_cmp_ps(x.v, bound.v, _CMP_GT_OQ)) != 0;
}
inline Ints to_ints(Vec x) { return std::bit_cast<Ints>(_mm256_cvtps_epi32(x.v)); }
template <bool Signed>
inline Ints load_levels(const std::uint8_t* p) {
  const __m128i x = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return std::bit_cast<Ints>(Signed ? _mm256_cvtepi8_epi32(x) : _mm256_cvtepu8_epi32(x));
}
inline __m128i narrow(Ints x) {
  const __m256i low = _mm256_and_si256(std::bit_cast<__m256i>(x), _mm256_set1_epi32(255));
  const __m128i pairs = _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
  return _mm_packus_epi16(pairs, pairs);
}
inline void store_levels(std::uint8_t* p, Ints x) {
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), narrow(x));
}

#else

using Bytes8 = std::uint8_t __attribute__((vector_size(8)));
using SignedBytes8 = std::int8_t __attribute__((vector_size(8)));
struct IntPair {
  QuadInt a, b;
};
inline Vec to_floats(Ints x) {
  const IntPair y = std::bit_cast<IntPair>(x);
  return {__builtin_convertvector(y.a, Quad), __builtin_convertvector(y.b, Quad)};
}
inline bool any_above(Vec x, Vec bound) {
  using Halves = std::uint64_t __attribute__((vector_size(16)));
  const auto found = std::bit_cast<Halves>((x.a > bound.a) | (x.b > bound.b));
  return (found[0] | found[1]) != 0;
}
inline Ints to_ints(Vec x) {
  const Vec y = round(x);
  return std::bit_cast<Ints>(
      IntPair{__builtin_convertvector(y.a, QuadInt), __builtin_convertvector(y.b, QuadInt)});
}
template <bool Signed>
inline Ints load_levels(const std::uint8_t* p) {
  std::conditional_t<Signed, SignedBytes8, Bytes8> x;
  std::memcpy(&x, p, sizeof x);
  return __builtin_convertvector(x, Ints);
}
inline void store_levels(std::uint8_t* p, Ints x) {
  const Bytes8 y = __builtin_convertvector(x, Bytes8);
  std::memcpy(p, &y, sizeof y);
}

#endif

#if !defined(__AVX512F__)
template <bool Signed>
inline Ints load_some_levels(const std::uint8_t* p, Index n) {
  std::uint8_t all[kBlock] = {};
  std::memcpy(all, p, static_cast<std::size_t>(n));
  return load_levels<Signed>(all);
}
inline void store_some_levels(std::uint8_t* p, Ints x, Index n) {
  std::uint8_t all[kBlock];
  store_levels(all, x);
  std::memcpy(p, all, static_cast<std::size_t>(n));
}
#endif

inline Ints load_words(const std::uint8_t* p) {
  Ints x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
inline void store_words(std::uint8_t* p, Ints x) { std::memcpy(p, &x, sizeof x); }
// The first n words, then zeros.
inline Ints load_some_words(const std::uint8_t* p, Index n) {
  return n == kWords ? load_words(p) : std::bit_cast<Ints>(load_some(reinterpret_cast<const float*>(p), n));
}
// The first n levels of words.
inline void store_some_words(std::uint8_t* p, Ints x, Index n) {
  if (n == kLevels) {
    store_words(p, x);
  } else if (n % 4 == 0) {
    store_some(reinterpret_cast<float*>(p), std::bit_cast<Vec>(x), n / 4);
  } else {
    std::uint8_t all[kLevels];
    store_words(all, x);
    std::memcpy(p, all, static_cast<std::size_t>(n));
  }
}

// Level i of each word.
template <int I, bool Signed>
inline Ints split(Ints words) {
  if constexpr (Signed) return (words << (24 - 8 * I)) >> 24;
  return (words >> (8 * I)) & 255;
}
inline Ints join(const Ints (&x)[4]) {
  return (x[0] & 255) | ((x[1] & 255) << 8) | ((x[2] & 255) << 16) | (x[3] << 24);
}

inline void transpose(Ints (&x)[kBlock]) {
  Vec y[kBlock];
  std::memcpy(y, x, sizeof x);
  transpose(y);
  std::memcpy(x, y, sizeof x);
}

// Groups of N numbers of a and of b in turn, from group `First` on.
template <int N, int First>
inline Ints interleaved(Ints a, Ints b) {
  return []<int... I>(Ints x, Ints y, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(
        x, y, (I / N % 2 * static_cast<int>(kBlock) + (First + I / N / 2) * N + I % N)...);
  }(a, b, std::make_integer_sequence<int, kBlock>{});
}
// Four words of each of kBlock pixels to pixels of four words each.
inline void side_by_side(Ints (&x)[4]) {
  constexpr int kHalf = kBlock / 2;
  const Ints a[] = {interleaved<1, 0>(x[0], x[1]), interleaved<1, kHalf>(x[0], x[1])};
  const Ints b[] = {interleaved<1, 0>(x[2], x[3]), interleaved<1, kHalf>(x[2], x[3])};
  for (int i = 0; i < 2; ++i) {
    x[2 * i] = interleaved<2, 0>(a[i], b[i]);
    x[2 * i + 1] = interleaved<2, kHalf / 2>(a[i], b[i]);
  }
}
// The first n bytes of 16 of each of `count` pixels, `pixel` bytes apart.
inline void store_sixteen(std::uint8_t* p, Index pixel, Index n, Index count, const Ints (&x)[4]) {
  if (pixel == 16 && n == 16 && count == kBlock) {
    std::memcpy(p, x, sizeof x);
    return;
  }
  std::uint8_t all[sizeof x];
  std::memcpy(all, x, sizeof x);
  const auto store_first = [&](auto bytes) {
    for (Index i = 0; i < count; ++i)
      std::memcpy(p + i * pixel, all + i * 16, static_cast<std::size_t>(bytes));
  };
  if (n == 16) return store_first(std::integral_constant<Index, 16>{});
  if (n == 8) return store_first(std::integral_constant<Index, 8>{});
  store_first(n);
}

// Numbers, in units of a level, to levels: clamp(round(x) + zero, low, high); low where x is not a number.
struct Rounding {
  Vec low, high;
  Ints zero;
};
inline Rounding rounding(std::int32_t zero, std::int32_t low, std::int32_t high) {
  return {splat(static_cast<float>(low - zero)), splat(static_cast<float>(high - zero)), splat_int(zero)};
}
inline Ints to_levels(const Rounding& r, Vec x) { return to_ints(min(max(x, r.low), r.high)) + r.zero; }

}  // namespace
}  // namespace rdquant::runtime::kernels
