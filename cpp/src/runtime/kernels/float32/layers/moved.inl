// Sums of rows that are moved against each other, as the taps of a window move them.
#pragma once

#include "runtime/kernels/vec.inl"

namespace rdquant::runtime::kernels {
namespace {

// Elements [from, from + B) of a row of `length`, zeros where it has none.
[[gnu::always_inline]] inline F32 load_inside(const float* row, Index from, Index length) {
  if (from >= 0 && from + kBlock <= length) return load(row + from);
  if (from <= -kBlock || from >= length) return splat(0.0f);
  constexpr std::int32_t kCount[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const I32 place = load(kCount) + static_cast<std::int32_t>(from);
  return simd::select(simd::less_unsigned(place, simd::splat(static_cast<std::int32_t>(length))),
                      load(row + from), splat(0.0f));
}

// N vectors of sums at once, from y[x] on.
template <int N>
[[gnu::always_inline]] inline void add_moved_vectors(const MovedRow* rows, Index n, Index length,
                                                     F32 (&sums)[N], Index x) {
  for (Index i = 0; i < n; ++i) {
    const float* const row = rows[i].data;
    const Index from = x - rows[i].moved;
    if (from >= 0 && from + N * kBlock <= length) {
      for (int v = 0; v < N; ++v) sums[v] = sums[v] + load(row + from + v * kBlock);
    } else {
      for (int v = 0; v < N; ++v) sums[v] = sums[v] + load_inside(row, from + v * kBlock, length);
    }
  }
}

void add_moved(const MovedRow* rows, Index n, Index length, float* y, Index count) {
  constexpr int kVectors = 4;
  Index x = 0;
  for (; x + kVectors * kBlock <= count; x += kVectors * kBlock) {
    F32 sums[kVectors];
    for (int v = 0; v < kVectors; ++v) sums[v] = load(y + x + v * kBlock);
    add_moved_vectors(rows, n, length, sums, x);
    for (int v = 0; v < kVectors; ++v) store(y + x + v * kBlock, sums[v]);
  }
  for (; x < count; x += kBlock) {
    const Index left = count - x < kBlock ? count - x : kBlock;
    F32 sum[1] = {load_some(y + x, left)};
    add_moved_vectors(rows, n, length, sum, x);
    store_some(y + x, sum[0], left);
  }
}

}  // namespace
}  // namespace rdquant::runtime::kernels
