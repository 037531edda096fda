#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>

#include "core/worker.hpp"

namespace rdquant::core {

/// The threads of this process, lent to those that lead them.
class ThreadPool {
 public:
  /// This process's. It is never destroyed, as its threads sleep until the process ends.
  static ThreadPool& own();
  /// In the child of a fork, which has none of its parent's threads.
  static void forget() noexcept;

  /// A list of at most `wanted` workers, and so many that no more threads are at work than there are processors
  /// where others lead already, unless `all`. Fewer where the system gives no more threads and not `all`.
  /// @throws std::system_error  `all`, and the system gives no more threads
  Worker* lend(int wanted, bool all);
  void take_back(Worker* list) noexcept;

 private:
  void count(int change) noexcept;
  Worker* pick(const void* leader);

  const int processors_ = resolve();
  std::mutex mutex_;
  Worker* free_ = nullptr;  ///< those given back last come first
  int at_work_ = 0;         ///< threads that lead or are lent
  std::atomic<bool> crowded_{false};

  static int resolve() noexcept;
};

/// Workers lent to this thread as long as this lives.
class Followers {
 public:
  Followers(int wanted, bool all);
  ~Followers();
  Followers(const Followers&) = delete;
  Followers& operator=(const Followers&) = delete;

  /// Wakes them.
  void call_up() noexcept;
  [[nodiscard]] int size() noexcept {
    renew();
    return size_;
  }

  /// Calls `work(task, part)` for the parts below `parts`, each on one thread, part 0 here, and returns when
  /// all are done. The others take the next part when they are done with one.
  void run(std::int64_t parts, void* task, Worker::Work work) noexcept;

  /// The halves of run() for as many parts as there are workers and this thread.
  void start(void* task, Worker::Work work) noexcept;
  void finish() noexcept;

 private:
  /// Others in the child of a fork, where the workers of before do not exist.
  void renew() noexcept;
  void borrow(int wanted, bool all);
  void post(std::int64_t parts, void* task, Worker::Work work) noexcept;

  ThreadPool* pool_;
  Worker* list_ = nullptr;
  int size_ = 0;
  int posted_ = 0;  ///< workers that have something to finish
  Spread spread_;
};

/// The first exception of several parts.
class FirstFailure {
 public:
  /// Keeps the exception being handled.
  void keep() noexcept {
    if (!taken_.exchange(true)) failure_ = std::current_exception();
  }
  /// When all parts are done.
  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  std::atomic<bool> taken_{false};
  std::exception_ptr failure_;
};

}  // namespace rdquant::core
