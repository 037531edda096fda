#include "runtime/kernels/float32/check/check.hpp"

#include "runtime/kernels/float32/check/tables.hpp"
#include "simd/dispatch.hpp"

namespace rdquant::runtime::kernels {

const Check& check(core::Isa isa) {
  simd::require_available(isa);
  return simd::variant(RDQUANT_VARIANTS(check), isa);
}

}  // namespace rdquant::runtime::kernels
