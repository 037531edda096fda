#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace rdquant::core {

/// Number of threads for a request: 0 asks for all cores of the machine, n > 0 is taken as it is.
[[nodiscard]] int resolve_threads(int threads) noexcept;

// All of the following share the one pool of this process. Its threads are started when they are first needed,
// spin for a fraction of a millisecond after their work and then sleep; they are kept until the process ends.
//  - What a body throws, on whichever thread, is thrown again on the calling thread once all parts are done
//    (the first exception, where there are several). The pool is whole afterwards.
//  - Part 0 runs on the calling thread, which also runs parts that no other thread has begun when it is done
//    with its own: a thread that sleeps, or that another process keeps from running, delays nobody. Parts must
//    therefore not wait for each other.
//  - Calls from several threads at once, and calls within parts, divide the processors: one that finds them
//    all in use runs on its own thread alone.
//  - After a fork the child has a new pool. A body must not fork.

/// Splits [0, n) into contiguous ranges of at least `grain` items, as many as `threads` (0: all cores) where n
/// allows, runs `body(begin, end)` for each and waits. The ranges depend on the arguments alone.
void parallel_for(std::size_t n, std::size_t grain, int threads,
                  const std::function<void(std::size_t begin, std::size_t end)>& body);

/// Does the items [begin, end) as part `part`; `body` is passed to it.
using RangeWork = void (*)(const void* body, std::int64_t begin, std::int64_t end, int part);

/// Calls `work` for the ranges of [0, n) that at most `threads` > 0 threads take, each at least `grain` items
/// long, or for all of it on this thread. There may be fewer ranges than threads; their numbers are below
/// `threads`, and no two threads work on the same one. Allocates nothing, within lead().
void share_ranges(std::int64_t n, std::int64_t grain, int threads, const void* body, RangeWork work);

/// share_ranges for `body(begin, end, part)`.
template <typename Body>
void share_ranked(std::int64_t n, std::int64_t grain, int threads, const Body& body) {
  share_ranges(n, grain, threads, &body, [](const void* b, std::int64_t begin, std::int64_t end, int part) {
    (*static_cast<const Body*>(b))(begin, end, part);
  });
}

/// The same for a body that does not ask which part it does.
template <typename Body>
void share(std::int64_t n, std::int64_t grain, int threads, const Body& body) {
  share_ranked(n, grain, threads, [&](std::int64_t begin, std::int64_t end, int) { body(begin, end); });
}

using Leading = void (*)(const void* body);
void lead(int threads, const void* body, Leading call);

/// Calls `body()` on this thread with `threads` − 1 others of the pool reserved for the work that it shares:
/// to hand over a range takes a fraction of a microsecond while they are awake. They are asked to run on
/// processors of their own.
template <typename Body>
void lead(int threads, const Body& body) {
  lead(threads, &body, [](const void* b) { (*static_cast<const Body*>(b))(); });
}

/// Exactly `threads` > 0 parts that may wait for each other, each on a thread of its own: for libraries that
/// bring their own idea of threads. Several regions at once use more threads than there are processors.
class Region {
 public:
  using Work = void (*)(const void* body, int part) noexcept;
  /// Starts the parts from 1 on. @throws std::system_error  the system gives no more threads
  Region(int threads, const void* body, Work work);
  /// Waits for them; call it when part 0 is done, on the same thread.
  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

 private:
  struct State;
  State* state_;
};

}  // namespace rdquant::core
