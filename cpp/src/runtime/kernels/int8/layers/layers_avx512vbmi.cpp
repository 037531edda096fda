#include <immintrin.h>

#include "runtime/kernels/int8/tables.hpp"

namespace rdquant::runtime::kernels {
namespace {

struct Table {
  __m512i quarters[4];
};

// Seven bits choose among two registers, the eighth between the two halves of the table.
inline __m512i look_up(const Table& t, __m512i index) {
  const __m512i low = _mm512_permutex2var_epi8(t.quarters[0], index, t.quarters[1]);
  const __m512i high = _mm512_permutex2var_epi8(t.quarters[2], index, t.quarters[3]);
  return _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), low, high);
}

void look_up_all(const std::uint8_t* table, const std::uint8_t* src, std::uint8_t* dst, Index begin,
                 Index end) {
  Table t;
  for (int i = 0; i < 4; ++i) t.quarters[i] = _mm512_loadu_si512(table + 64 * i);
  Index i = begin;
  for (; i + 64 <= end; i += 64) _mm512_storeu_si512(dst + i, look_up(t, _mm512_loadu_si512(src + i)));
  if (i == end) return;
  const __mmask64 rest = (__mmask64{1} << (end - i)) - 1;
  _mm512_mask_storeu_epi8(dst + i, rest, look_up(t, _mm512_maskz_loadu_epi8(rest, src + i)));
}

}  // namespace

namespace avx512vbmi {
const decltype(Int8Kernels::lookup) lookup = look_up_all;
}
}  // namespace rdquant::runtime::kernels
