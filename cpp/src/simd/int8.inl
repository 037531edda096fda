// 8-bit integers that are widened to int32.
//
// A *word* is four 8-bit integers side by side in an int32: words are taken apart and put together without any
// shuffle.
#pragma once

#include "simd/floats.inl"
#include "simd/int32.inl"

namespace rdquant::simd {
namespace {

constexpr int kWordBytes = 4 * kLanes;  // 8-bit integers in an I32 of words

/// kLanes integers of one byte, int8 where `IsSigned`; of load_some the first n, zeros behind them.
template <bool IsSigned>
[[gnu::always_inline]] inline I32 load_bytes(const std::uint8_t* p) {
#if defined(__AVX512F__)
  const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {(Register<std::int32_t, 16>)(IsSigned ? _mm512_maskz_cvtepi8_epi32(native::kAll, x)
                                                : _mm512_maskz_cvtepu8_epi32(native::kAll, x))};
#elif defined(__AVX2__)
  const __m128i x = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return {(Register<std::int32_t, 8>)(IsSigned ? _mm256_cvtepi8_epi32(x) : _mm256_cvtepu8_epi32(x))};
#elif defined(__SSE4_1__)
  const __m128i low = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  const __m128i high = _mm_srli_epi64(low, 32);
  const auto wide = [](__m128i x) {
    return Vector<std::int32_t, 4>{(native::I4)(IsSigned ? _mm_cvtepi8_epi32(x) : _mm_cvtepu8_epi32(x))};
  };
  return {wide(low), wide(high)};
#else
  using Byte = std::conditional_t<IsSigned, std::int8_t, std::uint8_t>;
  using Short = std::conditional_t<IsSigned, std::int16_t, std::uint16_t>;
  return convert<std::int32_t>(convert<Short>(load_as<Vector<Byte, kLanes>>(p)));
#endif
}
inline I32 load_bytes(const std::uint8_t* p, bool is_signed) {
  return is_signed ? load_bytes<true>(p) : load_bytes<false>(p);
}
template <bool IsSigned>
inline I32 load_some_bytes(const std::uint8_t* p, std::ptrdiff_t n) {
#if defined(__AVX512F__)
  const __m128i x = _mm_maskz_loadu_epi8(native::first_lanes(n), p);
  return {(Register<std::int32_t, 16>)(IsSigned ? _mm512_maskz_cvtepi8_epi32(native::kAll, x)
                                                : _mm512_maskz_cvtepu8_epi32(native::kAll, x))};
#else
  std::uint8_t all[kLanes] = {};
  std::memcpy(all, p, static_cast<std::size_t>(n));
  return load_bytes<IsSigned>(all);
#endif
}

/// The lowest byte of each element.
inline void store_bytes(std::uint8_t* p, I32 a) {
#if defined(__AVX512F__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_maskz_cvtepi32_epi8(native::kAll, (__m512i)a.v));
#elif defined(__AVX2__)
  const __m256i low = _mm256_and_si256((__m256i)a.v, _mm256_set1_epi32(255));
  const __m128i pairs = _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(pairs, pairs));
#elif defined(__SSE4_1__)
  const __m128i bytes = _mm_set1_epi32(255);
  const __m128i pairs =
      _mm_packus_epi32(_mm_and_si128((__m128i)a.low.v, bytes), _mm_and_si128((__m128i)a.high.v, bytes));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(pairs, pairs));
#else
  store_as(p, convert<std::uint8_t>(convert<std::uint16_t>(a)));
#endif
}
inline void store_some_bytes(std::uint8_t* p, I32 a, std::ptrdiff_t n) {
#if defined(__AVX512F__)
  _mm_mask_storeu_epi8(p, native::first_lanes(n), _mm512_maskz_cvtepi32_epi8(native::kAll, (__m512i)a.v));
#else
  std::uint8_t all[kLanes];
  store_bytes(all, a);
  std::memcpy(p, all, static_cast<std::size_t>(n));
#endif
}

/// Entries of a table of 256 bytes, by the lowest byte.
inline I32 lookup_bytes(const std::uint8_t* table, I32 a) {
#if defined(__AVX512F__)  // held as 64 words of four
  const auto x = (__m512i)a.v;
  const __m512i word = _mm512_maskz_srli_epi32(native::kAll, _mm512_and_si512(x, _mm512_set1_epi32(0xff)), 2);
  const __m512i first =
      _mm512_permutex2var_epi32(_mm512_loadu_si512(table), word, _mm512_loadu_si512(table + 64));
  const __m512i last =
      _mm512_permutex2var_epi32(_mm512_loadu_si512(table + 128), word, _mm512_loadu_si512(table + 192));
  const __mmask16 upper_half = _mm512_test_epi32_mask(x, _mm512_set1_epi32(0x80));
  const __m512i shift = _mm512_maskz_slli_epi32(native::kAll, _mm512_and_si512(x, _mm512_set1_epi32(3)), 3);
  const __m512i words = _mm512_mask_blend_epi32(upper_half, first, last);
  return {(Register<std::int32_t, 16>)_mm512_and_si512(_mm512_maskz_srlv_epi32(native::kAll, words, shift),
                                                       _mm512_set1_epi32(0xff))};
#elif defined(__AVX2__)
  const auto x = (__m256i)a.v;
  const __m256i word = _mm256_srli_epi32(_mm256_and_si256(x, _mm256_set1_epi32(0xff)), 2);
  const __m256i words = _mm256_i32gather_epi32(reinterpret_cast<const int*>(table), word, 4);
  const __m256i shift = _mm256_slli_epi32(_mm256_and_si256(x, _mm256_set1_epi32(3)), 3);
  return {
      (Register<std::int32_t, 8>)_mm256_and_si256(_mm256_srlv_epi32(words, shift), _mm256_set1_epi32(0xff))};
#else
  std::int32_t x[kLanes];
  store(x, a);
  for (std::int32_t& i : x) i = table[i & 0xff];
  return load(x);
#endif
}

[[gnu::always_inline]] inline I32 load_words(const std::uint8_t* p) { return load_as<I32>(p); }
[[gnu::always_inline]] inline void store_words(std::uint8_t* p, I32 words) { store_as(p, words); }
/// The first n words, zeros behind them.
inline I32 load_some_words(const std::uint8_t* p, std::ptrdiff_t n) {
  return n == kLanes ? load_words(p) : bits_as<I32>(load_some(reinterpret_cast<const float*>(p), n));
}
/// The first n bytes of words.
inline void store_some_words(std::uint8_t* p, I32 words, std::ptrdiff_t n) {
  if (n == kWordBytes) {
    store_words(p, words);
  } else if (n % 4 == 0) {
    store_some(reinterpret_cast<float*>(p), bits_as<F32>(words), n / 4);
  } else {
    std::uint8_t all[kWordBytes];
    store_words(all, words);
    std::memcpy(p, all, static_cast<std::size_t>(n));
  }
}

/// Integer i of each word.
template <int I, bool IsSigned>
[[gnu::always_inline]] inline I32 split(I32 words) {
  if constexpr (IsSigned) return (words << (24 - 8 * I)) >> 24;
  return (words >> (8 * I)) & 255;
}
[[gnu::always_inline]] inline I32 join(const I32 (&x)[4]) {
  return (x[0] & 255) | ((x[1] & 255) << 8) | ((x[2] & 255) << 16) | (x[3] << 24);
}

inline void transpose(I32 (&x)[kLanes]) {
  F32 y[kLanes];
  std::memcpy(y, x, sizeof x);
  transpose(y);
  std::memcpy(x, y, sizeof x);
}

/// Groups of `Group` elements of a and of b in turn, from group `First` on.
template <int Group, int First, int N>
[[gnu::always_inline]] inline Vector<std::int32_t, N> interleaved(Vector<std::int32_t, N> a,
                                                                  Vector<std::int32_t, N> b) {
  const auto shuffled = []<int... I>(auto x, auto y, std::integer_sequence<int, I...>)
                            __attribute__((always_inline)) {
                              return __builtin_shufflevector(
                                  x, y, (I / Group % 2 * N + (First + I / Group / 2) * Group + I % Group)...);
                            };
  constexpr auto kAll = std::make_integer_sequence<int, N>{};
  if constexpr (kFits<std::int32_t, N>) {
    return {shuffled(a.v, b.v, kAll)};
  } else {
    using All [[gnu::vector_size(N * sizeof(std::int32_t))]] = std::int32_t;
    return bits_as<Vector<std::int32_t, N>>(shuffled(bits_as<All>(a), bits_as<All>(b), kAll));
  }
}
/// Four words of each of kLanes pixels to pixels of four words each.
inline void side_by_side(I32 (&x)[4]) {
  constexpr int kHalf = kLanes / 2;
  const I32 a[] = {interleaved<1, 0>(x[0], x[1]), interleaved<1, kHalf>(x[0], x[1])};
  const I32 b[] = {interleaved<1, 0>(x[2], x[3]), interleaved<1, kHalf>(x[2], x[3])};
  for (int i = 0; i < 2; ++i) {
    x[2 * i] = interleaved<2, 0>(a[i], b[i]);
    x[2 * i + 1] = interleaved<2, kHalf / 2>(a[i], b[i]);
  }
}

}  // namespace
}  // namespace rdquant::simd
