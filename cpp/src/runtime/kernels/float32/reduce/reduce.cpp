#include "runtime/kernels/float32/reduce/reduce.hpp"

#include "runtime/kernels/float32/reduce/tables.hpp"
#include "simd/dispatch.hpp"

namespace rdquant::runtime::kernels {

const Reduce& reduce(core::Isa isa) {
  simd::require_available(isa);
  return simd::variant(RDQUANT_VARIANTS(reduce), isa);
}

}  // namespace rdquant::runtime::kernels
