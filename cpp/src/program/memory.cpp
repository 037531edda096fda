#include "rdquant/program/memory.hpp"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>

namespace rdquant::program {
namespace {

std::size_t rounded_up(std::size_t bytes, std::size_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

bool overlap(const Lifetime& a, const Lifetime& b) { return a.first <= b.last && b.first <= a.last; }

/// Places buffers in the given order, each in the smallest gap that fits it between those placed before.
MemoryPlan place(std::span<const Lifetime> buffers, std::span<const std::size_t> order,
                 std::size_t alignment) {
  MemoryPlan plan{std::vector<std::size_t>(buffers.size()), 0};
  std::vector<std::size_t> placed;
  for (const std::size_t i : order) {
    const std::size_t need = rounded_up(buffers[i].bytes, alignment);
    std::size_t best = 0, best_gap = SIZE_MAX, end = 0;
    for (const std::size_t other : placed) {  // sorted by offset
      if (!overlap(buffers[i], buffers[other])) continue;
      const std::size_t start = plan.offsets[other];
      if (start > end && start - end >= need && start - end < best_gap) {
        best = end;
        best_gap = start - end;
      }
      end = std::max(end, start + rounded_up(buffers[other].bytes, alignment));
    }
    plan.offsets[i] = best_gap == SIZE_MAX ? end : best;
    plan.bytes = std::max(plan.bytes, plan.offsets[i] + need);
    const auto before = [&](std::size_t a, std::size_t b) { return plan.offsets[a] < plan.offsets[b]; };
    placed.insert(std::ranges::upper_bound(placed, i, before), i);
  }
  return plan;
}

}  // namespace

std::size_t least_memory(std::span<const Lifetime> buffers, std::size_t alignment) {
  std::vector<std::pair<std::int32_t, std::ptrdiff_t>> changes;
  for (const Lifetime& buffer : buffers) {
    const auto bytes = static_cast<std::ptrdiff_t>(rounded_up(buffer.bytes, alignment));
    changes.emplace_back(buffer.first, bytes);
    changes.emplace_back(buffer.last + 1, -bytes);
  }
  std::ranges::sort(changes);  // at one time, ends (negative) come first
  std::ptrdiff_t now = 0, most = 0;
  for (const auto& [time, change] : changes) most = std::max(most, now += change);
  return static_cast<std::size_t>(most);
}

MemoryPlan plan_memory(std::span<const Lifetime> buffers, std::size_t alignment) {
  const std::size_t least = least_memory(buffers, alignment);
  std::vector<std::size_t> order(buffers.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto length = [&](std::size_t i) { return buffers[i].last - buffers[i].first; };
  MemoryPlan best{{}, SIZE_MAX};
  const auto attempt = [&](auto key) {
    if (best.bytes == least) return;
    std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return key(a) < key(b); });
    MemoryPlan plan = place(buffers, order, alignment);
    if (plan.bytes < best.bytes) best = std::move(plan);
  };
  attempt([&](std::size_t i) { return std::pair(SIZE_MAX - buffers[i].bytes, buffers[i].first); });
  attempt([&](std::size_t i) { return std::pair(buffers[i].first, SIZE_MAX - buffers[i].bytes); });
  attempt([&](std::size_t i) { return std::pair(-length(i), SIZE_MAX - buffers[i].bytes); });
  return best;
}

}  // namespace rdquant::program
