// Memory of tensors: aligned, zero where promised, large blocks used again.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "rdquant/core/memory.hpp"

namespace {

using rdquant::core::allocate;
using rdquant::core::allocate_zeros;
using rdquant::core::Array;
using rdquant::core::Memory;

constexpr std::size_t kMiB = std::size_t{1} << 20U;

bool all_zero(const Memory& memory, std::size_t bytes) {
  return std::all_of(memory.get(), memory.get() + bytes, [](std::byte b) { return b == std::byte{0}; });
}

TEST_CASE("blocks of every size are aligned and hold what is written") {
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{63}, 4 * kMiB - 1, 4 * kMiB,
                                  4 * kMiB + 1, 7 * kMiB + 12345, 33 * kMiB}) {
    CAPTURE(bytes);
    const Memory memory = allocate(bytes);
    REQUIRE(memory != nullptr);
    CHECK(reinterpret_cast<std::uintptr_t>(memory.get()) % rdquant::core::kAlignment == 0);
    std::memset(memory.get(), 0x5a, bytes);
    CHECK(std::all_of(memory.get(), memory.get() + bytes, [](std::byte b) { return b == std::byte{0x5a}; }));
  }
}

TEST_CASE("zeros are zeros, in memory that was written before, too") {
  for (const std::size_t bytes : {std::size_t{4096}, 5 * kMiB, 6 * kMiB + 1}) {
    CAPTURE(bytes);
    for (int again = 0; again < 3; ++again) {
      const Memory memory = allocate_zeros(bytes);
      CHECK(all_zero(memory, bytes));
      std::memset(memory.get(), 0xff, bytes);
    }
  }
}

TEST_CASE("blocks that live at once do not overlap, whatever was given back before") {
  for (int again = 0; again < 3; ++again) {
    std::vector<std::pair<Memory, std::size_t>> blocks;
    for (std::size_t i = 0; i < 24; ++i) {
      const std::size_t bytes = (3 + i * 7 % 11) * kMiB + i;
      blocks.emplace_back(allocate(bytes), bytes);
      std::memset(blocks.back().first.get(), static_cast<int>(i), bytes);
      if (i % 5 == 4) blocks.erase(blocks.begin() + 1);
    }
    for (const auto& [memory, bytes] : blocks) {
      const std::byte first = memory.get()[0];
      CHECK(std::all_of(memory.get(), memory.get() + bytes, [first](std::byte b) { return b == first; }));
    }
  }
}

TEST_CASE("threads share the blocks that were given back") {
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t, &wrong] {
      for (int i = 0; i < 50; ++i) {
        const std::size_t bytes = (4 + (i + t) % 3) * kMiB;
        const Memory memory = allocate(bytes);
        const std::byte mine{static_cast<unsigned char>(t + 1)};
        memory.get()[0] = memory.get()[bytes - 1] = mine;
        std::this_thread::yield();
        if (memory.get()[0] != mine || memory.get()[bytes - 1] != mine) ++wrong[static_cast<std::size_t>(t)];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(4));
}

TEST_CASE("what no machine has is refused") {
  CHECK_THROWS_AS(static_cast<void>(allocate(PTRDIFF_MAX)), std::bad_alloc);
  CHECK_THROWS_AS(static_cast<void>(allocate(SIZE_MAX)), std::bad_alloc);
  CHECK_THROWS_AS(Array<double>(SIZE_MAX / 4), std::bad_alloc);
}

TEST_CASE("arrays begin as zeros and keep their values when moved") {
  Array<float> values(3);
  CHECK(std::all_of(values.begin(), values.end(), [](float v) { return v == 0.0F; }));
  values[2] = 5.0F;
  const Array<float> moved = std::move(values);
  CHECK(moved.size() == 3);
  CHECK(moved[2] == 5.0F);
  CHECK(Array<float>().size() == 0);
}

}  // namespace
