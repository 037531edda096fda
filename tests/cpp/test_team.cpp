#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "runtime/native/loops.hpp"
#include "runtime/native/team.hpp"

namespace {

using rdquant::runtime::native::lead;
using rdquant::runtime::native::share_ranked;
using rdquant::runtime::native::Team;

// How often each of n items is done, shared among `threads`; fails where ranges are shorter than `grain`.
std::vector<int> counts(std::int64_t n, std::int64_t grain, int threads) {
  std::vector<int> done(static_cast<std::size_t>(n));
  std::atomic<bool> fits{true};
  share_ranked(n, grain, threads, [&](std::int64_t begin, std::int64_t end, int rank) {
    if (rank < 0 || rank >= threads || (end - begin < grain && end - begin < n)) fits = false;
    for (std::int64_t i = begin; i < end; ++i) ++done[static_cast<std::size_t>(i)];
  });
  CHECK(fits);
  return done;
}

TEST_CASE("a team shares every item once, led or not") {
  for (const int threads : {1, 2, 5}) {
    const Team team(threads);
    const auto check = [&] {
      for (const std::int64_t n : {0, 1, 3, 64, 1001}) {
        for (const std::int64_t grain : {1, 7}) {
          CHECK(counts(n, grain, threads) == std::vector<int>(static_cast<std::size_t>(n), 1));
        }
      }
    };
    check();
    lead(threads, check);
    lead(threads, check);
  }
}

TEST_CASE("work that shares work") {
  const Team team(3);
  std::atomic<std::int64_t> sum{0};
  lead(3, [&] {
    share_ranked(6, 1, 3, [&](std::int64_t begin, std::int64_t end, int) {
      share_ranked(end - begin, 1, 3, [&](std::int64_t b, std::int64_t e, int) { sum += e - b; });
    });
  });
  CHECK(sum == 6);
}

TEST_CASE("a leader's failure comes out, and the team goes on") {
  const Team team(2);
  CHECK_THROWS_AS(lead(2, [] { throw std::runtime_error("asked for"); }), std::runtime_error);
  lead(2, [] { CHECK(counts(10, 1, 2) == std::vector<int>(10, 1)); });
}

}  // namespace
