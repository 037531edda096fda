// Int8 values of a tile whose sums lie in memory, on ARM: four instructions less for each four sums than in the notation
// of `simd`, which asks for NaN and keeps blocks of two registers in order.
#pragma once

#include "runtime/kernels/int8/convolution/tile_int8.inl"

namespace rdquant::runtime::kernels {
namespace {

// What levels of N blocks are made of; `zero`, `low` and `high` as their type has them.
template <int N>
struct NeonLevels {
  NeonLevels(const Int8EpilogueState& state, Index block) {
    const Int8Range& r = state.range;
    const std::int32_t offset = r.is_signed ? 128 : 0;
    for (int n = 0; n < N; ++n) {
      const F32 m = block_multipliers(state.args->epilogue, block + n);
      multipliers[2 * n] = m.low.v;
      multipliers[2 * n + 1] = m.high.v;
    }
    zero = vdupq_n_s16(static_cast<std::int16_t>(r.zero - offset));
    low = vdupq_n_u8(static_cast<std::uint8_t>(r.low - offset));
    high = vdupq_n_u8(static_cast<std::uint8_t>(r.high - offset));
    clamps = r.low > 0 || r.high < 255;
  }
  float32x4_t multipliers[2 * N];
  int16x8_t zero;
  uint8x16_t low, high;
  bool clamps;
};

[[gnu::always_inline]] inline int32x4_t nearest_of(const std::int32_t* sums, float32x4_t multipliers) {
  return vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(vld1q_s32(sums)), multipliers));
}

// Sixteen levels, int8 where Signed.
template <bool Signed, bool Clamps, int N>
[[gnu::always_inline]] inline uint8x16_t sixteen(const NeonLevels<N>& f, const std::int32_t* sums) {
  constexpr int kOther = N == 1 ? 0 : 2;
  const int16x8_t a = vqaddq_s16(
      vqmovn_high_s32(vqmovn_s32(nearest_of(sums, f.multipliers[0])), nearest_of(sums + 4, f.multipliers[1])),
      f.zero);
  const int16x8_t b = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(nearest_of(sums + 8, f.multipliers[kOther])),
                                                 nearest_of(sums + 12, f.multipliers[kOther + 1])),
                                 f.zero);
  if constexpr (Signed) {
    int8x16_t x = vqmovn_high_s16(vqmovn_s16(a), b);
    if constexpr (Clamps) x = vminq_s8(vmaxq_s8(x, vreinterpretq_s8_u8(f.low)), vreinterpretq_s8_u8(f.high));
    return vreinterpretq_u8_s8(x);
  } else {
    uint8x16_t x = vqmovun_high_s16(vqmovun_s16(a), b);
    if constexpr (Clamps) x = vminq_u8(vmaxq_u8(x, f.low), f.high);
    return x;
  }
}

template <int N, class Body>
[[gnu::always_inline]] inline void with_kind(const Int8EpilogueState& state, const NeonLevels<N>& f,
                                             Body body) {
  using std::false_type, std::true_type;
  if (state.range.is_signed) {
    f.clamps ? body(true_type{}, true_type{}) : body(true_type{}, false_type{});
  } else {
    f.clamps ? body(false_type{}, true_type{}) : body(false_type{}, false_type{});
  }
}

// As store_tile, where state.stays_in_registers.
template <int P, int N>
[[gnu::always_inline]] inline void store_sums(const Int8EpilogueState& state, const NeonLevels<N>& f,
                                              const std::int32_t* sums, const TilePlace& at) {
  constexpr int kWide = N * kBlock;  // 8 or 16
  const Index pixel = state.args->dst_pixel;
  const Index left = state.filters - at.block * kBlock;
  std::uint8_t* const dst = static_cast<std::uint8_t*>(state.args->dst) + at.image * state.args->dst_image +
                            at.pixel * pixel + at.block * kBlock;
  with_kind(state, f, [&](auto is_signed, auto clamps) __attribute__((always_inline)) {
    const auto levels = [&](int i) __attribute__((always_inline)) {
      return sixteen<is_signed, clamps>(f, sums + 16 * i);
    };
    if (P * kWide % 16 == 0 && state.table.table == nullptr && at.skip <= 0 && left >= kWide) {
      for_each<P * kWide / 16>([&](auto i) __attribute__((always_inline)) {
        const uint8x16_t x = levels(i);
        if constexpr (N == 2) {
          vst1q_u8(dst + i * pixel, x);
        } else {
          vst1_u8(dst + 2 * i * pixel, vget_low_u8(x));
          vst1q_lane_u64(reinterpret_cast<std::uint64_t*>(dst + (2 * i + 1) * pixel), vreinterpretq_u64_u8(x),
                         1);
        }
      });
      return;
    }
    alignas(64) std::uint8_t bytes[P * kWide + 64];
    if constexpr (P == 1) std::memset(bytes, 0, sizeof bytes);  // read behind them
    if constexpr (P * kWide < 16) {
      alignas(16) std::int32_t padded[16] = {};
      std::memcpy(padded, sums, P * kWide * sizeof(std::int32_t));
      vst1q_u8(bytes, sixteen<is_signed, clamps>(f, padded));
    }
    for_each<P * kWide / 16>([&](auto i)
                                 __attribute__((always_inline)) { vst1q_u8(bytes + 16 * i, levels(i)); });
    if (state.table.table != nullptr) lookup(state.table.table, bytes, bytes, 0, P * kWide);
    store_pixels<N>(dst, pixel, at.skip < 0 ? 0 : at.skip, P, left < kWide ? left : kWide, bytes);
  });
}

// Any tile by its sums.
template <int P, int N>
[[gnu::always_inline]] inline void store_sums_or_tile(const Int8EpilogueState& state,
                                                      const NeonLevels<N>& levels, const std::int32_t* sums,
                                                      const TilePlace& place) {
  if (state.stays_in_registers) {
    store_sums<P>(state, levels, sums, place);
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
