#pragma once

#include "runtime/kernels/float32/matmul/matmul.hpp"

/// What the leaf files of matmul.inl define.
namespace rdquant::runtime::kernels {
namespace baseline {
extern const Matmul matmul;
}
namespace avx2 {
extern const Matmul matmul;
}
namespace avx512 {
extern const Matmul matmul;
}
}  // namespace rdquant::runtime::kernels
