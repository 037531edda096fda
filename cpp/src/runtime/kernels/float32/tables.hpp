#pragma once

#include "runtime/kernels/float32/kernels.hpp"

/// What the leaf files define, one table per family.
namespace rdquant::runtime::kernels {

struct LayerTable {
  Index block;
  decltype(Kernels::pool) pool;
  decltype(Kernels::global_average) global_average;
  decltype(Kernels::unary) unary;
  decltype(Kernels::binary) binary;
  decltype(Kernels::binary_rows) binary_rows;
  decltype(Kernels::binary_channels) binary_channels;
  decltype(Kernels::softmax) softmax;
  decltype(Kernels::softmax_columns) softmax_columns;
  decltype(Kernels::linear) linear;
  decltype(Kernels::resize) resize;
  decltype(Kernels::to_blocked) to_blocked;
  decltype(Kernels::to_plain) to_plain;
  decltype(Kernels::transpose) transpose;
  decltype(Kernels::pick_lanes) pick_lanes;
  decltype(Kernels::add_moved) add_moved;
  decltype(Kernels::copy_rows) copy_rows;
};

#define RDQUANT_TABLES(isa)                                                \
  namespace isa {                                                          \
  extern const ConvolutionTable depthwise, few_channels, dense;            \
  extern const decltype(Kernels::few_channels_pooled) few_channels_pooled; \
  extern const LayerTable layers;                                          \
  }
RDQUANT_TABLES(baseline)
RDQUANT_TABLES(avx2)
RDQUANT_TABLES(avx512)
#undef RDQUANT_TABLES

}  // namespace rdquant::runtime::kernels
