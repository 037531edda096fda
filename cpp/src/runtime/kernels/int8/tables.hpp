#pragma once

#include "runtime/kernels/int8/kernels.hpp"

/// What the leaf files for levels define, one table per family.
namespace rdquant::runtime::kernels {

struct IntegerConvolutionTable {
  Index block;
  decltype(IntegerKernels::plan) plan;
  decltype(IntegerKernels::pack) pack;
  decltype(IntegerKernels::convolve) run;
};

struct IntegerLayerTable {
  decltype(IntegerKernels::extremes) extremes;
  decltype(IntegerKernels::quantize) quantize;
  decltype(IntegerKernels::quantize_plain) quantize_plain;
  decltype(IntegerKernels::quantize_blocked) quantize_blocked;
  decltype(IntegerKernels::dequantize) dequantize;
  decltype(IntegerKernels::dequantize_plain) dequantize_plain;
  decltype(IntegerKernels::dequantize_blocked) dequantize_blocked;
  decltype(IntegerKernels::lookup) lookup;
  decltype(IntegerKernels::add) add;
  decltype(IntegerKernels::multiply) multiply;
  decltype(IntegerKernels::pool) pool;
  decltype(IntegerKernels::resize) resize;
};

#define RDQUANT_INTEGER_TABLES(isa)                         \
  namespace isa {                                           \
  extern const IntegerConvolutionTable integer_convolution; \
  extern const IntegerLayerTable integer_layers;            \
  }
RDQUANT_INTEGER_TABLES(baseline)
RDQUANT_INTEGER_TABLES(avx2)
RDQUANT_INTEGER_TABLES(avx512)
#undef RDQUANT_INTEGER_TABLES

namespace avx512vnni {
extern const IntegerConvolutionTable integer_convolution;
}
namespace avx512vbmi {
extern const decltype(IntegerKernels::lookup) lookup;
}

}  // namespace rdquant::runtime::kernels
