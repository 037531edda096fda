// oneDNN comes built against GNU OpenMP, whose threads would be a second pool beside ours: both spin when they
// have nothing to do, each on the processor that the other needs, and GNU OpenMP's do not survive a fork. The
// dozen functions that the library imports from GNU OpenMP are therefore defined here, on the pool of `core`. The
// dynamic linker looks into the module that loads the library before it looks into libgomp, so that these are
// the ones it finds; no other library of the process sees them. Their meaning is that of libgomp's manual, "The
// libgomp ABI".
//
// A program that uses OpenMP itself must not link this file, which is therefore no part of the library but of the
// Python module and the tests; oneDNN is not used where this is missing (openmp_is_ours).
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "rdquant/core/parallel.hpp"
#include "runtime/native/onednn/openmp.hpp"

namespace rdquant::runtime::native::onednn {
namespace {

/// All threads of a region come here before one goes on.
class Barrier {
 public:
  void wait(int threads) noexcept {
    const std::uint32_t round = round_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads) {
      arrived_.store(0, std::memory_order_relaxed);
      round_.store(round + 1, std::memory_order_release);
      round_.notify_all();
    } else {
      while (round_.load(std::memory_order_acquire) == round) round_.wait(round);
    }
  }

 private:
  std::atomic<int> arrived_{0};
  std::atomic<std::uint32_t> round_{0};
};

/// A loop whose iterations a region's threads divide beforehand.
struct StaticLoop {
  long start = 0, end = 0, step = 1, chunk = 0, round = 0;
};

/// What a thread knows of the region that it is in.
struct Position {
  int rank = 0, threads = 1;
  Barrier* barrier = nullptr;
  StaticLoop loop;
};

thread_local Position position;

/// A region that this thread has begun.
struct Begun {
  void (*body)(void*);
  void* data;
  int threads;
  Barrier barrier;
  Position outer;
  Begun* before;
  std::unique_ptr<core::Region> region;  ///< none where it has one thread

  static void run(const void* begun, int rank) noexcept {
    const auto& b = *static_cast<const Begun*>(begun);
    const Position outer = std::exchange(position, {rank, b.threads, const_cast<Barrier*>(&b.barrier), {}});
    b.body(b.data);
    position = outer;
  }
};

thread_local Begun* innermost = nullptr;
bool next_chunk(long* begin, long* end) noexcept {
  StaticLoop& loop = position.loop;
  const long count = (loop.end - loop.start + loop.step + (loop.step > 0 ? -1 : 1)) / loop.step;
  long first = 0, last = 0;
  if (loop.chunk == 0) {
    if (loop.round > 0) return false;
    const long each = count / position.threads, more = count % position.threads;
    first = each * position.rank + std::min<long>(position.rank, more);
    last = first + each + (position.rank < more ? 1 : 0);
  } else {
    first = (loop.round * position.threads + position.rank) * loop.chunk;
    last = std::min(first + loop.chunk, count);
  }
  ++loop.round;
  if (first >= last) return false;
  *begin = loop.start + first * loop.step;
  *end = loop.start + last * loop.step;
  return true;
}

}  // namespace

}  // namespace rdquant::runtime::native::onednn

using rdquant::core::Region;
using rdquant::runtime::native::onednn::Begun;
using rdquant::runtime::native::onednn::innermost;
using rdquant::runtime::native::onednn::position;

extern "C" {

#pragma GCC visibility push(default)

void GOMP_parallel_start(void (*body)(void*), void* data, unsigned threads) {
  const int asked =
      threads > 0 ? static_cast<int>(threads) : rdquant::runtime::native::onednn::openmp_threads();
  const int given = position.threads > 1 ? 1 : asked;  // no regions within regions
  std::unique_ptr<Begun> begun(new Begun{body, data, given, {}, position, innermost, nullptr});
  if (given > 1) begun->region = std::make_unique<Region>(given, begun.get(), Begun::run);
  innermost = begun.release();
  position = {0, given, &innermost->barrier, {}};
}

void GOMP_parallel_end() {
  const std::unique_ptr<Begun> begun(innermost);
  begun->region.reset();
  position = begun->outer;
  innermost = begun->before;
}

void GOMP_barrier() {
  if (position.threads > 1) position.barrier->wait(position.threads);
}

bool GOMP_loop_static_next(long* begin, long* end) {
  return rdquant::runtime::native::onednn::next_chunk(begin, end);
}

bool GOMP_loop_static_start(long start, long end, long step, long chunk, long* from, long* to) {
  position.loop = {start, end, step, chunk, 0};
  return GOMP_loop_static_next(from, to);
}

void GOMP_loop_end_nowait() {}

int omp_get_max_threads() { return rdquant::runtime::native::onednn::openmp_threads(); }
int omp_get_num_threads() { return position.threads; }
int omp_get_thread_num() { return position.rank; }
int omp_in_parallel() { return position.threads > 1 ? 1 : 0; }

#pragma GCC visibility pop

}  // extern "C"
