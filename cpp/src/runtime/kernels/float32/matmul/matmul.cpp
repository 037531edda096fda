#include "runtime/kernels/float32/matmul/matmul.hpp"

#include "runtime/kernels/float32/matmul/tables.hpp"
#include "simd/dispatch.hpp"

namespace rdquant::runtime::kernels {

const Matmul& matmul(core::Isa isa) {
  simd::require_available(isa);
  return simd::variant(RDQUANT_VARIANTS(matmul), isa);
}

}  // namespace rdquant::runtime::kernels
