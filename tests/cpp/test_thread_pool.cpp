#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "children.hpp"
#include "rdquant/core/fork.hpp"
#include "rdquant/core/parallel.hpp"

namespace {

using rdquant::core::ForkGuard;
using rdquant::core::lead;
using rdquant::core::parallel_for;
using rdquant::core::Region;
using rdquant::core::share;
using rdquant::core::share_ranked;
#if defined(__unix__) || defined(__APPLE__)
using rdquant::testing::child_succeeds;
#endif

// Whether each of n items is done once, shared among `threads` in ranges of at least `grain`, and no two
// threads do the same part at once.
bool covers(std::int64_t n, std::int64_t grain, int threads) {
  std::vector<int> done(static_cast<std::size_t>(n));
  std::vector<std::atomic<int>> at_part(static_cast<std::size_t>(threads));
  std::atomic<bool> fits{true};
  share_ranked(n, grain, threads, [&](std::int64_t begin, std::int64_t end, int part) {
    if (part < 0 || part >= threads || (end - begin < grain && end - begin < n)) fits = false;
    if (at_part[static_cast<std::size_t>(part)]++ != 0) fits = false;
    for (std::int64_t i = begin; i < end; ++i) ++done[static_cast<std::size_t>(i)];
  });
  return fits && done == std::vector<int>(static_cast<std::size_t>(n), 1);
}

// Waits until another thread has come here too; false after ten seconds.
bool meet(std::atomic<int>& count, int all) {
  ++count;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (count < all) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

TEST_CASE("every item is shared once, led or not") {
  for (const int threads : {1, 2, 5}) {
    const auto check = [&] {
      for (const std::int64_t n : {0, 1, 3, 64, 1001}) {
        for (const std::int64_t grain : {1, 7}) CHECK(covers(n, grain, threads));
      }
    };
    check();
    lead(threads, check);
    lead(threads, check);
  }
}

TEST_CASE("ranges that are shared run at the same time") {
  for (const bool led : {false, true}) {
    std::atomic<int> count = 0;
    std::atomic<bool> met{true};
    const auto both = [&] {
      share(2, 1, 2, [&](std::int64_t, std::int64_t) {
        if (!meet(count, 2)) met = false;
      });
    };
    led ? lead(2, both) : both();
    CHECK(met);
  }
}

TEST_CASE("work that shares work") {
  std::atomic<std::int64_t> sum{0};
  lead(3, [&] {
    share(6, 1, 3, [&](std::int64_t begin, std::int64_t end) {
      share(end - begin, 1, 3, [&](std::int64_t b, std::int64_t e) { sum += e - b; });
    });
  });
  CHECK(sum == 6);
}

TEST_CASE("leaders beside each other, and leaders within leaders") {
  std::atomic<std::int64_t> sum{0};
  {
    std::vector<std::jthread> leaders;
    for (int i = 0; i < 6; ++i) {
      leaders.emplace_back([&] {
        for (int k = 0; k < 200; ++k) {
          lead(3, [&] {
            share(7, 1, 3, [&](std::int64_t b, std::int64_t e) { sum += e - b; });
            lead(2, [&] { share(5, 1, 2, [&](std::int64_t b, std::int64_t e) { sum += e - b; }); });
          });
        }
      });
    }
  }
  CHECK(sum == 6 * 200 * 12);
}

// What comes out of work whose parts throw; the parts are all done, whichever throws.
std::string thrown(bool led, bool first, bool others) {
  std::atomic<int> parts = 0;
  std::string message;
  const auto work = [&] {
    try {
      share_ranked(3, 1, 3, [&](std::int64_t, std::int64_t, int part) {
        ++parts;
        if (part == 0 && first) throw std::runtime_error("first");
        if (part > 0 && others) throw std::runtime_error("others");
      });
    } catch (const std::runtime_error& error) {
      message = error.what();
    }
  };
  led ? lead(3, work) : work();
  CHECK(parts == 3);
  return message;
}

TEST_CASE("what a part throws comes out where it was shared, and the pool goes on") {
  for (int i = 0; i < 200; ++i) {
    for (const bool led : {false, true}) {
      CHECK(thrown(led, true, false) == "first");
      CHECK(thrown(led, false, true) == "others");
      CHECK(!thrown(led, true, true).empty());
      CHECK(thrown(led, false, false).empty());
      CHECK(covers(10, 1, 3));
    }
  }
}

TEST_CASE("what a leader throws comes out, before, after and within what it shares") {
  for (int i = 0; i < 200; ++i) {
    CHECK_THROWS_AS(lead(3, [] { throw std::runtime_error("requested"); }), std::runtime_error);
    CHECK_THROWS_AS(lead(3,
                         [] {
                           CHECK(covers(10, 1, 3));
                           throw std::runtime_error("requested");
                         }),
                    std::runtime_error);
    CHECK_THROWS_AS(
        lead(3, [] { share(3, 1, 3, [](std::int64_t, std::int64_t) { throw std::runtime_error("all"); }); }),
        std::runtime_error);
    lead(3, [] { CHECK(covers(10, 1, 3)); });
  }
}

struct Meeting {
  std::atomic<int> count{0};
  std::atomic<int> met{0};
  int parts;
  static void attend(const void* meeting, int) noexcept {
    auto& m = *const_cast<Meeting*>(static_cast<const Meeting*>(meeting));
    if (meet(m.count, m.parts)) ++m.met;
  }
  void hold() {
    const Region region(parts, this, attend);
    attend(this, 0);
  }
};

TEST_CASE("parts of a region may wait for each other, led or not, several at once") {
  const auto hold = [](int parts) {
    Meeting meeting{.count = 0, .met = 0, .parts = parts};
    meeting.hold();
    CHECK(meeting.met == parts);
  };
  for (const int parts : {1, 2, 5}) {
    hold(parts);
    lead(2, [&] { hold(parts); });
    lead(5, [&] { hold(parts); });
  }
  std::vector<std::jthread> leaders;
  for (int i = 0; i < 4; ++i) {
    leaders.emplace_back([&] {
      for (int k = 0; k < 50; ++k) hold(3);
    });
  }
}

TEST_CASE("a thread that does not begin delays nobody") {
  // More leaders than processors: some parts can only be done by those that share them.
  std::vector<std::jthread> leaders;
  std::atomic<std::int64_t> sum{0};
  for (int i = 0; i < 8; ++i) {
    leaders.emplace_back([&] {
      for (int k = 0; k < 500; ++k) share(4, 1, 4, [&](std::int64_t b, std::int64_t e) { sum += e - b; });
    });
  }
  leaders.clear();
  CHECK(sum == 8 * 500 * 4);
}

#if defined(__unix__) || defined(__APPLE__)
TEST_CASE("after a fork the child has threads of its own") {
  const auto works = [] {
    bool good = covers(100, 1, 3);
    lead(3, [&] { good = good && covers(100, 1, 3); });
    std::atomic<int> items = 0;
    parallel_for(7, 1, 3, [&](std::size_t b, std::size_t e) { items += static_cast<int>(e - b); });
    return good && items == 7;
  };
  CHECK(works());
  CHECK(child_succeeds(works));
  for (int i = 0; i < 40; ++i) {  // its followers stay behind, some while they are being woken
    lead(3, [&] { CHECK(child_succeeds(works)); });
  }
  CHECK(child_succeeds([&] { return works() && child_succeeds(works); }));
  CHECK(works());
}

TEST_CASE("a fork waits for guards of other threads") {
  std::atomic<bool> stop = false;
  std::atomic<int> within = 0;  // other threads between the two ends of a guarded piece of work
  std::vector<std::jthread> others;
  for (int i = 0; i < 2; ++i) {
    others.emplace_back([&] {
      while (!stop) {
        const ForkGuard guard;
        const ForkGuard nested;
        ++within;
        std::this_thread::yield();
        --within;
      }
    });
  }
  for (int i = 0; i < 50; ++i) {
    CHECK(child_succeeds([&] {
      const ForkGuard guard;
      return within == 0 && covers(100, 1, 3);
    }));
  }
  stop = true;
}
#endif

}  // namespace
