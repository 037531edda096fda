// Everything for levels but convolutions. Included by one file per instruction set, which sets
// RDQUANT_KERNELS_ISA.
#include "integer_elementwise.inl"
#include "integer_lookup.inl"
#include "integer_pool.inl"
#include "integer_quantize.inl"
#include "integer_tables.hpp"

namespace rdquant::runtime::kernels {
namespace RDQUANT_KERNELS_ISA {
const IntegerLayerTable integer_layers = {extremes,           quantize,   quantize_plain,
                                          quantize_blocked,   dequantize, dequantize_plain,
                                          dequantize_blocked, lookup,     add,
                                          multiply,           pool,       resize};
}
}  // namespace rdquant::runtime::kernels
