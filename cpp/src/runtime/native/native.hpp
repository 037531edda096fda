#pragma once

#include "rdquant/runtime/backend.hpp"

namespace rdquant::runtime {

/// float32 on oneDNN 3.2, activations blocked by channels. In a build without oneDNN it is unavailable.
[[nodiscard]] const Backend& native_backend();

}  // namespace rdquant::runtime
