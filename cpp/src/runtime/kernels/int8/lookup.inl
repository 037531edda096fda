// Tables of 256 int8 values.
#pragma once

#include "runtime/kernels/vec.inl"

namespace rdquant::runtime::kernels {
namespace {

#if defined(__AVX2__)

#if defined(__AVX512BW__)
using Register = __m512i;
inline Register load_register(const std::uint8_t* p) { return _mm512_loadu_si512(p); }
inline void store_register(std::uint8_t* p, Register x) { _mm512_storeu_si512(p, x); }
inline Register sixteen(const std::uint8_t* p) {
  return _mm512_maskz_broadcast_i32x4(0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Register splat_byte(int x) { return _mm512_set1_epi8(static_cast<char>(x)); }
inline Register choose(Register table, Register index) { return _mm512_shuffle_epi8(table, index); }
inline Register less(Register x, Register y) { return _mm512_subs_epi8(x, y); }
inline Register differ(Register x, Register y) { return _mm512_xor_si512(x, y); }
#else
using Register = __m256i;
inline Register load_register(const std::uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const Register*>(p));
}
inline void store_register(std::uint8_t* p, Register x) {
  _mm256_storeu_si256(reinterpret_cast<Register*>(p), x);
}
inline Register sixteen(const std::uint8_t* p) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Register splat_byte(int x) { return _mm256_set1_epi8(static_cast<char>(x)); }
inline Register choose(Register table, Register index) { return _mm256_shuffle_epi8(table, index); }
inline Register less(Register x, Register y) { return _mm256_subs_epi8(x, y); }
inline Register differ(Register x, Register y) { return _mm256_xor_si256(x, y); }
#endif

constexpr Index kRegister = sizeof(Register);

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

inline Register look_up(const Rows& rows, Register x) {
  const Register step = splat_byte(16);
  Register low = x;
  Register high = differ(x, splat_byte(-128));
  Register all =
      differ(choose(sixteen(rows.differences), low), choose(sixteen(rows.differences + 128), high));
  for_each<7>([&](auto i) {
    constexpr int kRow = 16 * (decltype(i)::value + 1);
    low = less(low, step);
    high = less(high, step);
    const Register of_low = choose(sixteen(rows.differences + kRow), low);
    const Register of_high = choose(sixteen(rows.differences + 128 + kRow), high);
    all = differ(all, differ(of_low, of_high));
  });
  return all;
}

#endif

[[maybe_unused]] void lookup(const std::uint8_t* table, const std::uint8_t* src, std::uint8_t* dst,
                             Index begin, Index end) {
  Index i = begin;
#if defined(__AVX2__)
  if (end - begin >= 8 * kRegister) {
    const Rows rows = rows_of(table);
    for (; i + kRegister <= end; i += kRegister)
      store_register(dst + i, look_up(rows, load_register(src + i)));
  }
#endif
  for (; i < end; ++i) dst[i] = table[src[i]];
}

}  // namespace
}  // namespace rdquant::runtime::kernels
