#pragma once

namespace rdquant::core {

/// While one lives, fork() waits on every other thread of this process. What lies between its beginning and
/// its end is thus never found half done by a child, and no lock taken in between is inherited locked. May be
/// nested. The holder must not wait for anything that a forking thread may hold (Python's global lock).
class ForkGuard {
 public:
  ForkGuard();
  ~ForkGuard();
  ForkGuard(const ForkGuard&) = delete;
  ForkGuard& operator=(const ForkGuard&) = delete;
};

}  // namespace rdquant::core
