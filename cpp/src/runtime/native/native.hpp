#pragma once

#include "rdquant/runtime/backend.hpp"

namespace rdquant::runtime {

/// Our engine: kernels of our own and, where the build has it and it is faster, oneDNN's. Images of float32 in
/// blocks of channels, those of 8 bits with channels last.
[[nodiscard]] const Backend& native_backend();

}  // namespace rdquant::runtime
