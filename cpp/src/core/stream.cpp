#include "rdquant/core/stream.hpp"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace rdquant::core {

void prefetch(const void* from, std::size_t n) noexcept {
  const char* const bytes = static_cast<const char*>(from);
  for (std::size_t i = 0; i < n * 4; i += 64) __builtin_prefetch(bytes + i);
}

void stream_end() noexcept {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

}  // namespace rdquant::core
