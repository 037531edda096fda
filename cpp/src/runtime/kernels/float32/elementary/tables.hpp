#pragma once

#include "runtime/kernels/float32/elementary/elementary.hpp"

/// What the leaf files of elementary.inl define.
namespace rdquant::runtime::kernels {
namespace baseline {
extern const ElementaryKernels elementary;
}
namespace avx2 {
extern const ElementaryKernels elementary;
}
namespace avx512 {
extern const ElementaryKernels elementary;
}
}  // namespace rdquant::runtime::kernels
