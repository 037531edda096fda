// The vectors that kernels of int8 are written with.
#pragma once

#include "runtime/kernels/vec.inl"
#include "simd/bytes.inl"
#include "simd/dot.inl"

namespace rdquant::runtime::kernels {
namespace {

using simd::I32;
using simd::kSignedQuads;
using simd::kTapBytes;
using simd::Quads;
using simd::Taps;
using simd::U32;

using simd::broadcast;
using simd::load_bytes;
using simd::load_some_bytes;
using simd::load_some_words;
using simd::load_taps;
using simd::load_words;
using simd::lookup_bytes;
using simd::store_bytes;
using simd::store_some_bytes;
using simd::store_some_words;
using simd::store_words;
using simd::tap_place;

// Whether fours of bytes are spread over lanes in fewer instructions than they are broadcast one by one.
constexpr bool kSpreads = simd::kRegister >= 32;

// Four bytes for each lane, those at its places of the sixteen from p on.
template <bool Signed>
[[gnu::always_inline]] inline Quads spread([[maybe_unused]] const std::uint8_t* p,
                                           [[maybe_unused]] simd::Bytes places) {
  if constexpr (kSpreads) {
    const auto all = simd::bits_as<U32>(pick(simd::load_part_everywhere(p), places));
    return simd::quads(Signed != kSignedQuads ? all ^ simd::splat_as<U32>(0x80808080u) : all);
  } else {
    return broadcast<Signed>(p);
  }
}

// body(integral_constant<int, N>) for the widest vector of bytes that c of them fill.
template <class Body>
inline void with_width(Index c, Body body) {
  if constexpr (simd::kRegister >= 64) {
    if (c >= 64) return body(std::integral_constant<int, 64>{});
  }
  if constexpr (simd::kRegister >= 32) {
    if (c >= 32) return body(std::integral_constant<int, 32>{});
  }
  if (c >= 16) return body(std::integral_constant<int, 16>{});
  if (c >= 8) return body(std::integral_constant<int, 8>{});
  if (c >= 4) return body(std::integral_constant<int, 4>{});
  return body(std::integral_constant<int, 1>{});
}

// body(k) for vectors that start at byte k and cover c ≥ N bytes; the last one may overlap its neighbour.
template <int N, class Body>
[[gnu::always_inline]] inline void for_chunks(Index c, Body body) {
  Index k = 0;
  for (; k + N <= c; k += N) body(k);
  if (k < c) body(c - N);
}

}  // namespace
}  // namespace rdquant::runtime::kernels
