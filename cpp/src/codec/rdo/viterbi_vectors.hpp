#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "codec/rdo/viterbi.hpp"
#include "simd/floats.inl"

namespace rdquant::codec {
namespace {

/// Sixteen numbers of 32 bits.
using Ints = simd::Vector<std::int32_t, kWide>;
using Floats = simd::Vector<float, kWide>;

using simd::select;

inline Ints splat(std::int32_t a) { return simd::splat_as<Ints>(a); }
inline Floats splat(float a) { return simd::splat_as<Floats>(a); }
inline Floats to_floats(Ints a) { return simd::convert<float>(a); }
/// Towards 0.
inline Ints to_ints(Floats a) { return simd::convert<std::int32_t>(a); }

template <typename V, typename T>
inline V load(const T* from) {
  return simd::load_as<V>(from);
}
/// Writes the low halves of all lanes.
inline void store_shorts(std::int16_t* to, Ints a) { simd::store_as(to, simd::convert<std::int16_t>(a)); }

/// Elements `at` of two vectors, those of b behind those of a.
template <typename V>
inline V permute(V a, V b, Ints at) {
  using T = simd::Element<V>;
  T from[2 * kWide], to[kWide];
  std::int32_t places[kWide];
  std::memcpy(from, &a, sizeof a);
  std::memcpy(from + kWide, &b, sizeof b);
  std::memcpy(places, &at, sizeof at);
  for (std::size_t l = 0; l < kWide; ++l) to[l] = from[places[l]];
  return load<V>(to);
}

}  // namespace
}  // namespace rdquant::codec
