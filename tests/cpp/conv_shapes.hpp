#pragma once

#include <string>

#include "runtime/kernels/float32/kernels.hpp"

/// Shapes that convolutions of floats and of levels are tested on.
namespace reference {

using rdquant::runtime::kernels::ConvShape;
using rdquant::runtime::kernels::Index;

inline ConvShape square(Index c, Index size, Index k, Index kernel, Index stride, Index pad,
                        Index groups = 1) {
  ConvShape s;
  s.c = c;
  s.h = s.w = size;
  s.k = k;
  s.kh = s.kw = kernel;
  s.sh = s.sw = stride;
  s.top = s.left = s.bottom = s.right = pad;
  s.groups = groups;
  return s;
}

// Everything unequal: two images, sizes, pads, strides, dilations.
inline ConvShape crooked(Index c, Index k, Index groups) {
  ConvShape s = square(c, 11, k, 3, 1, 0, groups);
  s.n = 2;
  s.w = 17;
  s.kh = 4;
  s.sh = 3;
  s.sw = 2;
  s.dh = 2;
  s.dw = 3;
  s.top = 5;
  s.left = 1;
  s.right = 9;
  return s;
}

inline std::string describe(const ConvShape& s) {
  std::string text;
  for (const Index i : {s.n, s.c, s.h, s.w, s.k, s.kh, s.kw, s.sh, s.sw, s.dh, s.dw, s.top, s.left, s.bottom,
                        s.right, s.groups}) {
    text += std::to_string(i) + " ";
  }
  return text;
}

}  // namespace reference
