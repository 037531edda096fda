#include <immintrin.h>

#include "codec/format/bits.hpp"

namespace rdquant::codec {

// Eight values of up to 8 bits begin at the same bit of a byte each time and lie in 64 bits.
std::size_t add_low_bits_avx2(std::span<std::int32_t> levels, std::span<const std::uint8_t> packed, int width,
                              std::size_t first, std::uint32_t centre) {
  const std::size_t bit = first * static_cast<std::size_t>(width);
  const auto at = static_cast<long long>(bit % 8), w = static_cast<long long>(width);
  const __m256i even = _mm256_set_epi64x(at + 6 * w, at + 4 * w, at + 2 * w, at);
  const __m256i odd = _mm256_set_epi64x(at + 7 * w, at + 5 * w, at + 3 * w, at + w);
  const __m256i mask = _mm256_set1_epi64x((1LL << width) - 1);
  const __m256i centres = _mm256_set1_epi32(static_cast<int>(centre));
  const __m128i up = _mm_cvtsi32_si128(width);
  const std::uint8_t* from = packed.data() + bit / 8;
  const std::uint8_t* const end = packed.data() + packed.size();
  std::size_t i = 0;
  for (; i + 8 <= levels.size() && from + 8 <= end; i += 8, from += width) {
    long long held;
    std::memcpy(&held, from, 8);
    const __m256i all = _mm256_set1_epi64x(held);
    const __m256i evens = _mm256_and_si256(_mm256_srlv_epi64(all, even), mask);
    const __m256i odds = _mm256_and_si256(_mm256_srlv_epi64(all, odd), mask);
    const __m256i low = _mm256_or_si256(evens, _mm256_slli_epi64(odds, 32));
    auto* const to = reinterpret_cast<__m256i*>(levels.data() + i);
    const __m256i high = _mm256_sll_epi32(_mm256_loadu_si256(to), up);
    _mm256_storeu_si256(to, _mm256_add_epi32(_mm256_or_si256(high, low), centres));
  }
  return i;
}

}  // namespace rdquant::codec
