// Windows over plain arrays: where the rows under a window lie.
#pragma once

#include "runtime/kernels/float32/math.inl"
#include "runtime/kernels/float32/plain_pool/tables.hpp"
#include "simd/gather.inl"

namespace rdquant::runtime::kernels {
namespace {

inline I32 count_up(std::int32_t first, std::int32_t step) {
  constexpr std::int32_t kCount[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return load(kCount) * step + first;
}

// Elements 0, stride, 2·stride, … of p; of stride 2 those that follow the last are read, too.
template <class T>
[[gnu::always_inline]] inline simd::Vector<T, simd::kLanes> load_every(const T* p, Index stride) {
  using V = simd::Vector<T, simd::kLanes>;
  if (stride == 1) return load(p);
  if constexpr (kBlock == 16) {
    if (stride == 2) return simd::lookup(load(p), load(p + kBlock), count_up(0, 2));
  }
  return simd::bits_as<V>(simd::Gather(false, kBlock)(p, count_up(0, static_cast<std::int32_t>(stride))));
}

// The window of one row of results: its taps, and where the first of them would lie.
struct RowWindow {
  Span deep, high;
  Index front, top;
  float counted;  // elements of a column that count in the divisor
};

// As taps_inside, without divisions where taps lie side by side: short rows would wait for them.
Span window_taps(const PoolAxis& axis, Index start) {
  if (axis.dilation != 1) return taps_inside(start, axis.kernel, axis.dilation, axis.in);
  const Index begin = start < 0 ? -start : 0, room = axis.in - start;
  const Index end = room < axis.kernel ? room : axis.kernel;
  return {begin, end > begin ? end : begin};
}

// Where in the results a row lies.
struct Row {
  Index plane, z, y;
};

Row row_of(const PlainPoolArgs& args, Index item) {
  const Index rows = args.axes[1].out, deep = args.axes[0].out;
  return {item / rows / deep, item / rows % deep, item % rows};
}

void step(const PlainPoolArgs& args, Row& row) {
  if (++row.y < args.axes[1].out) return;
  row.y = 0;
  if (++row.z < args.axes[0].out) return;
  row.z = 0;
  ++row.plane;
}

Index counted_taps(const PoolAxis& axis, Index start, const Span& inside, bool count_pad) {
  if (!count_pad) return inside.end - inside.begin;
  const Span padded =
      taps_inside(start + axis.before, axis.kernel, axis.dilation, axis.before + axis.in + axis.counted);
  return padded.end - padded.begin;
}

RowWindow row_window(const PlainPoolArgs& args, Index z, Index y) {
  const PoolAxis &depth = args.axes[0], &rows = args.axes[1];
  const Index front = z * depth.stride - depth.before, top = y * rows.stride - rows.before;
  const Span deep = window_taps(depth, front);
  const Span high = window_taps(rows, top);
  return {deep, high, front, top,
          static_cast<float>(counted_taps(depth, front, deep, args.count_pad) *
                             counted_taps(rows, top, high, args.count_pad))};
}

// The rows under a window, some at a time: where in their plane each begins.
struct Rows {
  static constexpr Index kMost = 32;
  Index starts[kMost], count;
};

// body(rows, whether they are the first) until all rows of the window have been seen; once at least.
template <class Body>
[[gnu::always_inline]] inline void for_rows(const PlainPoolArgs& args, const RowWindow& window, Body body) {
  const PoolAxis &depth = args.axes[0], &rows = args.axes[1];
  Rows some;
  some.count = 0;
  bool first = true;
  for (Index kz = window.deep.begin; kz < window.deep.end; ++kz) {
    const Index plane = (window.front + kz * depth.dilation) * rows.in;
    for (Index ky = window.high.begin; ky < window.high.end; ++ky) {
      if (some.count == Rows::kMost) {
        body(some, first);
        first = false;
        some.count = 0;
      }
      some.starts[some.count++] = (plane + window.top + ky * rows.dilation) * args.axes[2].in;
    }
  }
  body(some, first);
}

void fill(float* p, float value, Index n) {
  for (Index i = 0; i < n; ++i) p[i] = value;
}

}  // namespace
}  // namespace rdquant::runtime::kernels
