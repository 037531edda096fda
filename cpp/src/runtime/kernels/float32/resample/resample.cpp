#include "runtime/kernels/float32/resample/resample.hpp"

#include "runtime/kernels/float32/resample/tables.hpp"
#include "simd/dispatch.hpp"

namespace rdquant::runtime::kernels {

const Resample& resample(core::Isa isa) {
  simd::require_available(isa);
  return simd::variant(RDQUANT_VARIANTS(resample), isa);
}

}  // namespace rdquant::runtime::kernels
