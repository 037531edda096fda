// Everything here is local or intrinsic: code built for one set must not be linked into another.
#include <immintrin.h>

#include "entropy/window.hpp"

namespace rdquant::entropy {
namespace {

constexpr int kPlanes = 6;
constexpr std::size_t kGroup = 64;  // symbols, a byte each, of which one register takes a bit each

// Where byte j of two rounds of packing comes from: packing works within each quarter of the registers.
constexpr std::size_t origin(std::size_t j) { return (j % 16 / 4) * 16 + j / 16 * 4 + j % 4; }

// Numbers 0..62 of the symbols in the window, 63 for those outside, which go to `outside`.
inline __m512i numbers(const std::int32_t* symbols, __m512i centre, std::int32_t*& outside) {
  const auto from_centre = [&](std::size_t at) {
    return _mm512_sub_epi32(_mm512_loadu_si512(symbols + at), centre);
  };
  const __m512i first = _mm512_packs_epi32(from_centre(0), from_centre(16));
  const __m512i second = _mm512_packs_epi32(from_centre(32), from_centre(48));
  const __m512i number = _mm512_add_epi8(_mm512_packs_epi16(first, second), _mm512_set1_epi8(kWindowLow));
  const __m512i last = _mm512_set1_epi8((1 << kPlanes) - 1);
  for (std::uint64_t rest = _mm512_cmpge_epu8_mask(number, last); rest != 0; rest &= rest - 1) {
    *outside++ = symbols[origin(static_cast<std::size_t>(__builtin_ctzll(rest)))];
  }
  return _mm512_min_epu8(number, last);
}

// Eight products of three planes: entry m has the bits of symbols whose three bits are those of m.
inline void products(const __m512i* planes, __m512i* product) {
  for (int m = 0; m < 8; ++m) {
    const __m512i low = (m & 1) != 0 ? planes[0] : ~planes[0];
    const __m512i middle = (m & 2) != 0 ? planes[1] : ~planes[1];
    const __m512i high = (m & 4) != 0 ? planes[2] : ~planes[2];
    product[m] = low & middle & high;
  }
}

}  // namespace

std::size_t avx512vpopcntdq::count_window(const std::int32_t* symbols, std::size_t n, std::int32_t centre,
                                          std::uint64_t* sums, std::int32_t* outside) {
  const __m512i centres = _mm512_set1_epi32(centre);
  std::int32_t* end = outside;
  for (std::size_t i = 0; i < n; i += kWindowBlock) {
    alignas(64) std::uint64_t words[kPlanes][kWindowBlock / kGroup];
    for (std::size_t g = 0; g < kWindowBlock / kGroup; ++g) {
      const __m512i number = numbers(symbols + i + g * kGroup, centres, end);
      for (int k = 0; k < kPlanes; ++k) {
        words[k][g] = _mm512_test_epi8_mask(number, _mm512_set1_epi8(static_cast<char>(1 << k)));
      }
    }
    __m512i planes[kPlanes];
    for (int k = 0; k < kPlanes; ++k) planes[k] = _mm512_load_si512(words[k]);
    __m512i low[8];
    __m512i high[8];
    products(planes, low);
    products(planes + 3, high);
    std::uint64_t* sum = sums;
    for (const __m512i& h : high) {
      for (const __m512i& l : low) {
        _mm512_storeu_si512(sum, _mm512_add_epi64(_mm512_loadu_si512(sum), _mm512_popcnt_epi64(h & l)));
        sum += 8;
      }
    }
  }
  return static_cast<std::size_t>(end - outside);
}

}  // namespace rdquant::entropy
