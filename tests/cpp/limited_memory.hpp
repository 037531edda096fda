#pragma once

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

/// Counts the memory that `new` gives, so that a test can limit it: include it in one file of a program.

// Memory taken by new and not given back, and the most that readers of untrusted bytes may take: beyond it
// new fails, and the test with it.
inline std::atomic<std::size_t> live_bytes{0};
inline std::atomic<std::size_t> allowed_bytes{std::numeric_limits<std::size_t>::max()};
inline constexpr std::size_t kBlockHeader = 16;

[[gnu::noinline]] void* operator new(std::size_t size) {
  const std::size_t live = live_bytes.fetch_add(size) + size;
  void* const block = live > allowed_bytes.load() ? nullptr : std::malloc(size + kBlockHeader);
  if (block == nullptr) {
    live_bytes.fetch_sub(size);
    throw std::bad_alloc();
  }
  std::memcpy(block, &size, sizeof(size));
  return static_cast<char*>(block) + kBlockHeader;
}
[[gnu::noinline]] void operator delete(void* at) noexcept {
  if (at == nullptr) return;
  void* const block = static_cast<char*>(at) - kBlockHeader;
  std::size_t size = 0;
  std::memcpy(&size, block, sizeof(size));
  live_bytes.fetch_sub(size);
  std::free(block);
}
void operator delete(void* at, std::size_t) noexcept { operator delete(at); }
