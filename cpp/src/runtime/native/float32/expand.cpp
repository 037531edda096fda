#include "runtime/native/float32/expand.hpp"

#include <algorithm>

namespace rdquant::runtime::native {

using kernels::Index;

ExpandedRows::ExpandedRows(const float* from, Index count, Index row, Index length, Index step) {
  if (row == length && step == 1) {
    data_ = from;
    return;
  }
  float* const to = floats_.data();
  data_ = to;
  const Index rows = row == 0 ? 1 : count;
  float* next = to;
  for (Index r = 0; r < rows; ++r) {
    for (Index i = 0; i < length; ++i) *next++ = from[r * row + i * step];
  }
  // the same row again and again: twice as many each time
  for (Index done = next - to; done < count * length; done *= 2)
    std::copy_n(to, std::min(done, count * length - done), to + done);
}

}  // namespace rdquant::runtime::native
