// What every file of loops starts with. Everything is in unnamed namespaces: code built for one instruction
// set must not be linked into another. For that reason, too, nothing here throws, and what other files share
// (inline functions, templates of the standard library) is not called.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "runtime/kernels/float32/kernels.hpp"

namespace rdquant::runtime::kernels {
namespace {

// body(integral_constant<int, 0>) … body(integral_constant<int, N - 1>), written out.
template <class Body, int... I>
[[gnu::always_inline]] inline void for_each(Body& body, std::integer_sequence<int, I...>) {
  (body(std::integral_constant<int, I>{}), ...);
}
template <int N, class Body>
[[gnu::always_inline]] inline void for_each(Body body) {
  for_each(body, std::make_integer_sequence<int, N>{});
}

struct Span {
  Index begin, end;
};

// Which of `k` taps, `d` apart from `start` on, lie in [0, size).
inline Span taps_inside(Index start, Index k, Index d, Index size) {
  const Index begin = start < 0 ? divide(-start, d) : 0;
  const Index room = start < size ? divide(size - start, d) : 0;
  const Index end = room < k ? room : k;
  return {begin, end > begin ? end : begin};
}

}  // namespace
}  // namespace rdquant::runtime::kernels
