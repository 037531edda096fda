#include "rdquant/core/parallel.hpp"

#include <algorithm>
#include <thread>
#include <utility>

#include "core/thread_pool.hpp"

namespace rdquant::core {
namespace {

/// The followers that this thread leads and that are free to take work.
thread_local Followers* leading = nullptr;

/// Takes `leading` away while its followers are at work.
class Busy {
 public:
  Busy() : followers_(std::exchange(leading, nullptr)) {}
  ~Busy() { leading = followers_; }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;
  [[nodiscard]] Followers* followers() const { return followers_; }

 private:
  Followers* followers_;
};

struct Ranges {
  const void* body;
  RangeWork work;
  std::int64_t n, parts;
  FirstFailure failure;

  static void run(void* task, std::int64_t part) noexcept {
    auto& r = *static_cast<Ranges*>(task);
    try {
      r.work(r.body, r.n * part / r.parts, r.n * (part + 1) / r.parts, static_cast<int>(part));
    } catch (...) {
      r.failure.keep();
    }
  }
};

/// Runs `parts` ranges; fewer, but for `exact`, where there are fewer threads.
void run_ranges(std::int64_t n, std::int64_t parts, bool exact, const void* body, RangeWork work) {
  Ranges ranges{body, work, n, parts, {}};
  const auto run = [&](Followers& followers) {
    if (!exact) ranges.parts = std::min<std::int64_t>(parts, followers.size() + 1);
    followers.run(ranges.parts, &ranges, Ranges::run);
  };
  {
    const Busy busy;
    if (busy.followers() != nullptr) {
      run(*busy.followers());
    } else {
      Followers followers(static_cast<int>(parts) - 1, false);
      run(followers);
    }
  }
  ranges.failure.rethrow();
}

}  // namespace

int resolve_threads(int threads) noexcept {
  if (threads > 0) return threads;
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

void parallel_for(std::size_t n, std::size_t grain, int threads,
                  const std::function<void(std::size_t begin, std::size_t end)>& body) {
  if (n == 0) return;
  const std::size_t most = std::max<std::size_t>(1, n / std::max<std::size_t>(1, grain));
  const std::size_t parts = std::min<std::size_t>(static_cast<std::size_t>(resolve_threads(threads)), most);
  if (parts == 1) return body(0, n);
  run_ranges(static_cast<std::int64_t>(n), static_cast<std::int64_t>(parts), true, &body,
             [](const void* b, std::int64_t begin, std::int64_t end, int) {
               (*static_cast<const std::function<void(std::size_t, std::size_t)>*>(b))(
                   static_cast<std::size_t>(begin), static_cast<std::size_t>(end));
             });
}

void share_ranges(std::int64_t n, std::int64_t grain, int threads, const void* body, RangeWork work) {
  const std::int64_t parts = std::min<std::int64_t>(threads, n / std::max<std::int64_t>(1, grain));
  if (parts < 2) return work(body, 0, n, 0);
  run_ranges(n, parts, false, body, work);
}

void lead(int threads, const void* body, Leading call) {
  if (threads == 1) return call(body);
  const Busy busy;  // its followers, if any, are not those of this
  Followers followers(threads - 1, false);
  followers.call_up();
  leading = &followers;
  call(body);
}

struct Region::State {
  const void* body;
  Work work;
  Busy busy;
  Followers* followers;  ///< those that this thread leads, or `own`
  std::unique_ptr<Followers> own;

  State(int threads, const void* b, Work w) : body(b), work(w), followers(busy.followers()) {
    if (followers != nullptr && followers->size() + 1 == threads) return;
    own = std::make_unique<Followers>(threads - 1, true);
    followers = own.get();
  }
  static void run(void* task, std::int64_t part) noexcept {
    const State& state = *static_cast<State*>(task);
    state.work(state.body, static_cast<int>(part));
  }
};

Region::Region(int threads, const void* body, Work work) : state_(new State(threads, body, work)) {
  state_->followers->start(state_, State::run);
}

Region::~Region() {
  state_->followers->finish();
  delete state_;
}

}  // namespace rdquant::core
