#include <immintrin.h>

#include <cstring>

#include "viterbi_vectors.hpp"

namespace rdquant::codec {
namespace {

inline Ints gather(const std::uint32_t* cells, Ints at) {
  __m512i index;
  std::memcpy(&index, &at, sizeof at);
  const __m512i found = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), 0xffff, index, cells, 4);
  Ints out;
  std::memcpy(&out, &found, sizeof out);
  return out;
}

inline Floats permute(Floats a, Floats b, Ints at) {
  return reinterpret_cast<Floats>(_mm512_permutex2var_ps(
      reinterpret_cast<__m512>(a), reinterpret_cast<__m512i>(at), reinterpret_cast<__m512>(b)));
}
inline Ints permute(Ints a, Ints b, Ints at) {
  return reinterpret_cast<Ints>(_mm512_permutex2var_epi32(
      reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(at), reinterpret_cast<__m512i>(b)));
}

}  // namespace
}  // namespace rdquant::codec

#include "viterbi.inl"

namespace rdquant::codec {

void choose_levels_avx512(const TapTask& task) { choose_any(task); }
double coded_bits_avx512(const BitsTask& task) { return bits_of_all(task); }

}  // namespace rdquant::codec
