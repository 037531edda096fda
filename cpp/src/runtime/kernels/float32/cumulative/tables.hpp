#pragma once

#include "runtime/kernels/float32/cumulative/cumulative.hpp"

/// What the leaf files of cumulative.inl define.
namespace rdquant::runtime::kernels {
namespace baseline {
extern const Cumulative cumulative;
}
namespace avx2 {
extern const Cumulative cumulative;
}
namespace avx512 {
extern const Cumulative cumulative;
}
}  // namespace rdquant::runtime::kernels
