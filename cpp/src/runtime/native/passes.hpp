#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "rdquant/core/parallel.hpp"
#include "rdquant/core/tensor.hpp"

/// Reductions along any axes as passes along one.
namespace rdquant::runtime::native {

/// An array as [outer][length][inner], reduced along the middle.
struct Pass {
  std::int64_t outer = 1, length = 1, inner = 1;

  [[nodiscard]] std::int64_t results() const { return outer * inner; }
};

/// Passes one after the other, the last axes first: axes that go and lie side by side are one pass.
inline std::vector<Pass> passes_of(const core::Shape& shape, const std::vector<std::int64_t>& reduced) {
  std::vector<Pass> passes;
  std::int64_t inner = 1, before = core::element_count(shape);
  for (std::size_t i = shape.size(); i-- > 0;) {
    if (shape[i] == 1) continue;
    const bool goes = std::ranges::find(reduced, static_cast<std::int64_t>(i)) != reduced.end();
    before /= shape[i];
    if (!goes) {
      inner *= shape[i];
    } else if (!passes.empty() && passes.back().inner == inner) {
      passes.back().length *= shape[i];
      passes.back().outer = before;
    } else {
      passes.push_back({before, shape[i], inner});
    }
  }
  if (passes.empty()) passes.push_back({core::element_count(shape), 1, 1});
  return passes;
}

/// Calls body(slice, begin, end) for columns of every slice, or for rows (slice 0), on the threads.
template <typename Body>
void share_pass(const Pass& pass, int threads, const Body& body) {
  constexpr std::int64_t kColumns = 256,
                         kReduced = 8192;  // columns of one piece of work; numbers worth a thread
  if (pass.inner == 1) {
    core::share(pass.outer, std::max<std::int64_t>(1, kReduced / pass.length), threads,
                [&](std::int64_t begin, std::int64_t end) { body(0, begin, end); });
    return;
  }
  const std::int64_t pieces = (pass.inner + kColumns - 1) / kColumns;
  const std::int64_t grain =
      std::max<std::int64_t>(1, kReduced / (pass.length * std::min(pass.inner, kColumns)));
  core::share(pass.outer * pieces, grain, threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t first = i % pieces * kColumns;
      body(i / pieces, first, std::min(pass.inner, first + kColumns));
    }
  });
}

}  // namespace rdquant::runtime::native
