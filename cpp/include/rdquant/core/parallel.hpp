#pragma once

#include <cstddef>
#include <functional>

namespace rdquant::core {

/// Number of threads for a request: 0 asks for all cores of the machine, n > 0 is taken as it is.
[[nodiscard]] int resolve_threads(int threads) noexcept;

/// Splits [0, n) into contiguous ranges of at least `grain` items, runs `body(begin, end)` on up to `threads`
/// threads (0: all cores) and waits. The first range is the calling thread's. The first exception thrown by a
/// body is thrown again here.
///
/// The other threads sleep between calls and are kept until the process ends; a call within another, or
/// beside one, starts its own. This is the only place that starts threads.
void parallel_for(std::size_t n, std::size_t grain, int threads,
                  const std::function<void(std::size_t begin, std::size_t end)>& body);

}  // namespace rdquant::core
