#pragma once

#include "runtime/kernels/float32/check/check.hpp"

/// What the leaf files of check.inl define.
namespace rdquant::runtime::kernels {
namespace baseline {
extern const Check check;
}
namespace avx2 {
extern const Check check;
}
namespace avx512 {
extern const Check check;
}
}  // namespace rdquant::runtime::kernels
