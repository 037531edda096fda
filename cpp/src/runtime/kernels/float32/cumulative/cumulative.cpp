#include "runtime/kernels/float32/cumulative/cumulative.hpp"

#include "runtime/kernels/float32/cumulative/tables.hpp"
#include "simd/dispatch.hpp"

namespace rdquant::runtime::kernels {

const Cumulative& cumulative(core::Isa isa) {
  simd::require_available(isa);
  return simd::variant(RDQUANT_VARIANTS(cumulative), isa);
}

}  // namespace rdquant::runtime::kernels
