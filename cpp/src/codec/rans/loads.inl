// Elements of a table by a load each, for a file that includes this one to build its vectors from.
#include <immintrin.h>

#include <cstdint>

namespace rdquant::codec {
namespace {

/// The elements at the two places in each of `low` and `high`.
[[gnu::always_inline]] inline __m128i four(const int* p, long long low, long long high) {
  __m128i some = _mm_cvtsi32_si128(p[low & 0xffffffff]);
  some = _mm_insert_epi32(some, p[static_cast<std::uint64_t>(low) >> 32], 1);
  some = _mm_insert_epi32(some, p[high & 0xffffffff], 2);
  return _mm_insert_epi32(some, p[static_cast<std::uint64_t>(high) >> 32], 3);
}

}  // namespace
}  // namespace rdquant::codec
