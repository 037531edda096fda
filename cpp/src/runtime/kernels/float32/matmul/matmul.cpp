#include "runtime/kernels/float32/matmul/matmul.hpp"

#include "runtime/kernels/float32/matmul/tables.hpp"
#include "simd/dispatch.hpp"

namespace rdquant::runtime::kernels {

MatmulPlan first_rows(MatmulPlan plan, Index rows) {
  const Index sides = divide(plan.panels, plan.group_panels);
  plan.m = rows;
  plan.tiles = divide(rows, plan.rows);
  plan.rows = divide(rows, plan.tiles);
  plan.items = divide(plan.tiles, plan.group_tiles) * sides;
  return plan;
}

const Matmul& matmul(core::Isa isa) {
  simd::require_available(isa);
  return simd::variant(RDQUANT_VARIANTS(matmul), isa);
}

}  // namespace rdquant::runtime::kernels
