#pragma once

#include <cstdint>

namespace rdquant::runtime::native {

/// While this lives, OpenMP regions of this thread have so many threads; awake at first, each on a processor
/// of its own where the machine has so many. A thread that wakes is now and then put behind the very thread
/// that waits for it, which then spins for as long as it is allowed to, at each region anew: 40 × the time of
/// a small network. One thread starts no pool.
class Team {
 public:
  explicit Team(int threads);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

 private:
  int before_;
  bool changed_;
};

/// Does the items [begin, end) as the team's thread `rank`; `body` is what the work is told.
using RangeWork = void (*)(const void* body, std::int64_t begin, std::int64_t end, int rank);

/// Calls `work` for the ranges of [0, n) that at most `threads` threads take, each at least `grain` items, or
/// for all of it on this thread. The threads are the crew's, within lead(), or else those of an OpenMP
/// region. Teams of several are all of one size, since OpenMP starts threads anew where the size changes.
/// Ranks are below `threads`. Allocates nothing.
void share_ranges(std::int64_t n, std::int64_t grain, int threads, const void* body, RangeWork work);

using Leading = void (*)(const void* body);
void lead(int threads, const void* body, Leading call);

/// Calls `body()` on this thread while the others of the team wait, awake, for the ranges that it shares: to
/// hand over work takes a fraction of a microsecond, an OpenMP region some. Regions opened by `body` itself
/// have one thread.
template <typename Body>
void lead(int threads, const Body& body) {
  lead(threads, &body, [](const void* b) { (*static_cast<const Body*>(b))(); });
}

}  // namespace rdquant::runtime::native
