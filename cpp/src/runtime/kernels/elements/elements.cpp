#include "runtime/kernels/elements/elements.hpp"

#include "runtime/kernels/elements/tables.hpp"
#include "simd/dispatch.hpp"

namespace rdquant::runtime::kernels {

const Elements& elements(core::Isa isa) {
  simd::require_available(isa);
  return simd::variant(RDQUANT_VARIANTS(elements), isa);
}

}  // namespace rdquant::runtime::kernels
