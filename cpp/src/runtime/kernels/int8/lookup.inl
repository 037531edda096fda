// Tables of 256 int8 values.
#pragma once

#include "runtime/kernels/vec.inl"
#include "simd/bytes.inl"

namespace rdquant::runtime::kernels {
namespace {

constexpr Index kBytes = simd::kWordBytes;
// Shuffles of 16 bytes take as long as loads of one each.
constexpr bool kShufflesLookUp = simd::kRegister > 16;

// Eight rows of 16 entries for either half of the table, each but the first XORed with the row before. A
// shuffle gives 0 where its index is negative, and its entry index mod 16 otherwise; with the index 16 less
// from row to row, saturating, the results of all rows XORed leave the last row that was not negative.
struct Rows {
  alignas(64) std::uint8_t differences[256];
};

inline Rows rows_of(const std::uint8_t* table) {
  Rows rows;
  for (int i = 0; i < 256; ++i) {
    const bool first = i % 128 < 16;
    rows.differences[i] = first ? table[i] : static_cast<std::uint8_t>(table[i] ^ table[i - 16]);
  }
  return rows;
}

inline simd::Bytes look_up(const Rows& rows, simd::Bytes x) {
  const auto picked = [&](int row, simd::Bytes at) {
    return pick(simd::load_part_everywhere(rows.differences + row), at);
  };
  const simd::Bytes step = simd::splat_as<simd::Bytes>(16);
  simd::Bytes low = x, high = x ^ simd::splat_as<simd::Bytes>(128);
  simd::Bytes all = picked(0, low) ^ picked(128, high);
  for_each<7>([&](auto i) {
    constexpr int kRow = 16 * (decltype(i)::value + 1);
    low = subtract_saturated(low, step);
    high = subtract_saturated(high, step);
    all = all ^ (picked(kRow, low) ^ picked(128 + kRow, high));
  });
  return all;
}

[[maybe_unused]] void lookup(const std::uint8_t* table, const std::uint8_t* src, std::uint8_t* dst,
                             Index begin, Index end) {
  Index i = begin;
  if (kShufflesLookUp && end - begin >= 8 * kBytes) {
    const Rows rows = rows_of(table);
    for (; i + kBytes <= end; i += kBytes) {
      store_as(dst + i, look_up(rows, simd::load_as<simd::Bytes>(src + i)));
    }
  }
#if defined(__ARM_NEON)
  if (end - i >= 16) {
    const simd::ByteTable entries(table);
    for (; i + 16 <= end; i += 16) entries.translate(src + i, dst + i);
  }
#endif
  for (; i < end; ++i) dst[i] = table[src[i]];
}

}  // namespace
}  // namespace rdquant::runtime::kernels
