#include "core/thread_pool.hpp"

#include <algorithm>
#include <exception>
#include <memory>

#include "rdquant/core/parallel.hpp"

namespace rdquant::core {
namespace {

std::atomic<ThreadPool*> current_pool = nullptr;

/// A different address in every thread.
const void* this_thread() noexcept {
  static thread_local const char marker = 0;
  return &marker;
}

}  // namespace

ThreadPool& ThreadPool::own() {
  ThreadPool* pool = current_pool.load(std::memory_order_acquire);
  if (pool != nullptr) return *pool;
  auto fresh = std::make_unique<ThreadPool>();
  if (current_pool.compare_exchange_strong(pool, fresh.get(), std::memory_order_acq_rel)) {
    pool = fresh.release();
  }
  return *pool;
}

void ThreadPool::forget() noexcept { current_pool.store(nullptr, std::memory_order_release); }

int ThreadPool::resolve() noexcept { return resolve_threads(0); }

void ThreadPool::count(int change) noexcept {
  at_work_ += change;
  crowded_.store(at_work_ > processors_, std::memory_order_relaxed);
}

Worker* ThreadPool::pick(const void* leader) {
  if (free_ == nullptr) return new Worker(crowded_);
  // the one that this thread had last is awake, if any
  Worker** at = &free_;
  for (Worker** each = &free_; *each != nullptr; each = &(*each)->next) {
    if ((*each)->leader != leader) continue;
    at = each;
    break;
  }
  Worker* const found = *at;
  *at = found->next;
  return found;
}

Worker* ThreadPool::lend(int wanted, bool all) {
  const void* const leader = this_thread();
  const std::lock_guard lock(mutex_);
  if (!all && at_work_ > 0) wanted = std::min(wanted, processors_ - at_work_ - 1);
  Worker* list = nullptr;
  Worker** end = &list;
  int lent = 0;
  try {
    for (; lent < wanted; ++lent) {
      Worker* const worker = pick(leader);
      worker->leader = leader;
      worker->next = nullptr;
      *end = worker;
      end = &worker->next;
    }
  } catch (const std::exception&) {  // as many as there are will do
    if (all) {
      *end = free_;
      free_ = list;
      throw;
    }
  }
  count(lent + 1);
  return list;
}

void ThreadPool::take_back(Worker* list) noexcept {
  int back = 1;
  const std::lock_guard lock(mutex_);
  if (list != nullptr) {
    Worker* last = list;
    for (; last->next != nullptr; last = last->next) ++back;
    ++back;
    last->next = free_;
    free_ = list;
  }
  count(-back);
}

Followers::Followers(int wanted, bool all) : pool_(&ThreadPool::own()) { borrow(wanted, all); }

Followers::~Followers() {
  finish();
  pool_->take_back(list_);
}

void Followers::borrow(int wanted, bool all) {
  size_ = 0;
  list_ = pool_->lend(wanted, all);
  for (const Worker* worker = list_; worker != nullptr; worker = worker->next) ++size_;
}

void Followers::renew() noexcept {
  ThreadPool& own = ThreadPool::own();
  if (pool_ == &own) return;
  pool_ = &own;
  posted_ = 0;  // at most the call that wakes them: nothing forks within a task
  borrow(size_, false);
}

void Followers::post(std::int64_t parts, void* task, Worker::Work work) noexcept {
  finish();
  Worker* worker = list_;
  for (; posted_ + 1 < parts && worker != nullptr; worker = worker->next) {
    worker->post(task, ++posted_, work, spread_);
  }
}

void Followers::finish() noexcept {
  renew();
  for (Worker* worker = list_; posted_ > 0; worker = worker->next, --posted_) worker->finish();
}

void Followers::call_up() noexcept {
  post(size_ + 1, nullptr, [](void*, std::int64_t) noexcept {});
}

void Followers::start(void* task, Worker::Work work) noexcept { post(size() + 1, task, work); }

void Followers::run(std::int64_t parts, void* task, Worker::Work work) noexcept {
  if (parts <= size() + 1) {
    post(parts, task, work);
    work(task, 0);
    return finish();
  }
  struct Queue {
    void* task;
    Worker::Work work;
    std::int64_t parts;
    std::atomic<std::int64_t> next;
  } queue{task, work, parts, size_ + 1};
  const auto take = [](void* of, std::int64_t part) noexcept {
    auto& q = *static_cast<Queue*>(of);
    for (; part < q.parts; part = q.next++) q.work(q.task, part);
  };
  post(parts, &queue, take);
  take(&queue, 0);
  finish();
}

}  // namespace rdquant::core
