#include <immintrin.h>

#include <cstring>

#include "viterbi_vectors.hpp"

namespace rdquant::codec {
namespace {

inline Ints gather(const std::uint32_t* cells, Ints at) {
  __m256i half[2];
  std::memcpy(half, &at, sizeof at);
  for (__m256i& h : half) h = _mm256_i32gather_epi32(reinterpret_cast<const int*>(cells), h, 4);
  Ints out;
  std::memcpy(&out, half, sizeof out);
  return out;
}

}  // namespace
}  // namespace rdquant::codec

#include "viterbi.inl"

namespace rdquant::codec {

void choose_levels_avx2(const TapTask& task) { choose_any(task); }
double coded_bits_avx2(const BitsTask& task) { return bits_of_all(task); }

}  // namespace rdquant::codec
