// Everything for int8 values but convolutions. Included by one file per instruction set, which sets
// RDQUANT_KERNELS_ISA.
#include "runtime/kernels/int8/layers/elementwise.inl"
#include "runtime/kernels/int8/layers/pool.inl"
#include "runtime/kernels/int8/layers/quantize.inl"
#include "runtime/kernels/int8/lookup.inl"
#include "runtime/kernels/int8/tables.hpp"

namespace rdquant::runtime::kernels {
namespace RDQUANT_KERNELS_ISA {
const Int8LayerTable int8_layers = {min_max,          quantize,
                                    quantize_plain,   quantize_blocked,
                                    quantize_affine,  dequantize,
                                    dequantize_plain, dequantize_blocked,
                                    lookup,           add,
                                    multiply,         pool,
                                    resize,           repeat_channels,
                                    compact,          gather_taps};
}
}  // namespace rdquant::runtime::kernels
