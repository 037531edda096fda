#include "runtime/native/team.hpp"

#include <omp.h>
#ifdef __linux__
#include <sched.h>
#endif

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <thread>
#include <utility>

namespace rdquant::runtime::native {
namespace {

/// Tells the processor that this thread waits for another.
void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Waits until `done()`; gives way after a while to those that wait for this thread's processor.
template <typename Done>
void await(const Done& done) {
  constexpr int kSpins = 1000;  // tens of microseconds: about what it takes to wake a thread
  for (int spin = 0; !done(); ++spin) {
    if (spin < kSpins)
      relax();
    else
      std::this_thread::yield();
  }
}

/// Threads of one OpenMP region that wait for ranges of work from the first of them.
class Crew {
 public:
  /// As the first, before anything else: says how many they are.
  void gather(int size) { size_ = size; }
  [[nodiscard]] int size() const { return size_; }

  /// As the first: gives out `parts` ranges of [0, n), one to each thread in turn, and takes the first.
  void share(std::int64_t n, std::int64_t parts, const void* body, RangeWork work) {
    task_ = {body, work, n, parts};
    posted_.store(++count_, std::memory_order_release);
    if (work == nullptr) return;
    work(body, 0, n / parts, 0);
    await([&] { return finished_.load(std::memory_order_acquire) == count_ * (size_ - 1); });
  }
  void dismiss() { share(0, 1, nullptr, nullptr); }

  /// As one of the others: takes its ranges until dismissed.
  void follow(int rank) {
    for (int seen = 1;; ++seen) {
      await([&] { return posted_.load(std::memory_order_acquire) == seen; });
      const Task task = task_;
      if (task.work == nullptr) return;
      if (rank < task.parts)
        task.work(task.body, task.n * rank / task.parts, task.n * (rank + 1) / task.parts, rank);
      finished_.fetch_add(1, std::memory_order_release);
    }
  }

 private:
  struct Task {
    const void* body;
    RangeWork work;  ///< null: dismissed
    std::int64_t n, parts;
  };
  // what the first writes and what the others write lie in different lines of the cache
  alignas(64) Task task_{};
  std::atomic<int> posted_{0};
  int count_ = 0;  ///< of tasks so far
  int size_ = 1;
  alignas(64) std::atomic<int> finished_{0};
};

/// The crew that this thread leads and that is free to take work.
thread_local Crew* own_crew = nullptr;

}  // namespace

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
      await([&] { return arrived.load(std::memory_order_acquire) == omp_get_num_threads() - 1; });
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

void share_ranges(std::int64_t n, std::int64_t grain, int threads, const void* body, RangeWork work) {
  const std::int64_t parts = n / std::max<std::int64_t>(1, grain);
  if (threads == 1 || parts < 2) {
    work(body, 0, n, 0);
    return;
  }
  if (Crew* const crew = std::exchange(own_crew, nullptr)) {  // it is not free until this is done
    crew->share(n, std::min<std::int64_t>(crew->size(), parts), body, work);
    own_crew = crew;
    return;
  }
#pragma omp parallel num_threads(threads)
  {
    // the team may be smaller than asked for; what it has too many has nothing to do
    const std::int64_t team = std::min<std::int64_t>(omp_get_num_threads(), parts);
    const int rank = omp_get_thread_num();
    if (rank < team) work(body, n * rank / team, n * (rank + 1) / team, rank);
  }
}

void lead(int threads, const void* body, Leading call) {
  if (threads == 1) return call(body);
  Crew crew;
  std::exception_ptr failure;
#pragma omp parallel num_threads(threads)
  {
    if (const int rank = omp_get_thread_num(); rank > 0) {
      crew.follow(rank);
    } else {
      crew.gather(omp_get_num_threads());
      own_crew = &crew;
      try {
        call(body);
      } catch (...) {
        failure = std::current_exception();
      }
      own_crew = nullptr;
      crew.dismiss();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace rdquant::runtime::native
