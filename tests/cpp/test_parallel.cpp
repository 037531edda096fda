#include <doctest/doctest.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "rdquant/core/parallel.hpp"

namespace {

using rdquant::core::parallel_for;

// Whether each of n items is done once.
bool covers(std::size_t n, std::size_t grain, int threads) {
  std::vector<std::atomic<int>> done(n);
  parallel_for(n, grain, threads, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) ++done[i];
  });
  for (const auto& count : done) {
    if (count != 1) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("every item is done once, whatever the number of threads") {
  for (const std::size_t n : {0, 1, 2, 7, 1000}) {
    for (const int threads : {0, 1, 2, 3, 16, 2}) {
      CAPTURE(n);
      CAPTURE(threads);
      CHECK(covers(n, 1, threads));
      CHECK(covers(n, 5, threads));
    }
  }
}

TEST_CASE("ranges depend on the arguments alone, and the first is the calling thread's") {
  const auto ranges = [](int threads) {
    std::vector<std::size_t> ends(10);
    std::thread::id first;
    parallel_for(10, 1, threads, [&](std::size_t begin, std::size_t end) {
      ends[begin] = end;
      if (begin == 0) first = std::this_thread::get_id();
    });
    CHECK(first == std::this_thread::get_id());
    return ends;
  };
  const std::vector<std::size_t> expected{3, 0, 0, 6, 0, 0, 10, 0, 0, 0};
  CHECK(ranges(3) == expected);
  parallel_for(1, 1, 1, [&](std::size_t, std::size_t) { CHECK(ranges(3) == expected); });
  parallel_for(2, 1, 2, [&](std::size_t begin, std::size_t) {
    if (begin == 0) CHECK(ranges(3) == expected);
  });
}

TEST_CASE("calls within calls and beside each other finish") {
  std::atomic<int> items = 0;
  const auto nested = [&] {
    parallel_for(4, 1, 4, [&](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i) {
        parallel_for(10, 1, 3, [&](std::size_t b, std::size_t e) { items += static_cast<int>(e - b); });
      }
    });
  };
  std::vector<std::jthread> callers;
  for (int i = 0; i < 4; ++i) callers.emplace_back([&] { nested(); });
  callers.clear();
  CHECK(items == 160);
}

TEST_CASE("what a body throws is thrown again when all are done, and the next call works") {
  for (const std::size_t bad : {0, 1, 2}) {
    std::atomic<int> others = 0;
    const auto body = [&](std::size_t begin, std::size_t) {
      if (begin == bad) throw std::runtime_error("bad");
      ++others;
    };
    CHECK_THROWS_AS(parallel_for(3, 1, 3, body), std::runtime_error);
    CHECK(others == 2);
    CHECK(covers(100, 1, 3));
  }
}

#if defined(__unix__) || defined(__APPLE__)
TEST_CASE("after a fork, the child has threads of its own") {
  CHECK(covers(100, 1, 3));  // so that there are threads that the child does not inherit
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    alarm(20);  // ends a child that waits for ever
    _exit(covers(100, 1, 3) ? 0 : 1);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}
#endif
