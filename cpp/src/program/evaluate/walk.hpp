#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "program/evaluate/types.hpp"
#include "rdquant/core/parallel.hpp"

/// Walks through the index space of an array, with an offset per operand.
namespace rdquant::program::plain {

using Strides = std::vector<std::int64_t>;

/// Elements from one index to the next, per axis, of a dense row-major array.
[[nodiscard]] inline Strides dense_strides(Sizes shape) {
  Strides strides(shape.size(), 1);
  for (std::size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

/// Strides of an array of `shape` seen under the larger `result` as NumPy broadcasts: 0 where repeated.
[[nodiscard]] inline Strides broadcast_strides(Sizes shape, Sizes result) {
  const Strides dense = dense_strides(shape);
  Strides strides(result.size(), 0);
  const std::size_t lead = result.size() - shape.size();
  for (std::size_t i = 0; i < shape.size(); ++i) strides[lead + i] = shape[i] == 1 ? 0 : dense[i];
  return strides;
}

/// Product of sizes [begin, end).
[[nodiscard]] inline std::int64_t product(Sizes sizes, std::size_t begin, std::size_t end) noexcept {
  return size_of(sizes.subspan(begin, end - begin));
}

/// The index space of an array in row-major order, innermost runs as long as possible.
template <std::size_t N>
class Walk {
 public:
  using Offsets = std::array<std::int64_t, N>;

  Walk(Sizes sizes, const std::array<Strides, N>& strides) {
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      if (sizes[i] == 1) continue;
      Offsets steps;
      for (std::size_t n = 0; n < N; ++n) steps[n] = strides[n][i];
      if (!sizes_.empty() && continues(steps, sizes[i])) {
        sizes_.back() *= sizes[i];
        steps_.back() = steps;
      } else {
        sizes_.push_back(sizes[i]);
        steps_.push_back(steps);
      }
    }
    if (!sizes_.empty()) return;
    sizes_.push_back(1);
    steps_.push_back({});
  }

  /// Calls row(count, offsets, steps) for each innermost run: operand n has its elements at
  /// offsets[n] + i · steps[n], i < count.
  template <typename Row>
  void rows(Row row) const {
    each_row([](void* to, std::int64_t count, const Offsets& offsets,
                const Offsets& steps) { (*static_cast<Row*>(to))(count, offsets, steps); },
             &row);
  }

  /// Calls visit(offsets) for every index.
  template <typename Visit>
  void elements(Visit visit) const {
    rows([&](std::int64_t count, Offsets offsets, const Offsets& steps) {
      for (std::int64_t i = 0; i < count; ++i) {
        visit(offsets);
        for (std::size_t n = 0; n < N; ++n) offsets[n] += steps[n];
      }
    });
  }

 private:
  /// Once for all kinds of rows: compiled into each, the walk would be most of the code.
  void each_row(void (*row)(void*, std::int64_t, const Offsets&, const Offsets&), void* to) const {
    const std::size_t outer = sizes_.size() - 1;
    std::vector<std::int64_t> index(outer, 0);
    Offsets offsets{};
    if (size_of(sizes_) == 0) return;
    while (true) {
      row(to, sizes_[outer], offsets, steps_[outer]);
      std::size_t axis = outer;
      while (axis-- > 0) {
        for (std::size_t n = 0; n < N; ++n) offsets[n] += steps_[axis][n];
        if (++index[axis] < sizes_[axis]) break;
        for (std::size_t n = 0; n < N; ++n) offsets[n] -= steps_[axis][n] * sizes_[axis];
        index[axis] = 0;
      }
      if (axis == static_cast<std::size_t>(-1)) return;
    }
  }

  /// True where going once along the last axis kept so far equals `size` steps of the next one.
  [[nodiscard]] bool continues(const Offsets& steps, std::int64_t size) const {
    for (std::size_t n = 0; n < N; ++n) {
      if (steps_.back()[n] != steps[n] * size) return false;
    }
    return true;
  }

  std::vector<std::int64_t> sizes_;
  std::vector<Offsets> steps_;
};

/// An array seen as [outer, size, inner] around one axis.
struct Around {
  std::int64_t outer, size, inner;
  Around(Sizes shape, std::int64_t axis)
      : outer(product(shape, 0, static_cast<std::size_t>(axis))),
        size(shape[static_cast<std::size_t>(axis)]),
        inner(product(shape, static_cast<std::size_t>(axis) + 1, shape.size())) {}
};

/// Calls body(begin, end) on the threads for ranges of `lines` lines of `length` elements, several of which are
/// worth waking a thread.
template <typename Body>
void share_lines(std::int64_t lines, std::int64_t length, int threads, const Body& body) {
  const std::int64_t grain = std::max<std::int64_t>(1, 4096 / std::max<std::int64_t>(1, length));
  core::parallel_for(static_cast<std::size_t>(lines), static_cast<std::size_t>(grain), threads,
                     [&](std::size_t begin, std::size_t end) {
                       body(static_cast<std::int64_t>(begin), static_cast<std::int64_t>(end));
                     });
}

/// Copies an index space of `sizes` elements of `bytes` bytes each between strided arrays.
void copy(std::size_t bytes, Sizes sizes, void* to, const Strides& to_strides, const void* from,
          const Strides& from_strides);

}  // namespace rdquant::program::plain
