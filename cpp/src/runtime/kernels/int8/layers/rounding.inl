// Floats to int8 values, and how many of these fill a vector.
#pragma once

#include "runtime/kernels/int8/vectors.inl"

namespace rdquant::runtime::kernels {
namespace {

constexpr Index kWords = kBlock;                // of an I32
constexpr Index kWordBytes = simd::kWordBytes;  // and their int8 values

// The first n bytes of 16 of each of `count` pixels, `pixel` bytes apart.
inline void store_sixteen(std::uint8_t* p, Index pixel, Index n, Index count, const I32 (&x)[4]) {
  if (pixel == 16 && n == 16 && count == kBlock) {
    std::memcpy(p, x, sizeof x);
    return;
  }
  std::uint8_t all[sizeof x];
  std::memcpy(all, x, sizeof x);
  const auto store_first = [&](auto bytes) {
    for (Index i = 0; i < count; ++i)
      std::memcpy(p + i * pixel, all + i * 16, static_cast<std::size_t>(bytes));
  };
  if (n == 16) return store_first(std::integral_constant<Index, 16>{});
  if (n == 8) return store_first(std::integral_constant<Index, 8>{});
  store_first(n);
}

// Floats, in units of the scale, to int8 values: clamp(round(x) + zero, low, high); low where x is NaN.
struct Rounding {
  F32 low, high;
  I32 zero;
};
inline Rounding rounding(std::int32_t zero, std::int32_t low, std::int32_t high) {
  return {splat(static_cast<float>(low - zero)), splat(static_cast<float>(high - zero)), splat(zero)};
}
inline I32 to_int8(const Rounding& r, F32 x) { return nearest(min(max(x, r.low), r.high)) + r.zero; }

}  // namespace
}  // namespace rdquant::runtime::kernels
