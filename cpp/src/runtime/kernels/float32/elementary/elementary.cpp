#include "runtime/kernels/float32/elementary/elementary.hpp"

#include "runtime/kernels/float32/elementary/tables.hpp"
#include "simd/dispatch.hpp"

namespace rdquant::runtime::kernels {

const ElementaryKernels& elementary(core::Isa isa) {
  simd::require_available(isa);
  return simd::variant(RDQUANT_VARIANTS(elementary), isa);
}

}  // namespace rdquant::runtime::kernels
