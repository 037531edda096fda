#include "core/worker.hpp"

#include <thread>

#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace rdquant::core {
namespace {

using std::chrono::microseconds;

// Waking a thread takes about 50 µs; what waits for the next work of a run, or for the next run of many, should
// not have to be woken.
constexpr microseconds kPatience{500};
constexpr microseconds kPatienceInCrowd{5};

}  // namespace

#ifdef __linux__
// Not std::atomic::wait, which yields the processor before it sleeps.
void sleep_while(std::atomic<std::uint32_t>& word, std::uint32_t value) noexcept {
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
}
void wake(std::atomic<std::uint32_t>& word) noexcept {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}
#else
void sleep_while(std::atomic<std::uint32_t>& word, std::uint32_t value) noexcept { word.wait(value); }
void wake(std::atomic<std::uint32_t>& word) noexcept { word.notify_one(); }
#endif

Worker::Worker(const std::atomic<bool>& crowded) : crowded_(crowded) {
  std::thread([this] { serve(); }).detach();
}

std::chrono::nanoseconds Worker::patience() const noexcept {
  return crowded_.load(std::memory_order_relaxed) ? kPatienceInCrowd : kPatience;
}

void Worker::post(void* task, std::int64_t part, Work work, Spread& spread) noexcept {
  task_ = task;
  part_ = part;
  work_ = work;
  const int thread = thread_.load(std::memory_order_relaxed);
  if (state_.load(std::memory_order_relaxed) == kAsleep && thread != 0) {
    // stays so where it was confined before, for work that it did not come to begin
    if (spread.confine(thread, allowed_)) confined_ = true;
  } else {
    spread.take(processor_.load(std::memory_order_relaxed));
  }
  if (state_.exchange(kPosted, std::memory_order_acq_rel) == kAsleep) wake(state_);
}

void Worker::finish() noexcept {
  std::uint32_t seen = kPosted;
  if (state_.compare_exchange_strong(seen, kIdle, std::memory_order_acq_rel)) return work_(task_, part_);
  const auto done = [&] {
    seen = state_.load(std::memory_order_acquire);
    return seen != kRunning && seen != kAwaited;
  };
  while (!spin_until(done, patience())) {
    seen = kRunning;
    if (!state_.compare_exchange_strong(seen, kAwaited, std::memory_order_acq_rel)) continue;
    while (!done()) sleep_while(state_, kAwaited);
    return;
  }
}

void Worker::serve() noexcept {
  thread_.store(current_thread(), std::memory_order_relaxed);
  for (;;) {
    const auto posted = [&] { return state_.load(std::memory_order_relaxed) == kPosted; };
    while (!spin_until(posted, patience())) {
      std::uint32_t seen = kIdle;
      if (!state_.compare_exchange_strong(seen, kAsleep, std::memory_order_acq_rel)) continue;
      while (state_.load(std::memory_order_relaxed) == kAsleep) sleep_while(state_, kAsleep);
    }
    std::uint32_t seen = kPosted;
    if (!state_.compare_exchange_strong(seen, kRunning, std::memory_order_acq_rel)) continue;
    if (confined_) {
      may_run_on(0, allowed_);
      confined_ = false;
    }
    processor_.store(current_processor(), std::memory_order_relaxed);
    work_(task_, part_);
    if (state_.exchange(kIdle, std::memory_order_acq_rel) == kAwaited) wake(state_);
  }
}

}  // namespace rdquant::core
