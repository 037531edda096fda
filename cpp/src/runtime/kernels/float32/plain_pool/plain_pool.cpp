#include "runtime/kernels/float32/plain_pool/plain_pool.hpp"

#include <algorithm>

#include "runtime/kernels/float32/plain_pool/tables.hpp"
#include "simd/dispatch.hpp"

namespace rdquant::runtime::kernels {

Index padded_row(const PoolAxis& columns, Index block) {
  const Index results = divide(columns.out, block) * block;
  const Index reach = results * columns.stride + (columns.kernel - 1) * columns.dilation;
  return divide(std::max(reach, columns.before + columns.in), block) * block + block;
}

Index plain_pool_scratch(const PoolAxis& columns, Index block) {
  return kPlainPoolRows * padded_row(columns, block) + divide(columns.out, block) * block;
}

const PlainPool& plain_pool(core::Isa isa) {
  simd::require_available(isa);
  return simd::variant(RDQUANT_VARIANTS(plain_pool), isa);
}

}  // namespace rdquant::runtime::kernels
