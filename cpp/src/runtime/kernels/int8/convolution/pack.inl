// Sums packed into int8 values, and int8 values into memory.
#pragma once

#include "runtime/kernels/int8/vectors.inl"
#include "simd/bytes.inl"

namespace rdquant::runtime::kernels {
namespace {

using Packed = simd::Bytes;
constexpr int kPacked = 4;  // blocks of int8 values that are packed together

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

// The order is that of in_order's argument.
[[gnu::always_inline]] inline Packed whole_bytes(const I32 (&sums)[kPacked]) {
  return pack_unsigned(pack(sums[0], sums[1]), pack(sums[2], sums[3]));
}
[[gnu::always_inline]] inline Packed int8_bytes(const I32 (&sums)[kPacked], const Int8Range& range) {
  const auto low = simd::splat_as<Packed>(static_cast<std::uint8_t>(range.low));
  const auto high = simd::splat_as<Packed>(static_cast<std::uint8_t>(range.high));
  const auto zero = simd::splat_as<simd::PackedShorts>(static_cast<std::int16_t>(range.zero));
  const auto ab = add_saturated(pack(sums[0], sums[1]), zero),
             cd = add_saturated(pack(sums[2], sums[3]), zero);
  const Packed x = min(max(pack_unsigned(ab, cd), low), high);
  return range.is_signed ? x ^ simd::splat_as<Packed>(128) : x;
}

// Stores n int8 values of each of the pixels from `skip` to `count`, `pixel` bytes apart, of N blocks each.
// Floats below the range may be any below it, those above it may not.
template <int N>
[[gnu::always_inline]] inline void store_levels(std::uint8_t* p, Index pixel, Index skip, int count, Index n,
                                                Packed bytes) {
  if constexpr (N > 2) {
    if (skip <= 0) store_some(p, bytes, n);
  } else {
    if constexpr (simd::kRegister == 64) {
      if (pixel == N * kBlock && n == pixel && skip <= 0 && count == 4 / N) return store_as(p, bytes);
    }
    for_each<4 / N>([&](auto q) __attribute__((always_inline)) {
      if (q < skip || q >= count) return;
      store_some(p + q * pixel, simd::piece<N * kBlock, q>(bytes), n);
    });
  }
}

// All int8 values of `Count` pixels.
template <int N, int Count>
[[gnu::always_inline]] inline void store_whole(std::uint8_t* p, Index pixel, Packed bytes) {
  if constexpr (N == 4) return store_as(p, bytes);
  if constexpr (N < 3 && Count == 4 / N) {
    if (pixel == N * kBlock) return store_as(p, bytes);
  }
  if constexpr (N == 3) {
    store_as(p, simd::piece<2 * kBlock, 0>(bytes));
    store_as(p + 2 * kBlock, simd::piece<kBlock, 2>(bytes));
  } else {
    for_each<Count>([&](auto q) __attribute__((always_inline)) {
      store_as(p + q * pixel, simd::piece<N * kBlock, q>(bytes));
    });
  }
}

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
    constexpr int kWidth = N == 1 && simd::kRegister == 64 ? simd::kLanes : simd::kWordBytes;
    store_some(p + q * pixel, simd::load_as<simd::Vector<std::uint8_t, kWidth>>(from), n);
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
    store_as(bytes + p * N * kBlock, in_order(int8_bytes(levels, range)));
  }
}

}  // namespace
}  // namespace rdquant::runtime::kernels
