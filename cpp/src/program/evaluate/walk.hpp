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

  /// Calls row(count, offsets, steps) on the threads, for innermost runs or parts of one: operand n has its elements at
  /// offsets[n] + i · steps[n], i < count. On one thread the runs come in order.
  template <typename Row>
  void rows(int threads, Row row) const {
    each_row([](void* to, std::int64_t count, const Offsets& offsets,
                const Offsets& steps) { (*static_cast<Row*>(to))(count, offsets, steps); },
             &row, threads);
  }

  /// Calls visit(offsets) for every index.
  template <typename Visit>
  void elements(int threads, Visit visit) const {
    rows(threads, [&](std::int64_t count, Offsets offsets, const Offsets& steps) {
      for (std::int64_t i = 0; i < count; ++i) {
        visit(offsets);
        for (std::size_t n = 0; n < N; ++n) offsets[n] += steps[n];
      }
    });
  }

 private:
  using Row = void (*)(void*, std::int64_t, const Offsets&, const Offsets&);

  /// Once for all kinds of rows: compiled into each, the walk would be most of the code.
  void each_row(Row row, void* to, int threads) const {
    const std::int64_t length = sizes_.back(), size = size_of(sizes_);
    if (size == 0) return;
    if (size == length) {
      share_lines(length, 1, threads, [&](std::int64_t begin, std::int64_t end) {
        Offsets offsets;
        for (std::size_t n = 0; n < N; ++n) offsets[n] = begin * steps_.back()[n];
        row(to, end - begin, offsets, steps_.back());
      });
      return;
    }
    share_lines(size / length, length, threads,
                [&](std::int64_t begin, std::int64_t end) { some_rows(row, to, begin, end); });
  }

  /// The innermost runs [begin, end).
  void some_rows(Row row, void* to, std::int64_t begin, std::int64_t end) const {
    const std::size_t outer = sizes_.size() - 1;
    std::vector<std::int64_t> index(outer, 0);
    Offsets offsets{};
    for (std::int64_t axis = static_cast<std::int64_t>(outer), rest = begin; axis-- > 0;) {
      const auto a = static_cast<std::size_t>(axis);
      index[a] = rest % sizes_[a];
      rest /= sizes_[a];
      for (std::size_t n = 0; n < N; ++n) offsets[n] += index[a] * steps_[a][n];
    }
    for (std::int64_t line = begin; line < end; ++line) {
      row(to, sizes_[outer], offsets, steps_[outer]);
      for (std::size_t axis = outer; axis-- > 0;) {
        for (std::size_t n = 0; n < N; ++n) offsets[n] += steps_[axis][n];
        if (++index[axis] < sizes_[axis]) break;
        for (std::size_t n = 0; n < N; ++n) offsets[n] -= steps_[axis][n] * sizes_[axis];
        index[axis] = 0;
      }
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

/// Copies an index space of `sizes` elements of `bytes` bytes each between strided arrays.
void copy(std::size_t bytes, Sizes sizes, void* to, const Strides& to_strides, const void* from,
          const Strides& from_strides, int threads);

}  // namespace rdquant::program::plain
