#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "core/processors.hpp"

namespace rdquant::core {

/// Tells the processor that this thread waits for another.
inline void relax() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Watches for `done()` for about `limit`; whether it came true. It never yields the processor: a thread that
/// yields beside another process's busy one is not scheduled again for milliseconds, one that sleeps and is
/// woken comes first.
template <typename Done>
bool spin_until(const Done& done, std::chrono::nanoseconds limit) {
  using Clock = std::chrono::steady_clock;
  constexpr int kLooks = 64;  // between two looks at the clock
  Clock::time_point end{};
  for (;;) {
    for (int i = 0; i < kLooks; ++i) {
      if (done()) return true;
      relax();
    }
    const Clock::time_point now = Clock::now();
    if (end == Clock::time_point{}) end = now + limit;
    if (now >= end) return false;
  }
}

/// Sleeps while the word is `value`; may return early.
void sleep_while(std::atomic<std::uint32_t>& word, std::uint32_t value) noexcept;
/// Wakes the one that sleeps on the word.
void wake(std::atomic<std::uint32_t>& word) noexcept;

/// A thread of the pool. It has one task at a time, posted by the thread that it is lent to.
class alignas(64) Worker {
 public:
  using Work = void (*)(void* task, std::int64_t part) noexcept;

  /// Starts the thread. `crowded` says whether spinning keeps others from running.
  /// @throws std::system_error
  explicit Worker(const std::atomic<bool>& crowded);

  /// Asks for `work(task, part)`; nothing else may be posted before finish(). A thread that has to be woken is
  /// kept from the processors of `spread`.
  void post(void* task, std::int64_t part, Work work, Spread& spread) noexcept;
  /// Returns when what was posted is done, having done it here where the thread had not begun.
  void finish() noexcept;

  Worker* next = nullptr;        ///< in a list of the pool's
  const void* leader = nullptr;  ///< the thread that it was lent to last

 private:
  enum State : std::uint32_t { kIdle, kAsleep, kPosted, kRunning, kAwaited };

  [[noreturn]] void serve() noexcept;
  [[nodiscard]] std::chrono::nanoseconds patience() const noexcept;

  std::atomic<std::uint32_t> state_{kIdle};
  void* task_ = nullptr;
  std::int64_t part_ = 0;
  Work work_ = nullptr;
  const std::atomic<bool>& crowded_;
  bool confined_ = false;           ///< to some of the processors that it may use, which are
  ProcessorSet allowed_{};          ///< these
  std::atomic<int> processor_{-1};  ///< that it ran on when it last began a task
  std::atomic<int> thread_{0};      ///< as the system numbers it
};

}  // namespace rdquant::core
