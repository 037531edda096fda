#pragma once

#include "runtime/kernels/float32/reduce/reduce.hpp"

/// What the leaf files of reduce.inl define.
namespace rdquant::runtime::kernels {
namespace baseline {
extern const Reduce reduce;
}
namespace avx2 {
extern const Reduce reduce;
}
namespace avx512 {
extern const Reduce reduce;
}
}  // namespace rdquant::runtime::kernels
