#include "runtime/kernels/float32/normalize/normalize.hpp"

#include "runtime/kernels/float32/normalize/tables.hpp"
#include "simd/dispatch.hpp"

namespace rdquant::runtime::kernels {

const Normalize& normalize(core::Isa isa) {
  simd::require_available(isa);
  return simd::variant(RDQUANT_VARIANTS(normalize), isa);
}

}  // namespace rdquant::runtime::kernels
