// Rows of windows over images of int8 values.
#pragma once

#include "runtime/kernels/int8/kernels.hpp"
#include "runtime/kernels/int8/vectors.inl"

namespace rdquant::runtime::kernels {
namespace {

using PoolArgs = Int8Kernels::PoolArgs;

// One row of windows.
struct PoolRow {
  const std::uint8_t* src;  // the image
  std::uint8_t* dst;        // the row
  Index top;
  Span rows;     // taps inside the image
  Index padded;  // and inside its padding
};

inline Span columns_of(const PoolShape& s, Index left) {
  if (left >= 0 && left + (s.kw - 1) * s.dw < s.w) return {0, s.kw};
  return taps_inside(left, s.kw, s.dw, s.w);
}

template <class Body>
inline void for_rows(const PoolShape& s, const PoolArgs& args, Index begin, Index end, Body body) {
  for (Index item = begin; item < end; ++item) {
    const Index y = item % s.oh;
    const Index top = y * s.sh - s.top;
    const Span padded = taps_inside(top + s.top, s.kh, s.dh, s.h + s.top + s.bottom);
    body(PoolRow{args.src + item / s.oh * args.src_image,
                 args.dst + item / s.oh * args.dst_image + y * s.ow * args.dst_pixel, top,
                 taps_inside(top, s.kh, s.dh, s.h), padded.end - padded.begin});
  }
}

}  // namespace
}  // namespace rdquant::runtime::kernels
