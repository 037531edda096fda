// Where the least or greatest number of a row or column stands.
#pragma once

#include "runtime/kernels/float32/reduce/rows.inl"

namespace rdquant::runtime::kernels {
namespace {

/// Which of n ≤ kBlock floats are `value`, one bit each; where `value` is NaN, which are NaN.
[[gnu::always_inline]] inline std::uint32_t places_of(F32 x, F32 value, Index n) {
  const auto equal = x == value, both = ~((x == x) | (value == value));
  const simd::Mask found = simd::not_zero(equal | both);
  return simd::bits(found & simd::mask_of_first(static_cast<std::size_t>(n)));
}

/// The first of n floats that is `value`, which one is.
inline Index first_place(const float* x, Index n, F32 value) {
  for (Index i = 0; i < n; i += kBlock) {
    const Index count = n - i < kBlock ? n - i : kBlock;
    const F32 some = count == kBlock ? load(x + i) : load_some(x + i, count);
    if (const std::uint32_t bits = places_of(some, value, count)) return i + __builtin_ctz(bits);
  }
  return 0;
}

inline Index last_place(const float* x, Index n, F32 value) {
  for (Index i = (n - 1) / kBlock * kBlock; i >= 0; i -= kBlock) {
    const Index count = n - i < kBlock ? n - i : kBlock;
    const F32 some = count == kBlock ? load(x + i) : load_some(x + i, count);
    if (const std::uint32_t bits = places_of(some, value, count)) return i + 31 - __builtin_clz(bits);
  }
  return 0;
}

void arg_rows(const ArgArgs& args, const float* src, std::int64_t* dst, Index begin, Index end) {
  each_group(begin, end, [&](Index first, int count) {
    const float* const x = src + first * args.length;
    float most[kBlock];
    store(most, args.largest ? group<Term::max>(x, args.length, count, nullptr)
                             : group<Term::min>(x, args.length, count, nullptr));
    for (int i = 0; i < count; ++i) {
      const float* const row = x + i * args.length;
      dst[first + i] = args.last ? last_place(row, args.length, splat(most[i]))
                                 : first_place(row, args.length, splat(most[i]));
    }
  });
}

template <bool kLargest, bool kLast>
inline void arg_strip(const ArgArgs& args, const float* x, Index stride, Index count, std::int64_t* y) {
  const auto at = [&](Index i) {
    return count == kBlock ? load(x + i * stride) : load_some(x + i * stride, count);
  };
  F32 best = at(0);
  I32 place = {};
  for (Index i = 1; i < args.length; ++i) {
    const F32 v = at(i);
    const auto number = best == best, none = ~(v == v);
    const auto beyond = kLargest ? v > best : v < best;
    const auto takes = kLast ? none | (number & (beyond | (v == best))) : number & (none | beyond);
    best = simd::select(takes, v, best);
    place = simd::select(takes, simd::splat_as<I32>(static_cast<std::int32_t>(i)), place);
  }
  std::int32_t places[kBlock];
  simd::store_as(places, place);
  for (Index lane = 0; lane < count; ++lane) y[lane] = places[lane];
}

void arg_columns(const ArgArgs& args, const float* src, std::int64_t* dst, Index stride, Index begin,
                 Index end) {
  for (Index i = begin; i < end; i += kBlock) {
    const Index count = end - i < kBlock ? end - i : kBlock;
    const auto strip = args.largest ? (args.last ? arg_strip<true, true> : arg_strip<true, false>)
                                    : (args.last ? arg_strip<false, true> : arg_strip<false, false>);
    strip(args, src + i, stride, count, dst + i);
  }
}

}  // namespace
}  // namespace rdquant::runtime::kernels
