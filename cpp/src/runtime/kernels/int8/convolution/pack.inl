// Sums packed into int8 values, and int8 values into memory.
#pragma once

#include "runtime/kernels/int8/vectors.inl"

namespace rdquant::runtime::kernels {
namespace {

#if defined(__AVX2__)
constexpr int kPacked = 4;  // blocks of int8 values that are packed together
#else
constexpr int kPacked = 1;
#endif

// What becomes of sums: 8-bit integers between `low` and `high`, which are int8 where low < 0, else uint8. Kept as bytes counted
// from the least of their type.
struct Int8Range {
  std::int32_t zero, low, high;  // + 128 where int8
  bool is_signed;
  bool whole;  // all of uint8, counted from 0: packing saturates there by itself
};

inline Int8Range int8_range(std::int32_t zero, std::int32_t low, std::int32_t high) {
  const std::int32_t offset = low < 0 ? 128 : 0;
  return {zero + offset, low + offset, high + offset, low < 0, zero == 0 && low == 0 && high == 255};
}

#if defined(__AVX512F__)

using Packed = __m512i;
inline __m512i raw(I32 x) { return (__m512i)x.v; }
// The order is that of in_order's argument.
[[gnu::always_inline]] inline Packed whole_bytes(const I32 (&sums)[4]) {
  return _mm512_packus_epi16(_mm512_packs_epi32(raw(sums[0]), raw(sums[1])),
                             _mm512_packs_epi32(raw(sums[2]), raw(sums[3])));
}
[[gnu::always_inline]] inline Packed int8_bytes(const I32 (&sums)[4], const Int8Range& range) {
  const __m512i zero = _mm512_set1_epi16(static_cast<short>(range.zero));
  const __m512i ab = _mm512_adds_epi16(_mm512_packs_epi32(raw(sums[0]), raw(sums[1])), zero);
  const __m512i cd = _mm512_adds_epi16(_mm512_packs_epi32(raw(sums[2]), raw(sums[3])), zero);
  __m512i x = _mm512_packus_epi16(ab, cd);
  x = _mm512_max_epu8(x, _mm512_set1_epi8(static_cast<char>(range.low)));
  x = _mm512_min_epu8(x, _mm512_set1_epi8(static_cast<char>(range.high)));
  return range.is_signed ? _mm512_xor_si512(x, _mm512_set1_epi8(-128)) : x;
}
[[gnu::always_inline]] inline void store_first(std::uint8_t* p, __m512i x, Index n) {
  if (n == 64) {
    _mm512_storeu_si512(p, x);
  } else {
    _mm512_mask_storeu_epi8(p, (__mmask64{1} << n) - 1, x);
  }
}
// int8_bytes as the blocks follow each other.
[[gnu::always_inline]] inline Packed in_order(Packed x) {
  return _mm512_maskz_permutexvar_epi32(
      simd::native::kAll, _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), x);
}
inline void store_packed(std::uint8_t* p, Packed x) { _mm512_storeu_si512(p, x); }
// Stores n int8 values of each of the pixels from `skip` to `count`, `pixel` bytes apart, of N blocks each.
// Floats below the range may be any below it, those above it may not.
template <int N>
[[gnu::always_inline]] inline void store_levels(std::uint8_t* p, Index pixel, Index skip, int count, Index n,
                                                Packed bytes) {
  if constexpr (N > 2) {
    if (skip <= 0) store_first(p, bytes, n);
  } else {
    if (pixel == N * kBlock && n == pixel && skip <= 0 && count == 4 / N) return store_first(p, bytes, 64);
    for_each<4 / N>([&](auto q) __attribute__((always_inline)) {
      if (q < skip || q >= count) return;
      if constexpr (N == 1) {
        const __m128i one = _mm512_maskz_extracti32x4_epi32(0xf, bytes, q);
        _mm_mask_storeu_epi8(p + q * pixel, simd::native::first_lanes(n), one);
      } else {
        const __m256i two = _mm512_maskz_extracti64x4_epi64(0xf, bytes, q);
        _mm256_mask_storeu_epi8(p + q * pixel, static_cast<__mmask32>((std::uint64_t{1} << n) - 1), two);
      }
    });
  }
}

// All int8 values of `Count` pixels.
template <int N, int Count>
[[gnu::always_inline]] inline void store_whole(std::uint8_t* p, Index pixel, Packed bytes) {
  const auto half = [](std::uint8_t* to, __m256i x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), x);
  };
  const auto quarter = [](std::uint8_t* to, __m128i x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), x);
  };
  if constexpr (N == 4) return _mm512_storeu_si512(p, bytes);
  if constexpr (N < 3 && Count == 4 / N) {
    if (pixel == N * kBlock) return _mm512_storeu_si512(p, bytes);
  }
  if constexpr (N == 1) {
    for_each<Count>([&](auto q) __attribute__((always_inline)) {
      quarter(p + q * pixel, _mm512_maskz_extracti32x4_epi32(0xf, bytes, q));
    });
  } else {
    half(p, _mm512_maskz_extracti64x4_epi64(0xf, bytes, 0));
    if constexpr (N == 3) quarter(p + 32, _mm512_maskz_extracti32x4_epi32(0xf, bytes, 2));
    if constexpr (N == 2 && Count > 1) half(p + pixel, _mm512_maskz_extracti64x4_epi64(0xf, bytes, 1));
  }
}

#elif defined(__AVX2__)

using Packed = __m256i;
inline __m256i raw(I32 x) { return (__m256i)x.v; }
[[gnu::always_inline]] inline Packed whole_bytes(const I32 (&sums)[4]) {
  return _mm256_packus_epi16(_mm256_packs_epi32(raw(sums[0]), raw(sums[1])),
                             _mm256_packs_epi32(raw(sums[2]), raw(sums[3])));
}
[[gnu::always_inline]] inline Packed int8_bytes(const I32 (&sums)[4], const Int8Range& range) {
  const __m256i zero = _mm256_set1_epi16(static_cast<short>(range.zero));
  const __m256i ab = _mm256_adds_epi16(_mm256_packs_epi32(raw(sums[0]), raw(sums[1])), zero);
  const __m256i cd = _mm256_adds_epi16(_mm256_packs_epi32(raw(sums[2]), raw(sums[3])), zero);
  __m256i x = _mm256_packus_epi16(ab, cd);
  x = _mm256_max_epu8(x, _mm256_set1_epi8(static_cast<char>(range.low)));
  x = _mm256_min_epu8(x, _mm256_set1_epi8(static_cast<char>(range.high)));
  return range.is_signed ? _mm256_xor_si256(x, _mm256_set1_epi8(-128)) : x;
}
[[gnu::always_inline]] inline void store_first(std::uint8_t* p, __m256i x, Index n) {
  if (n == 32) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x);
  } else if (n == 16) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(x));
  } else if (n == 8) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(x));
  } else {
    std::uint8_t bytes[32];
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(bytes), x);
    std::memcpy(p, bytes, static_cast<std::size_t>(n));
  }
}
[[gnu::always_inline]] inline Packed in_order(Packed x) {
  return _mm256_permutevar8x32_epi32(x, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}
inline void store_packed(std::uint8_t* p, Packed x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x); }
template <int N>
[[gnu::always_inline]] inline void store_levels(std::uint8_t* p, Index pixel, Index skip, int count, Index n,
                                                Packed bytes) {
  for_each<4 / N>([&](auto q) __attribute__((always_inline)) {
    if (q < skip || q >= count) return;
    const __m256i own = q == 0 ? bytes : _mm256_permute4x64_epi64(bytes, N == 1 ? q : 0xe);
    store_first(p + q * pixel, own, n);
  });
}

template <int N, int Count>
[[gnu::always_inline]] inline void store_whole(std::uint8_t* p, Index pixel, Packed bytes) {
  store_levels<N>(p, pixel, 0, Count, N * kBlock, bytes);
}

#else

using Packed = I32;
inline Packed whole_bytes(const I32 (&sums)[1]) { return clamp(sums[0], 0, 255); }
inline Packed int8_bytes(const I32 (&sums)[1], const Int8Range& range) {
  const I32 levels = clamp(sums[0], range.low - range.zero, range.high - range.zero);
  return levels + splat(range.zero - (range.is_signed ? 128 : 0));
}
inline Packed in_order(Packed x) { return x; }
inline void store_packed(std::uint8_t* p, Packed x) { store_bytes(p, x); }
template <int N>
inline void store_levels(std::uint8_t* p, Index /*pixel*/, Index skip, int /*count*/, Index n, Packed bytes) {
  if (skip <= 0) store_some_bytes(p, bytes, n);
}

template <int N, int Count>
inline void store_whole(std::uint8_t* p, Index pixel, Packed bytes) {
  store_levels<N>(p, pixel, 0, Count, kBlock, bytes);
}

#endif

// n int8 values of each of the pixels from `skip` to `count`, `pixel` bytes apart, from `bytes`, which are a whole
// number of blocks apart. Bytes up to 64 behind them are read.
template <int N>
inline void store_pixels(std::uint8_t* p, Index pixel, Index skip, Index count, Index n,
                         const std::uint8_t* bytes) {
  if (n == pixel && n == N * kBlock) {
    std::memcpy(p + skip * n, bytes + skip * n, static_cast<std::size_t>((count - skip) * n));
    return;
  }
  for (Index q = skip; q < count; ++q) {
    const std::uint8_t* const from = bytes + q * N * kBlock;
#if defined(__AVX512F__)
    if constexpr (N == 1) {
      _mm_mask_storeu_epi8(p + q * pixel, simd::native::first_lanes(n),
                           _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
      continue;
    }
    store_first(p + q * pixel, _mm512_loadu_si512(from), n);
#elif defined(__AVX2__)
    store_first(p + q * pixel, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)), n);
#else
    std::memcpy(p + q * pixel, from, static_cast<std::size_t>(n));
#endif
  }
}

// Pixels of N blocks whose int8 values are packed together.
template <int N>
constexpr int kTogether = kPacked < N ? 1 : kPacked / N;

// body(p, n, i) for the i-th of the vectors that are packed together, block n of pixel p of `pixels`. The
// int8 values go into `bytes`, a pixel after the other.
template <int N, class Body>
[[gnu::always_inline]] inline void pack_pixels(std::uint8_t* bytes, Index pixels, const Int8Range& range,
                                               Body body) {
  for (Index p = 0; p < pixels; p += kTogether<N>) {
    I32 levels[kPacked];
    for_each<kPacked>([&](auto i) __attribute__((always_inline)) {
      constexpr int kPixel = decltype(i)::value / N;
      if constexpr (kPixel < kTogether<N>) {
        const Index last = pixels - 1;
        levels[i] = body(p + kPixel < last ? p + kPixel : last, std::integral_constant<int, i % N>{});
      } else {
        levels[i] = levels[0];
      }
    });
    store_packed(bytes + p * N * kBlock, in_order(int8_bytes(levels, range)));
  }
}

}  // namespace
}  // namespace rdquant::runtime::kernels
