#include <immintrin.h>

#include <bit>

#include "codec/sparse/sparse_kernels.hpp"

namespace rdquant::codec {

std::int16_t* scales_of_row_avx512(const std::int32_t* signs, const std::int16_t* of_row, std::size_t size,
                                   std::int16_t row, std::int16_t* out) {
  const __m512i rows = _mm512_set1_epi32(row);
  for (std::size_t i = 0; i < size; i += 16) {
    const auto on = static_cast<__mmask16>(size - i >= 16 ? 0xffff : (1U << (size - i)) - 1);
    const __m512i sign = _mm512_maskz_loadu_epi32(on, signs + i);
    const __m256i some = _mm256_maskz_loadu_epi16(on, of_row + i);
    const __mmask16 there = _mm512_test_epi32_mask(sign, sign);
    const __m512i scale = _mm512_add_epi32(_mm512_maskz_cvtepi16_epi32(0xffff, some), rows);
    const __m256i packed = _mm512_maskz_cvtepi32_epi16(0xffff, _mm512_maskz_compress_epi32(there, scale));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), packed);
    out += std::popcount(static_cast<unsigned>(there));
  }
  return out;
}

std::size_t place_avx512(const std::int32_t* distances, bool same, std::int32_t common, std::int32_t least,
                         std::int32_t* levels, std::size_t size, std::size_t& taken) {
  const __m512i commons = _mm512_set1_epi32(common), leasts = _mm512_set1_epi32(least);
  const __m512i first = _mm512_set1_epi32(distances[0]);
  std::size_t i = 0;
  for (; i + 16 <= size; i += 16) {
    const __m512i sign = _mm512_loadu_si512(levels + i);
    const __mmask16 there = _mm512_test_epi32_mask(sign, sign);
    const __m512i next =
        same ? first : _mm512_maskz_expand_epi32(there, _mm512_loadu_si512(distances + taken));
    const __m512i beyond = _mm512_mullo_epi32(sign, _mm512_add_epi32(leasts, next));
    _mm512_storeu_si512(levels + i, _mm512_add_epi32(commons, beyond));
    if (!same) taken += static_cast<unsigned>(std::popcount(static_cast<unsigned>(there)));
  }
  return i;
}

}  // namespace rdquant::codec
