// Moves without arithmetic.
#pragma once

#include "runtime/kernels/vec.inl"
#include "simd/gather.inl"

namespace rdquant::runtime::kernels {
namespace {

void resize(const float* src, Index src_image, float* dst, Index dst_image, Index c, Index h, Index w,
            Index fy, Index fx, Index begin, Index end) {
  const Index blocks = divide(c, kBlock);
  for (Index item = begin; item < end; ++item) {
    const Index y = item % h;
    const Index block = item / h % blocks;
    const Index image = item / h / blocks;
    const float* const in = src + image * src_image + (block * h + y) * w * kBlock;
    float* const first = dst + image * dst_image + (block * h + y) * fy * w * fx * kBlock;
    float* out = first;
    for (Index x = 0; x < w; ++x) {
      const F32 pixel = load(in + x * kBlock);
      for (Index i = 0; i < fx; ++i, out += kBlock) store(out, pixel);
    }
    const Index row = w * fx * kBlock;
    for (Index i = 1; i < fy; ++i)
      std::memcpy(first + i * row, first, static_cast<std::size_t>(row) * sizeof(float));
  }
}

void to_blocked(const float* src, Index src_image, float* dst, Index dst_image, Index c, Index area,
                Index begin, Index end) {
  const Index blocks = divide(c, kBlock);
  for (Index item = begin; item < end; ++item) {
    const Index block = item % blocks;
    const Index image = item / blocks;
    const float* const in = src + image * src_image + block * kBlock * area;
    float* const out = dst + image * dst_image + block * area * kBlock;
    const Index real = c - block * kBlock < kBlock ? c - block * kBlock : kBlock;
    for (Index i = 0; i < area; i += kBlock) {
      const Index wide = area - i < kBlock ? area - i : kBlock;
      F32 square[kBlock];
      for (Index lane = 0; lane < kBlock; ++lane) {
        const float* const row = in + lane * area + i;
        square[lane] = lane >= real ? splat(0.0f) : wide == kBlock ? load(row) : load_some(row, wide);
      }
      simd::transpose(square);
      for (Index j = 0; j < wide; ++j) store(out + (i + j) * kBlock, square[j]);
    }
  }
}

// dst[j·dst_row + i] = src[i·src_row + j] of the square from row i and column j on.
inline void transpose_square(const float* src, Index src_row, float* dst, Index dst_row, Index rows,
                             Index columns) {
  F32 square[kBlock];
  for (Index i = 0; i < kBlock; ++i) {
    if (i >= rows) {
      square[i] = splat(0.0f);
    } else {
      square[i] = columns == kBlock ? load(src + i * src_row) : load_some(src + i * src_row, columns);
    }
  }
  transpose(square);
  for (Index j = 0; j < columns; ++j) {
    if (rows == kBlock) {
      store(dst + j * dst_row, square[j]);
    } else {
      store_some(dst + j * dst_row, square[j], rows);
    }
  }
}

void transpose(const float* src, Index src_row, float* dst, Index dst_row, Index rows, Index columns) {
  constexpr Index kStrip = 64;  // columns: several lines of each row at once, which processors fetch ahead
  for (Index first = 0; first < columns; first += kStrip) {
    const Index last = columns - first < kStrip ? columns : first + kStrip;
    for (Index i = 0; i < rows; i += kBlock) {
      const Index high = rows - i < kBlock ? rows - i : kBlock;
      for (Index j = first; j < last; j += kBlock) {
        const Index wide = last - j < kBlock ? last - j : kBlock;
        transpose_square(src + i * src_row + j, src_row, dst + j * dst_row + i, dst_row, high, wide);
      }
    }
  }
}

void to_plain(const float* src, Index src_image, float* dst, Index dst_image, Index dst_row, Index c,
              Index area, Index begin, Index end) {
  const Index blocks = divide(c, kBlock);
  for (Index item = begin; item < end; ++item) {
    const Index block = item % blocks;
    const Index image = item / blocks;
    const Index real = c - block * kBlock < kBlock ? c - block * kBlock : kBlock;
    transpose(src + image * src_image + block * area * kBlock, kBlock,
              dst + image * dst_image + block * kBlock * dst_row, dst_row, area, real);
  }
}

void pick_lanes(const float* a, const float* b, const std::int32_t* places, float* dst, Index area) {
  const I32 at = load(places);
  const simd::Mask none = simd::less(at, I32{});
  const I32 from = simd::select(none, I32{}, at);
  for (Index i = 0; i < area * kBlock; i += kBlock)
    store(dst + i, simd::select(none, F32{}, simd::lookup_lanes(load(a + i), load(b + i), from)));
}

void copy_rows(const float* src, Index src_row, float* dst, Index dst_row, Index length, Index begin,
               Index end) {
  for (Index row = begin; row < end; ++row) {
    std::memcpy(dst + row * dst_row, src + row * src_row, static_cast<std::size_t>(length) * sizeof(float));
  }
}

}  // namespace
}  // namespace rdquant::runtime::kernels
