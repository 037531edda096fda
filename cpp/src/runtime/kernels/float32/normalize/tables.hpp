#pragma once

#include "runtime/kernels/float32/normalize/normalize.hpp"

/// What the leaf files of normalize.inl define.
namespace rdquant::runtime::kernels {
namespace baseline {
extern const Normalize normalize;
}
namespace avx2 {
extern const Normalize normalize;
}
namespace avx512 {
extern const Normalize normalize;
}
}  // namespace rdquant::runtime::kernels
