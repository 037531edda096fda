#pragma once

#include "runtime/kernels/float32/grid_sample/grid_sample.hpp"

/// What the leaf files of grid_sample.inl define.
namespace rdquant::runtime::kernels {
namespace baseline {
extern const GridSample grid_sample;
}
namespace avx2 {
extern const GridSample grid_sample;
}
namespace avx512 {
extern const GridSample grid_sample;
}
}  // namespace rdquant::runtime::kernels
