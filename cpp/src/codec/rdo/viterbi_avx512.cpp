#include <immintrin.h>

#include <cstring>

#include "codec/rdo/viterbi_vectors.hpp"

namespace rdquant::codec {
namespace {

inline Ints gather(const std::uint32_t* cells, Ints at) {
  return simd::bits_as<Ints>(
      _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), 0xffff, simd::bits_as<__m512i>(at), cells, 4));
}

inline Floats permute(Floats a, Floats b, Ints at) {
  return simd::bits_as<Floats>(
      _mm512_permutex2var_ps(simd::bits_as<__m512>(a), simd::bits_as<__m512i>(at), simd::bits_as<__m512>(b)));
}
inline Ints permute(Ints a, Ints b, Ints at) {
  return simd::bits_as<Ints>(_mm512_permutex2var_epi32(simd::bits_as<__m512i>(a), simd::bits_as<__m512i>(at),
                                                       simd::bits_as<__m512i>(b)));
}

}  // namespace
}  // namespace rdquant::codec

#include "codec/rdo/viterbi.inl"

namespace rdquant::codec {

void choose_levels_avx512(const TapTask& task) { choose_any(task); }
double coded_bits_avx512(const BitsTask& task) { return bits_of_all(task); }

}  // namespace rdquant::codec
