// Sums and extremes along one axis, and where the extremes stand. Included by one file per instruction set, which sets
// RDQUANT_KERNELS_ISA.
#include "runtime/kernels/float32/reduce/columns.inl"
#include "runtime/kernels/float32/reduce/extremes.inl"
#include "runtime/kernels/float32/reduce/rows.inl"
#include "runtime/kernels/float32/reduce/tables.hpp"

namespace rdquant::runtime::kernels {
namespace RDQUANT_KERNELS_ISA {
const Reduce reduce = {
    .block = kBlock, .rows = rows, .columns = columns, .arg_rows = arg_rows, .arg_columns = arg_columns};
}
}  // namespace rdquant::runtime::kernels
