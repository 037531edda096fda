#include <immintrin.h>

#include <array>

#include "codec/format/checksum.hpp"

namespace rdquant::codec {
namespace {

/// `x`, moved on by as many bits as `by` is made for, added to the next 16 bytes.
[[gnu::target("pclmul")]] inline __m128i folded(__m128i x, __m128i by, __m128i next) {
  const __m128i low = _mm_clmulepi64_si128(x, by, 0x00), high = _mm_clmulepi64_si128(x, by, 0x11);
  return _mm_xor_si128(next, _mm_xor_si128(low, high));
}

[[gnu::target("pclmul")]] inline __m128i load(const std::uint8_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}

}  // namespace

// Gopal et al., Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction, Intel, 2009: a
// block's remainder does not change if its first bytes are multiplied by x^n mod P and added n bits further
// on.
[[gnu::target("pclmul")]] std::uint32_t crc_folded(std::span<const std::uint8_t> bytes,
                                                   std::uint32_t crc) noexcept {
  if (bytes.size() < 64) return crc_plain(bytes, crc);
  // Bits reversed: x^(512 + 32) and x^(512 − 32) mod P, x^(128 + 32) and x^(128 − 32) mod P.
  const __m128i by_512 = _mm_set_epi64x(0x1c6e41596, 0x154442bd4);
  const __m128i by_128 = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0);
  const std::uint8_t* p = bytes.data();
  std::size_t left = bytes.size() - 64;
  __m128i x0 = _mm_xor_si128(load(p), _mm_cvtsi32_si128(static_cast<int>(crc)));
  __m128i x1 = load(p + 16), x2 = load(p + 32), x3 = load(p + 48);
  for (p += 64; left >= 64; left -= 64, p += 64) {
    x0 = folded(x0, by_512, load(p));
    x1 = folded(x1, by_512, load(p + 16));
    x2 = folded(x2, by_512, load(p + 32));
    x3 = folded(x3, by_512, load(p + 48));
  }
  x3 = folded(folded(folded(x0, by_128, x1), by_128, x2), by_128, x3);
  for (; left >= 16; left -= 16, p += 16) x3 = folded(x3, by_128, load(p));
  std::array<std::uint8_t, 16> rest{};
  _mm_storeu_si128(reinterpret_cast<__m128i*>(rest.data()), x3);
  return crc_plain({p, left}, crc_plain(rest, 0));
}

}  // namespace rdquant::codec
