// Levels moved and compared as they are: vectors of N bytes in the compiler's own notation.
#pragma once

#include "runtime/kernels/base.inl"

namespace rdquant::runtime::kernels {
namespace {

template <int N, class T>
struct BytesOf {
  using Type [[gnu::vector_size(N)]] = T;
};
template <int N, class T = std::uint8_t>
using Bytes = typename BytesOf<N, T>::Type;

template <int N, class T = std::uint8_t>
inline Bytes<N, T> load_bytes(const std::uint8_t* p) {
  Bytes<N, T> x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
template <class V>
inline void store_bytes(std::uint8_t* p, V x) {
  std::memcpy(p, &x, sizeof x);
}

// body(integral_constant<int, N>) for the widest vector that c levels fill.
template <class Body>
inline void with_width(Index c, Body body) {
#if defined(__AVX512BW__)
  if (c >= 64) return body(std::integral_constant<int, 64>{});
#endif
#if defined(__AVX2__)
  if (c >= 32) return body(std::integral_constant<int, 32>{});
#endif
  if (c >= 16) return body(std::integral_constant<int, 16>{});
  if (c >= 8) return body(std::integral_constant<int, 8>{});
  if (c >= 4) return body(std::integral_constant<int, 4>{});
  return body(std::integral_constant<int, 1>{});
}

// body(k) for vectors that start at level k and cover c ≥ N levels; the last one may overlap its neighbour.
template <int N, class Body>
[[gnu::always_inline]] inline void for_chunks(Index c, Body body) {
  Index k = 0;
  for (; k + N <= c; k += N) body(k);
  if (k < c) body(c - N);
}

}  // namespace
}  // namespace rdquant::runtime::kernels
