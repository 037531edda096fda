// Everything but convolutions. Included by one file per instruction set, which sets RDQUANT_KERNELS_ISA.
#include "runtime/kernels/float32/layers/copy.inl"
#include "runtime/kernels/float32/layers/elementwise.inl"
#include "runtime/kernels/float32/layers/linear.inl"
#include "runtime/kernels/float32/layers/moved.inl"
#include "runtime/kernels/float32/layers/pool.inl"
#include "runtime/kernels/float32/tables.hpp"

namespace rdquant::runtime::kernels {
namespace RDQUANT_KERNELS_ISA {
const LayerTable layers = {kBlock,          pool,      global_average,  unary,     binary,   binary_rows,
                           binary_channels, softmax,   softmax_columns, linear,    resize,   to_blocked,
                           to_plain,        transpose, pick_lanes,      add_moved, copy_rows};
}
}  // namespace rdquant::runtime::kernels
