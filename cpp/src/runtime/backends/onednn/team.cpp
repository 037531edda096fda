#include "team.hpp"

#include <omp.h>
#ifdef __linux__
#include <sched.h>
#endif

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace rdquant::runtime::onednn {

#ifdef __linux__
namespace {

/// The processors that a team's threads run on, claimed one by one from any thread.
class Processors {
 public:
  static constexpr int kMost = CPU_SETSIZE;

  /// Whether nobody had claimed it before.
  bool claim(int processor) {
    const std::uint64_t bit = std::uint64_t{1} << (processor % 64);
    return (words_[static_cast<std::size_t>(processor) / 64].fetch_or(bit) & bit) == 0;
  }

 private:
  std::array<std::atomic<std::uint64_t>, kMost / 64> words_{};
};

/// Moves this thread to a processor that nobody has claimed, if it may use one; later it may run anywhere
/// again.
void move(Processors& processors) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  for (int processor = 0; processor < Processors::kMost; ++processor) {
    if (!CPU_ISSET(processor, &allowed) || !processors.claim(processor)) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    if (sched_setaffinity(0, sizeof one, &one) == 0) sched_setaffinity(0, sizeof allowed, &allowed);
    return;
  }
}

/// Waits for the others; gives way to those that wait for this thread's processor.
void await(const std::atomic<int>& arrived, int expected) {
  constexpr int kSpins = 20000;  // tens of microseconds: about what it takes to wake a thread
  for (int spin = 0; arrived.load(std::memory_order_acquire) < expected; ++spin) {
    if (spin >= kSpins) sched_yield();
  }
}

void claim_or_move(Processors& processors) {
  const int processor = sched_getcpu();
  if (processor < 0 || processor >= Processors::kMost) return;
  if (!processors.claim(processor)) move(processors);
}

void spread(int threads) {
  Processors processors;
  std::atomic<int> arrived{0};
  claim_or_move(processors);
#pragma omp parallel num_threads(threads)
  {
    if (omp_get_thread_num() == 0) {
      await(arrived, omp_get_num_threads() - 1);
    } else {
      claim_or_move(processors);
      arrived.fetch_add(1, std::memory_order_release);
    }
  }
}

}  // namespace
#else
namespace {
void spread(int) {}
}  // namespace
#endif

Team::Team(int threads) : before_(omp_get_max_threads()), changed_(before_ != threads) {
  if (changed_) omp_set_num_threads(threads);
  if (threads > 1) spread(threads);
}

Team::~Team() {
  if (changed_) omp_set_num_threads(before_);
}

}  // namespace rdquant::runtime::onednn
