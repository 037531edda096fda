#pragma once

#include "runtime/kernels/int8/kernels.hpp"

/// What the leaf files for int8 values define, one table per family.
namespace rdquant::runtime::kernels {

struct Int8ConvolutionTable {
  Index block;
  decltype(Int8Kernels::plan) plan;
  decltype(Int8Kernels::pack) pack;
  decltype(Int8Kernels::convolve) run;
};

/// Convolutions by tiles of AMX.
struct Int8AmxTable {
  decltype(Int8Kernels::plan) plan;  ///< of no steps where the shape is not run so
  bool (*pays)(const ConvShape& shape, Index threads);
  decltype(Int8Kernels::pack) pack;
  decltype(Int8Kernels::convolve) run;
};

struct Int8LayerTable {
  decltype(Int8Kernels::min_max) min_max;
  decltype(Int8Kernels::quantize) quantize;
  decltype(Int8Kernels::quantize_plain) quantize_plain;
  decltype(Int8Kernels::quantize_blocked) quantize_blocked;
  decltype(Int8Kernels::quantize_affine) quantize_affine;
  decltype(Int8Kernels::dequantize) dequantize;
  decltype(Int8Kernels::dequantize_plain) dequantize_plain;
  decltype(Int8Kernels::dequantize_blocked) dequantize_blocked;
  decltype(Int8Kernels::lookup) lookup;
  decltype(Int8Kernels::add) add;
  decltype(Int8Kernels::multiply) multiply;
  decltype(Int8Kernels::pool) pool;
  decltype(Int8Kernels::resize) resize;
  decltype(Int8Kernels::repeat) repeat_channels;
  decltype(Int8Kernels::compact) compact;
  decltype(Int8Kernels::taps) gather_taps;
};

#define RDQUANT_INT8_TABLES(isa)                      \
  namespace isa {                                     \
  extern const Int8ConvolutionTable int8_convolution; \
  extern const Int8LayerTable int8_layers;            \
  }
RDQUANT_INT8_TABLES(baseline)
RDQUANT_INT8_TABLES(avx2)
RDQUANT_INT8_TABLES(avx512)
#undef RDQUANT_INT8_TABLES

namespace dotprod {
extern const Int8ConvolutionTable int8_convolution;
}
namespace avx512vnni {
extern const Int8ConvolutionTable int8_convolution;
}
namespace avx512amx {
extern const Int8AmxTable int8_amx;
}
namespace avx512vbmi {
extern const decltype(Int8Kernels::lookup) lookup;
}

}  // namespace rdquant::runtime::kernels
