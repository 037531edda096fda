#include <immintrin.h>

#include <cstring>

#include "codec/rdo/viterbi_vectors.hpp"

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

/// Of four times eight elements: from each eight by the low three bits, and of these by the bits above.
inline Ints permute(Ints a, Ints b, Ints at) {
  __m256i from[4], by[2];
  std::memcpy(from, &a, sizeof a);
  std::memcpy(from + 2, &b, sizeof b);
  std::memcpy(by, &at, sizeof at);
  for (__m256i& i : by) {
    const __m256 odd = _mm256_castsi256_ps(_mm256_slli_epi32(i, 28)),
                 second = _mm256_castsi256_ps(_mm256_slli_epi32(i, 27));
    const auto eight = [&](int e) { return _mm256_castsi256_ps(_mm256_permutevar8x32_epi32(from[e], i)); };
    const __m256 low = _mm256_blendv_ps(eight(0), eight(1), odd),
                 high = _mm256_blendv_ps(eight(2), eight(3), odd);
    i = _mm256_castps_si256(_mm256_blendv_ps(low, high, second));
  }
  Ints out;
  std::memcpy(&out, by, sizeof out);
  return out;
}
inline Floats permute(Floats a, Floats b, Ints at) {
  return simd::bits_as<Floats>(permute(simd::bits_as<Ints>(a), simd::bits_as<Ints>(b), at));
}

}  // namespace
}  // namespace rdquant::codec

#include "codec/rdo/viterbi.inl"

namespace rdquant::codec {

void choose_levels_avx2(const TapTask& task) { choose_any(task); }
double coded_bits_avx2(const BitsTask& task) { return bits_of_all(task); }

}  // namespace rdquant::codec
