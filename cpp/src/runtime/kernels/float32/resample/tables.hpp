#pragma once

#include "runtime/kernels/float32/resample/resample.hpp"

/// What the leaf files of resample.inl define.
namespace rdquant::runtime::kernels {
namespace baseline {
extern const Resample resample;
}
namespace avx2 {
extern const Resample resample;
}
namespace avx512 {
extern const Resample resample;
}
}  // namespace rdquant::runtime::kernels
