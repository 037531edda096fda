#pragma once

#include <array>
#include <cstdint>

namespace rdquant::core {

/// Processors by their numbers, the first 1024 of the machine.
using ProcessorSet = std::array<std::uint64_t, 16>;

/// The number of the processor that this thread runs on; −1 where the system does not say.
[[nodiscard]] int current_processor() noexcept;
/// The calling thread as may_run_on() takes it; 0 where the system numbers none.
[[nodiscard]] int current_thread() noexcept;
/// The processors that the calling thread may run on; empty where the system does not say.
[[nodiscard]] ProcessorSet allowed_processors() noexcept;
/// Lets a thread of this process run on these processors only.
void may_run_on(int thread, const ProcessorSet& processors) noexcept;

/// Spreads the threads of one task over the processors that the leading thread may use: a thread that wakes is
/// now and then put behind the very thread that waits for it.
class Spread {
 public:
  /// As the leading thread.
  Spread() noexcept { take(current_processor()); }
  void take(int processor) noexcept;
  /// Keeps a sleeping thread from the processors taken so far, unless that leaves it none; `allowed` is then
  /// what it may use again later. Whether it was confined.
  bool confine(int thread, ProcessorSet& allowed) noexcept;

 private:
  ProcessorSet taken_{};
};

}  // namespace rdquant::core
