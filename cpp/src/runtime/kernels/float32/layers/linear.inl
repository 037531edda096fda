// Fully connected layers: dot products of rows.
#pragma once

#include "runtime/kernels/float32/math.inl"

namespace rdquant::runtime::kernels {
namespace {

// R rows of x times F rows of w, both `in` long.
template <int R, int F>
void linear_tile(const LinearArgs& a, const float* x, const float* w, float (&out)[R][F]) {
  F32 sums[R][F];
  for_each<R * F>([&](auto i) __attribute__((always_inline)) { sums[i / F][i % F] = splat(0.0f); });
  Index i = 0;
  const auto step = [&](auto read) __attribute__((always_inline)) {
    F32 rows[R];
    for_each<R>([&](auto r) __attribute__((always_inline)) { rows[r] = read(x + r * a.x_row + i); });
    for_each<F>([&](auto f) __attribute__((always_inline)) {
      const F32 filter = read(w + f * a.in + i);
      for_each<R>([&](auto r)
                      __attribute__((always_inline)) { sums[r][f] = fma(rows[r], filter, sums[r][f]); });
    });
  };
  for (; i + kBlock <= a.in; i += kBlock) step([](const float* p) { return load(p); });
  if (i < a.in) step([&](const float* p) { return load_some(p, a.in - i); });
  for_each<R * F>([&](auto j)
                      __attribute__((always_inline)) { out[j / F][j % F] = sum(sums[j / F][j % F]); });
}

constexpr int kLinearFilters = 4;
constexpr int kLinearRows = kBlock == 16 ? 4 : 2;

template <int R, int F>
void linear_block(const LinearArgs& a, Index row, Index filter) {
  float out[R][F];
  linear_tile<R, F>(a, a.x + row * a.x_row, a.w + filter * a.in, out);
  for (Index r = 0; r < R; ++r) {
    float* const y = a.y + (row + r) * a.y_row + filter;
    for (Index f = 0; f < F; ++f) y[f] = out[r][f] + (a.bias == nullptr ? 0.0f : a.bias[filter + f]);
    apply_all(a.activation, y, y, F);
  }
}

template <int F>
void linear_rows(const LinearArgs& a, Index filter) {
  Index row = 0;
  for (; row + kLinearRows <= a.rows; row += kLinearRows) linear_block<kLinearRows, F>(a, row, filter);
  for (; row < a.rows; ++row) linear_block<1, F>(a, row, filter);
}

void linear(const LinearArgs& a, Index begin, Index end) {
  for (Index item = begin; item < end; ++item) {
    const Index filter = item * kLinearFilters;
    if (filter + kLinearFilters <= a.out) {
      linear_rows<kLinearFilters>(a, filter);
    } else {
      for (Index f = filter; f < a.out; ++f) linear_rows<1>(a, f);
    }
  }
}

}  // namespace
}  // namespace rdquant::runtime::kernels
