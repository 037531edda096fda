#pragma once

#include <cstdint>

// Functions on them are inlined: how they would be passed does not matter.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace rdquant::codec {
namespace {

using Ints [[gnu::vector_size(64)]] = std::int32_t;
using Floats [[gnu::vector_size(64)]] = float;
using Shorts [[gnu::vector_size(32)]] = std::int16_t;

/// Elements `at` of two vectors, those of b behind those of a.
template <typename Vector>
inline Vector permute(Vector a, Vector b, Ints at) {
  Vector out;
  for (int l = 0; l < 16; ++l) out[l] = at[l] < 16 ? a[at[l]] : b[at[l] - 16];
  return out;
}

}  // namespace
}  // namespace rdquant::codec
