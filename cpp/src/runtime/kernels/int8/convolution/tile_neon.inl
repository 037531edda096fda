// Int8 values of a tile whose sums lie in memory, on ARM: fewer instructions than in the notation of all sets, which asks
// for NaN and keeps blocks of two registers in order.
#pragma once

#include "runtime/kernels/int8/convolution/tile_int8.inl"
#include "simd/neon.inl"

namespace rdquant::runtime::kernels {
namespace {

// What levels of N blocks are made of.
template <int N>
simd::Requantizer<N> requantizer(const Int8EpilogueState& state, Index block) {
  const std::int32_t offset = state.range.is_signed ? 128 : 0;
  F32 multipliers[N];
  for (int n = 0; n < N; ++n) multipliers[n] = block_multipliers(state.args->epilogue, block + n);
  return {multipliers, state.range.zero - offset, state.range.low - offset, state.range.high - offset};
}

template <class Body>
[[gnu::always_inline]] inline void with_kind(const Int8Range& range, Body body) {
  using std::false_type, std::true_type;
  const bool clamps = range.low > 0 || range.high < 255;
  if (range.is_signed) {
    clamps ? body(true_type{}, true_type{}) : body(true_type{}, false_type{});
  } else {
    clamps ? body(false_type{}, true_type{}) : body(false_type{}, false_type{});
  }
}

// As store_tile, where state.stays_in_registers. An odd number of blocks takes eight more sums, whatever they are.
template <int P, int N>
[[gnu::always_inline]] inline void store_levels_of(const Int8EpilogueState& state,
                                                   const simd::Requantizer<N>& f, const std::int32_t* sums,
                                                   const TilePlace& at) {
  constexpr int kWide = N * kBlock;  // 8 or 16
  constexpr bool kWhole = P * kWide >= 16;
  constexpr int kSixteens = kWhole ? (P * kWide + 15) / 16 : 0;
  const Index pixel = state.args->dst_pixel;
  const Index left = state.filters - at.block * kBlock;
  std::uint8_t* const dst = static_cast<std::uint8_t*>(state.args->dst) + at.image * state.args->dst_image +
                            at.pixel * pixel + at.block * kBlock;
  with_kind(state.range, [&](auto is_signed, auto clamps) __attribute__((always_inline)) {
    const auto levels = [&](const std::int32_t* p) __attribute__((always_inline)) {
      return f.template sixteen<is_signed, clamps>(p);
    };
    if (kWhole && state.table.table == nullptr && at.skip <= 0 && left >= kWide) {
      for_each<kSixteens>([&](auto i) __attribute__((always_inline)) {
        const simd::Uint8s x = levels(sums + 16 * i);
        if constexpr (N == 2) {
          simd::store_sixteen(dst + i * pixel, x);
        } else if constexpr (2 * i + 1 == P) {
          simd::store_half(dst + 2 * i * pixel, x);
        } else {
          simd::store_halves(dst + 2 * i * pixel, dst + (2 * i + 1) * pixel, x);
        }
      });
      return;
    }
    alignas(64) std::uint8_t bytes[P * kWide + 64];
    if constexpr (P == 1) std::memset(bytes, 0, sizeof bytes);  // read behind them
    if constexpr (!kWhole) {
      alignas(16) std::int32_t padded[16] = {};
      std::memcpy(padded, sums, P * kWide * sizeof(std::int32_t));
      simd::store_sixteen(bytes, levels(padded));
    }
    for_each<kSixteens>([&](auto i) __attribute__((always_inline)) {
      simd::store_sixteen(bytes + 16 * i, levels(sums + 16 * i));
    });
    if (state.table.table != nullptr) lookup(state.table.table, bytes, bytes, 0, P * kWide);
    store_pixels<N>(dst, pixel, at.skip < 0 ? 0 : at.skip, P, left < kWide ? left : kWide, bytes);
  });
}

// Any tile by its sums [P][N][kBlock].
template <int P, int N>
[[gnu::always_inline]] inline void store_tile_of(const Int8EpilogueState& state,
                                                 const simd::Requantizer<N>& levels, const std::int32_t* sums,
                                                 const TilePlace& place) {
  if (state.stays_in_registers) {
    store_levels_of<P>(state, levels, sums, place);
    return;
  }
  I32 loaded[P][N];
  for_each<P>([&](auto p) __attribute__((always_inline)) {
    for_each<N>([&](auto n)
                    __attribute__((always_inline)) { loaded[p][n] = load(sums + (p * N + n) * kBlock); });
  });
  store_tile<P, N>(state, loaded, place);
}

}  // namespace
}  // namespace rdquant::runtime::kernels
