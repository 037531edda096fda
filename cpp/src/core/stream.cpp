#include "rdquant/core/stream.hpp"

#include <algorithm>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace rdquant::core {

void prefetch(const void* from, std::size_t n) noexcept {
  const char* const bytes = static_cast<const char*>(from);
  for (std::size_t i = 0; i < n * 4; i += 64) __builtin_prefetch(bytes + i);
}

void stream_copy(const std::int32_t* from, std::int32_t* to, std::size_t n) noexcept {
#if defined(__SSE2__)
  const std::size_t misaligned = reinterpret_cast<std::uintptr_t>(to) / 4 % 4;
  const std::size_t head = std::min(n, (4 - misaligned) % 4);
  std::memcpy(to, from, head * sizeof(*to));
  std::size_t i = head;
  for (; i + 4 <= n; i += 4) {
    const __m128i word = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
    _mm_stream_si128(reinterpret_cast<__m128i*>(to + i), word);
  }
  std::memcpy(to + i, from + i, (n - i) * sizeof(*to));
#else
  std::memcpy(to, from, n * sizeof(*to));
#endif
}

void stream_end() noexcept {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

}  // namespace rdquant::core
