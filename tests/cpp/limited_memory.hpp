#pragma once

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

/// Counts what `new` takes, and lets it fail beyond a limit: for readers of untrusted bytes. Include it in one file of
/// a test program, which replaces new and delete for all of it.

// Memory taken by new and not given back, and the most that readers of untrusted bytes may take: beyond it
// new fails, and the test with it.
inline std::atomic<std::size_t> live_bytes{0};
inline std::atomic<std::size_t> allowed_bytes{std::numeric_limits<std::size_t>::max()};

namespace limited_memory {

/// Allows `bytes` more than are in use, until it goes.
class Limit {
 public:
  explicit Limit(std::size_t bytes) { allowed_bytes = live_bytes + bytes; }
  ~Limit() { allowed_bytes = std::numeric_limits<std::size_t>::max(); }
  Limit(const Limit&) = delete;
  Limit& operator=(const Limit&) = delete;
};

/// The size stands in the last 8 bytes before the block.
inline void* take(std::size_t size, std::size_t alignment) {
  const std::size_t before = live_bytes.fetch_add(size);
  void* const block = before + size > allowed_bytes.load()
                          ? nullptr
                          : std::aligned_alloc(alignment, (size + 2 * alignment - 1) / alignment * alignment);
  if (block == nullptr) {
    live_bytes.fetch_sub(size);
    throw std::bad_alloc();
  }
  char* const at = static_cast<char*>(block) + alignment;
  std::memcpy(at - sizeof(size), &size, sizeof(size));
  return at;
}

inline void give(void* at, std::size_t alignment) noexcept {
  if (at == nullptr) return;
  std::size_t size = 0;
  std::memcpy(&size, static_cast<char*>(at) - sizeof(size), sizeof(size));
  live_bytes.fetch_sub(size);
  std::free(static_cast<char*>(at) - alignment);
}

inline constexpr std::size_t kPlain = 16;

}  // namespace limited_memory

[[gnu::noinline]] void* operator new(std::size_t size) {
  return limited_memory::take(size, limited_memory::kPlain);
}
// Sanitizers bring a version of their own of this one, which does not call the one above.
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  try {
    return limited_memory::take(size, limited_memory::kPlain);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
[[gnu::noinline]] void operator delete(void* at) noexcept {
  limited_memory::give(at, limited_memory::kPlain);
}
[[gnu::noinline]] void operator delete(void* at, std::size_t) noexcept {
  limited_memory::give(at, limited_memory::kPlain);
}
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment) {
  return limited_memory::take(size, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void operator delete(void* at, std::align_val_t alignment) noexcept {
  limited_memory::give(at, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void operator delete(void* at, std::size_t, std::align_val_t alignment) noexcept {
  limited_memory::give(at, static_cast<std::size_t>(alignment));
}
