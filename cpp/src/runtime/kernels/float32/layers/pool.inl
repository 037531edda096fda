// Pooling of blocked images.
#pragma once

#include "runtime/kernels/vec.inl"

namespace rdquant::runtime::kernels {
namespace {

// see(pixel) for those of a window that lie in the image.
template <class See>
[[gnu::always_inline]] inline void for_window(const PoolShape& s, const float* src, Index top, Index left,
                                              Span rows, Span columns, See see) {
  for (Index ky = rows.begin; ky < rows.end; ++ky) {
    const float* in = src + ((top + ky * s.dh) * s.w + left + columns.begin * s.dw) * kBlock;
    for (Index kx = columns.begin; kx < columns.end; ++kx, in += s.dw * kBlock) see(load(in));
  }
}

// A sum as windows take it, next to simd::Maximum.
struct Sum {
  F32 all = splat(0.0f);
  [[gnu::always_inline]] void see(F32 x) { all = all + x; }
  [[gnu::always_inline]] F32 get() const { return all; }
};

// What a row of windows sees: its rows of the image, and how many of them count where padding does.
struct PoolRow {
  const float* in;  // the channel block
  Index top;
  Span rows;
  Index padded;
};

// What makes the sum under the window from column `left` on a mean.
inline F32 share_of_window(const PoolShape& s, const PoolRow& row, Index left, Span columns) {
  Index count = (row.rows.end - row.rows.begin) * (columns.end - columns.begin);
  if (s.count_pad) {
    const Span wide = taps_inside(left + s.left, s.kw, s.dw, s.w + s.left + s.right);
    count = row.padded * (wide.end - wide.begin);
  }
  return splat(1.0f / static_cast<float>(count));
}

// store(pixel) of every window of a row: its number, its first column and its columns inside the image.
template <class Make>
[[gnu::always_inline]] inline void for_windows(const PoolShape& s, const PoolRow& row, float* out,
                                               Index begin, Index end, Make make) {
  for (Index x = begin; x < end; ++x) {
    const Index left = x * s.sw - s.left;
    const Span columns = taps_inside(left, s.kw, s.dw, s.w);
    const bool empty = columns.end == columns.begin || row.rows.end == row.rows.begin;
    F32 pixel = splat(0.0f);
    if (!empty) pixel = make(left, columns);
    if (!empty && s.average) pixel = pixel * share_of_window(s, row, left, columns);
    store(out + x * kBlock, pixel);
  }
}

// Pixel by pixel of each window.
template <class Whole>
void pool_windows(const PoolShape& s, const PoolRow& row, float* out) {
  for_windows(s, row, out, 0, s.ow, [&](Index left, Span columns) __attribute__((always_inline)) {
    Whole all;
    for_window(s, row.in, row.top, left, row.rows, columns, [&](F32 pixel) { all.see(pixel); });
    return all.get();
  });
}

constexpr Index kPoolColumns = 128;  // whose rows are brought into one at a time

inline Index window_reach(const PoolShape& s) { return s.dw * (s.kw - 1) + 1; }

// Whether windows share so much that it pays to bring their rows into one first. Sums are no less exact for it: each
// number goes through fewer additions.
inline bool pools_rows_first(const PoolShape& s) {
  const Index reach = window_reach(s), across = (s.ow - 1) * s.sw + reach;
  const Index each = s.ow * s.kh * s.kw, apart = (across < s.w ? across : s.w) * s.kh + s.ow * s.kw;
  return reach <= kPoolColumns && 2 * each > 3 * apart;
}

// The rows under a window, of columns [begin, end), brought into one: four at once, so that none waits for the one before.
template <class Whole>
[[gnu::always_inline]] inline void join_pool_rows(const PoolShape& s, const PoolRow& row, Index begin,
                                                  Index end, float* joined) {
  const Index step = s.dh * s.w * kBlock;
  const auto join = [&](auto count, Index x) __attribute__((always_inline)) {
    constexpr int kCount = decltype(count)::value;
    const float* in = row.in + ((row.top + row.rows.begin * s.dh) * s.w + x) * kBlock;
    Whole all[kCount];
    for (Index ky = row.rows.begin; ky < row.rows.end; ++ky, in += step)
      for_each<kCount>([&](auto i) __attribute__((always_inline)) { all[i].see(load(in + i * kBlock)); });
    for_each<kCount>([&](auto i) __attribute__((always_inline)) {
      store(joined + (x - begin + i) * kBlock, all[i].get());
    });
  };
  Index x = begin;
  for (; x + 4 <= end; x += 4) join(std::integral_constant<int, 4>{}, x);
  for (; x < end; ++x) join(std::integral_constant<int, 1>{}, x);
}

// The same with rows brought into one first, some columns at a time.
template <class Whole>
void pool_joined(const PoolShape& s, const PoolRow& row, float* out) {
  alignas(64) float joined[kPoolColumns * kBlock];
  const Index together = (kPoolColumns - window_reach(s)) / s.sw + 1;
  for (Index x = 0; x < s.ow; x += together) {
    const Index next = x + together < s.ow ? x + together : s.ow;
    const Index left = x * s.sw - s.left, right = (next - 1) * s.sw - s.left + window_reach(s);
    const Index begin = left < 0 ? 0 : left, end = right < s.w ? right : s.w;
    join_pool_rows<Whole>(s, row, begin, end, joined);
    for_windows(s, row, out, x, next, [&](Index first, Span columns) __attribute__((always_inline)) {
      Whole all;
      const float* in = joined + (first + columns.begin * s.dw - begin) * kBlock;
      for (Index kx = columns.begin; kx < columns.end; ++kx, in += s.dw * kBlock) all.see(load(in));
      return all.get();
    });
  }
}

void pool(const PoolShape& s, const float* src, Index src_image, float* dst, Index dst_image, Index begin,
          Index end) {
  const Index blocks = divide(s.c, kBlock);
  const bool joins = pools_rows_first(s);
  for (Index item = begin; item < end; ++item) {
    const Index y = item % s.oh;
    const Index block = item / s.oh % blocks;
    const Index image = item / s.oh / blocks;
    const Index top = y * s.sh - s.top;
    const Span padded = taps_inside(top + s.top, s.kh, s.dh, s.h + s.top + s.bottom);
    const PoolRow row = {src + image * src_image + block * s.h * s.w * kBlock, top,
                         taps_inside(top, s.kh, s.dh, s.h), padded.end - padded.begin};
    float* const out = dst + image * dst_image + (block * s.oh + y) * s.ow * kBlock;
    if (s.average) {
      (joins ? pool_joined<Sum> : pool_windows<Sum>)(s, row, out);
    } else {
      (joins ? pool_joined<simd::Maximum> : pool_windows<simd::Maximum>)(s, row, out);
    }
  }
}

void global_average(const float* src, Index src_image, float* dst, Index dst_image, Index c, Index area,
                    Index begin, Index end) {
  const Index blocks = divide(c, kBlock);
  for (Index item = begin; item < end; ++item) {
    const Index block = item % blocks;
    const Index image = item / blocks;
    const float* const in = src + image * src_image + block * area * kBlock;
    F32 sums[4] = {splat(0.0f), splat(0.0f), splat(0.0f), splat(0.0f)};
    Index i = 0;
    for (; i + 4 <= area; i += 4) {
      for (Index j = 0; j < 4; ++j) sums[j] = sums[j] + load(in + (i + j) * kBlock);
    }
    for (; i < area; ++i) sums[0] = sums[0] + load(in + i * kBlock);
    const F32 mean = ((sums[0] + sums[1]) + (sums[2] + sums[3])) * splat(1.0f / static_cast<float>(area));
    const Index real = c - block * kBlock < kBlock ? c - block * kBlock : kBlock;
    store_some(dst + image * dst_image + block * kBlock, mean, real);
  }
}

}  // namespace
}  // namespace rdquant::runtime::kernels
