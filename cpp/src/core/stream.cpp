#include "rdquant/core/stream.hpp"

namespace rdquant::core {

void prefetch(const void* from, std::size_t n) noexcept {
  const char* const bytes = static_cast<const char*>(from);
  for (std::size_t i = 0; i < n * 4; i += 64) __builtin_prefetch(bytes + i);
}

}  // namespace rdquant::core
