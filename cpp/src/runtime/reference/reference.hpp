#pragma once

#include "rdquant/runtime/backend.hpp"

namespace rdquant::runtime {

/// Every step through program::evaluate, in order: slow, and the definition of the answer.
[[nodiscard]] const Backend& reference_backend();

}  // namespace rdquant::runtime
