#include "runtime/kernels/float32/grid_sample/grid_sample.hpp"

#include "runtime/kernels/float32/grid_sample/tables.hpp"
#include "simd/dispatch.hpp"

namespace rdquant::runtime::kernels {

const GridSample& grid_sample(core::Isa isa) {
  simd::require_available(isa);
  return simd::variant(RDQUANT_VARIANTS(grid_sample), isa);
}

}  // namespace rdquant::runtime::kernels
