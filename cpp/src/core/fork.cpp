#include "rdquant/core/fork.hpp"

#include <atomic>

#include "core/thread_pool.hpp"

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace rdquant::core {
namespace {

std::atomic<int> inside = 0;  // threads that hold a guard
std::atomic<int> forks = 0;   // that wait for them or are under way
thread_local int depth = 0;   // guards of this thread

#if defined(__unix__) || defined(__APPLE__)
void before_fork() noexcept {
  ++forks;
  const int mine = depth > 0 ? 1 : 0;
  for (int count = inside; count > mine; count = inside) inside.wait(count);
}

void after_fork_in_parent() noexcept {
  --forks;
  forks.notify_all();
}

void after_fork_in_child() noexcept {
  forks = 0;
  inside = depth > 0 ? 1 : 0;
  ThreadPool::forget();
}

[[maybe_unused]] const int registered =
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
#endif

}  // namespace

ForkGuard::ForkGuard() {
  if (depth++ > 0) return;
  for (;;) {
    ++inside;
    const int waiting = forks;
    if (waiting == 0) return;
    --inside;
    inside.notify_all();
    forks.wait(waiting);
  }
}

ForkGuard::~ForkGuard() {
  if (--depth > 0) return;
  --inside;
  inside.notify_all();
}

}  // namespace rdquant::core
