#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

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
  std::remove_cvref_t<decltype(a[0])> from[32], to[16];
  std::int32_t places[16];
  std::memcpy(from, &a, sizeof a);
  std::memcpy(from + 16, &b, sizeof b);
  std::memcpy(places, &at, sizeof at);
  for (int l = 0; l < 16; ++l) to[l] = from[places[l]];
  Vector out;
  std::memcpy(&out, to, sizeof out);
  return out;
}

}  // namespace
}  // namespace rdquant::codec
