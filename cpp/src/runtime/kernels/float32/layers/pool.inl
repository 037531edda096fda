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

void pool(const PoolShape& s, const float* src, Index src_image, float* dst, Index dst_image, Index begin,
          Index end) {
  const Index blocks = divide(s.c, kBlock);
  for (Index item = begin; item < end; ++item) {
    const Index y = item % s.oh;
    const Index block = item / s.oh % blocks;
    const Index image = item / s.oh / blocks;
    const float* const in = src + image * src_image + block * s.h * s.w * kBlock;
    float* out = dst + image * dst_image + (block * s.oh + y) * s.ow * kBlock;
    const Index top = y * s.sh - s.top;
    const Span rows = taps_inside(top, s.kh, s.dh, s.h);
    const Span padded_rows = taps_inside(top + s.top, s.kh, s.dh, s.h + s.top + s.bottom);
    for (Index x = 0; x < s.ow; ++x, out += kBlock) {
      const Index left = x * s.sw - s.left;
      const Span columns = taps_inside(left, s.kw, s.dw, s.w);
      const Index count = (rows.end - rows.begin) * (columns.end - columns.begin);
      if (count == 0) {
        store(out, splat(0.0f));
      } else if (!s.average) {
        simd::Maximum all;
        for_window(s, in, top, left, rows, columns, [&](F32 pixel) { all.see(pixel); });
        store(out, all.get());
      } else {
        const Span wide = taps_inside(left + s.left, s.kw, s.dw, s.w + s.left + s.right);
        const Index divisor =
            s.count_pad ? (padded_rows.end - padded_rows.begin) * (wide.end - wide.begin) : count;
        F32 sum = splat(0.0f);
        for_window(s, in, top, left, rows, columns, [&](F32 pixel) { sum = sum + pixel; });
        store(out, sum * splat(1.0f / static_cast<float>(divisor)));
      }
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
