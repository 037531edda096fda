#pragma once

namespace rdquant::runtime::native::onednn {

/// While this lives, oneDNN divides the work of what this thread asks of it among so many threads.
class OpenMpThreads {
 public:
  explicit OpenMpThreads(int threads) noexcept;
  ~OpenMpThreads();
  OpenMpThreads(const OpenMpThreads&) = delete;
  OpenMpThreads& operator=(const OpenMpThreads&) = delete;

 private:
  int before_;
};

/// How many those are, as OpenMP's functions for the library say it (gomp.cpp).
[[nodiscard]] int openmp_threads() noexcept;

/// Whether the library's calls of OpenMP come to us. They do not where gomp.cpp is not part of the program, or
/// something else in this process loaded the library, or GNU OpenMP for all to use, before.
[[nodiscard]] bool openmp_is_ours();

}  // namespace rdquant::runtime::native::onednn
