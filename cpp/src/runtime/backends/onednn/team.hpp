#pragma once

namespace rdquant::runtime::onednn {

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

}  // namespace rdquant::runtime::onednn
