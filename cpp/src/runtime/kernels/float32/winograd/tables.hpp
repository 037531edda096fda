#pragma once

#include "runtime/kernels/float32/winograd/winograd.hpp"

/// What the leaf files of winograd.inl define.
namespace rdquant::runtime::kernels {

constexpr Index kStripTiles = 8;  ///< tiles whose columns are transformed at a time

namespace baseline {
extern const Winograd winograd;
}
namespace avx2 {
extern const Winograd winograd;
}
namespace avx512 {
extern const Winograd winograd;
}

}  // namespace rdquant::runtime::kernels
