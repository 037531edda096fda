#pragma once

#include "runtime/kernels/float32/plain_pool/plain_pool.hpp"

/// What the leaf files of plain_pool.inl define.
namespace rdquant::runtime::kernels {
namespace baseline {
extern const PlainPool plain_pool;
}
namespace avx2 {
extern const PlainPool plain_pool;
}
namespace avx512 {
extern const PlainPool plain_pool;
}
}  // namespace rdquant::runtime::kernels
