#include "rdquant/core/parallel.hpp"

#include <algorithm>
#include <atomic>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

namespace rdquant::core {
namespace {

using Task = std::function<void(std::size_t worker)>;

int process() noexcept {
#if defined(__unix__) || defined(__APPLE__)
  return static_cast<int>(getpid());
#else
  return 0;
#endif
}

/// A thread that sleeps until it is given something to do.
class Worker {
 public:
  explicit Worker(std::size_t number) : number_(number) {
    std::thread([this] { serve(); }).detach();
  }

  void begin(const Task& task) {
    task_ = &task;
    busy_.store(1, std::memory_order_release);
    busy_.notify_one();
  }

  /// Returns when it is done, watching for a while before it sleeps: to be woken takes some 50 µs.
  void wait() const {
    constexpr int kLooks = 64;
    for (int i = 0; i < kLooks; ++i) {
      if (busy_.load(std::memory_order_acquire) == 0) return;
      std::this_thread::yield();
    }
    busy_.wait(1, std::memory_order_acquire);
  }

 private:
  [[noreturn]] void serve() {
    for (;;) {
      busy_.wait(0, std::memory_order_acquire);
      (*task_)(number_);
      busy_.store(0, std::memory_order_release);
      busy_.notify_one();
    }
  }

  std::size_t number_;
  const Task* task_ = nullptr;
  std::atomic<int> busy_ = 0;
};

/// Threads that are kept between calls, as many as the largest call asked for: waking one takes a fraction of
/// the time that starting and ending one takes.
class Sleepers {
 public:
  /// This process's: threads do not outlive a fork. It is never destroyed, as its threads sleep until the
  /// process ends.
  static Sleepers& own() {
    static std::atomic<Sleepers*> current = nullptr;
    Sleepers* sleepers = current.load(std::memory_order_acquire);
    if (sleepers != nullptr && sleepers->process_ == process()) return *sleepers;
    auto* fresh = new Sleepers;
    if (current.compare_exchange_strong(sleepers, fresh, std::memory_order_acq_rel)) return *fresh;
    delete fresh;
    return *sleepers;
  }

  /// Calls task(0) here and task(1) … task(workers − 1), which throw nothing, on the sleepers; false, having
  /// called none, if it is at work.
  bool run(std::size_t workers, const Task& task) {
    if (at_work_.exchange(true, std::memory_order_acquire)) return false;
    struct Release {
      std::atomic<bool>& flag;
      ~Release() { flag.store(false, std::memory_order_release); }
    } const release{at_work_};
    while (workers_.size() + 1 < workers) workers_.emplace_back(workers_.size() + 1);
    for (std::size_t w = 1; w < workers; ++w) workers_[w - 1].begin(task);
    task(0);
    for (std::size_t w = 1; w < workers; ++w) workers_[w - 1].wait();
    return true;
  }

 private:
  int process_ = process();
  std::deque<Worker> workers_;
  std::atomic<bool> at_work_ = false;
};

}  // namespace

int resolve_threads(int threads) noexcept {
  if (threads > 0) return threads;
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

void parallel_for(std::size_t n, std::size_t grain, int threads,
                  const std::function<void(std::size_t begin, std::size_t end)>& body) {
  if (n == 0) return;
  const std::size_t most = std::max<std::size_t>(1, n / std::max<std::size_t>(1, grain));
  const std::size_t workers = std::min<std::size_t>(static_cast<std::size_t>(resolve_threads(threads)), most);
  if (workers == 1) {
    body(0, n);
    return;
  }
  std::mutex mutex;
  std::exception_ptr failure;
  const Task task = [&](std::size_t w) {
    try {
      body(n * w / workers, n * (w + 1) / workers);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  };
  if (!Sleepers::own().run(workers, task)) {  // within another call, or beside one
    std::vector<std::jthread> others;
    others.reserve(workers - 1);
    for (std::size_t w = 1; w < workers; ++w) others.emplace_back(task, w);
    task(0);
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace rdquant::core
