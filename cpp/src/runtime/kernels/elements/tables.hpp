#pragma once

#include "runtime/kernels/elements/elements.hpp"

/// What the leaf files of elements.inl define.
namespace rdquant::runtime::kernels {
namespace baseline {
extern const Elements elements;
}
namespace avx2 {
extern const Elements elements;
}
namespace avx512 {
extern const Elements elements;
}
}  // namespace rdquant::runtime::kernels
