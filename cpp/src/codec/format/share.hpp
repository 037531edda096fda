#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>

#include "rdquant/core/parallel.hpp"

namespace rdquant::codec {

/// Calls `body(i)` for i = 0 … n − 1 on up to `threads` threads (0: all cores). Each takes the next
/// index when it has finished one, which balances uneven work. An exception ends the share of its own thread
/// and is rethrown when the others have finished.
template <typename Body>
void share(std::size_t n, int threads, Body&& body) {
  std::atomic<std::size_t> next = 0;
  const auto workers = std::min(n, static_cast<std::size_t>(core::resolve_threads(threads)));
  core::parallel_for(workers, 1, static_cast<int>(workers), [&](std::size_t, std::size_t) {
    for (std::size_t i = next++; i < n; i = next++) body(i);
  });
}

}  // namespace rdquant::codec
