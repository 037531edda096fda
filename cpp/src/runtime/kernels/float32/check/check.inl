// Tests of data. Included by one file per instruction set, which sets RDQUANT_KERNELS_ISA.
#include "runtime/kernels/float32/check/tables.hpp"
#include "runtime/kernels/vec.inl"

namespace rdquant::runtime::kernels {
namespace {

bool has_nan(const float* x, Index begin, Index end) {
  F32 found = splat(0.0f);  // a lane is NaN where one was met
  Index i = begin;
  for (; i + kBlock <= end; i += kBlock) {
    const F32 value = load(x + i);
    found = select(value == value, found, value);
  }
  float lanes[kBlock];
  store(lanes, found);
  bool any = false;
  for (const float lane : lanes) any = any || lane != lane;
  for (; i < end; ++i) any = any || x[i] != x[i];
  return any;
}

}  // namespace

namespace RDQUANT_KERNELS_ISA {
const Check check = {.has_nan = has_nan};
}
}  // namespace rdquant::runtime::kernels
