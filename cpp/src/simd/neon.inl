// ARM: what kernels of int8 do with registers of 16 bytes and of four sums: levels made of sums, columns of interleaved
// rows multiplied.
#pragma once

#if defined(__ARM_NEON)

#include "simd/bytes.inl"

namespace rdquant::simd {
namespace {

using Int8s = int8x16_t;
using Uint8s = uint8x16_t;
using Sums = int32x4_t;

[[gnu::always_inline]] inline Int8s splat_int8(std::int8_t x) { return vdupq_n_s8(x); }
[[gnu::always_inline]] inline Int8s load_int8(const std::int8_t* p) { return vld1q_s8(p); }
[[gnu::always_inline]] inline void store_int8(std::int8_t* p, Int8s x) { vst1q_s8(p, x); }
[[gnu::always_inline]] inline Int8s load_flipped(const std::uint8_t* p, Int8s flip) {
  return veorq_s8(vreinterpretq_s8_u8(vld1q_u8(p)), flip);
}
[[gnu::always_inline]] inline Sums load_sums(const std::int32_t* p) { return vld1q_s32(p); }
[[gnu::always_inline]] inline void store_sums(std::int32_t* p, Sums x) { vst1q_s32(p, x); }
[[gnu::always_inline]] inline void store_sixteen(std::uint8_t* p, Uint8s x) { vst1q_u8(p, x); }
/// The first eight bytes.
[[gnu::always_inline]] inline void store_half(std::uint8_t* p, Uint8s x) { vst1_u8(p, vget_low_u8(x)); }
/// Eight bytes each.
[[gnu::always_inline]] inline void store_halves(std::uint8_t* low, std::uint8_t* high, Uint8s x) {
  vst1_u8(low, vget_low_u8(x));
  vst1q_lane_u64(reinterpret_cast<std::uint64_t*>(high), vreinterpretq_u64_u8(x), 1);
}

/// What levels of N times eight sums are made of: q = clamp(round(sum · multiplier) + zero, low, high), where products
/// are below 2^31; the bounds are those of int8 or uint8.
template <int N>
struct Requantizer {
  Requantizer(const F32 (&m)[N], std::int32_t the_zero, std::int32_t the_low, std::int32_t the_high)
      : zero(vdupq_n_s16(static_cast<std::int16_t>(the_zero))),
        low(vdupq_n_u8(static_cast<std::uint8_t>(the_low))),
        high(vdupq_n_u8(static_cast<std::uint8_t>(the_high))) {
    for (int n = 0; n < N; ++n) {
      multipliers[2 * n] = m[n].low.v;
      multipliers[2 * n + 1] = m[n].high.v;
    }
  }
  [[gnu::always_inline]] static Sums nearest(const std::int32_t* sums, float32x4_t m) {
    return vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(vld1q_s32(sums)), m));
  }
  /// Of sums from the first multiplier's on.
  template <bool Signed, bool Clamps>
  [[nodiscard, gnu::always_inline]] Uint8s sixteen(const std::int32_t* sums) const {
    constexpr int kOther = N == 1 ? 0 : 2;
    const auto eight = [&](const std::int32_t* p, int m) __attribute__((always_inline)) {
      const int16x4_t first = vqmovn_s32(nearest(p, multipliers[m]));
      return vqaddq_s16(vqmovn_high_s32(first, nearest(p + 4, multipliers[m + 1])), zero);
    };
    const int16x8_t a = eight(sums, 0), b = eight(sums + 8, kOther);
    if constexpr (Signed) {
      int8x16_t x = vqmovn_high_s16(vqmovn_s16(a), b);
      if constexpr (Clamps) x = vminq_s8(vmaxq_s8(x, vreinterpretq_s8_u8(low)), vreinterpretq_s8_u8(high));
      return vreinterpretq_u8_s8(x);
    } else {
      uint8x16_t x = vqmovun_high_s16(vqmovun_s16(a), b);
      if constexpr (Clamps) x = vminq_u8(vmaxq_u8(x, low), high);
      return x;
    }
  }
  float32x4_t multipliers[2 * N];
  int16x8_t zero;
  uint8x16_t low, high;
};

/// A *column* is 64 bytes: 16 channels of four rows, in the order that multiplying takes. Where channel `channel` of row
/// `row` lies in it:
inline std::ptrdiff_t column_place(std::ptrdiff_t channel, std::ptrdiff_t row) {
#if defined(__ARM_FEATURE_DOTPROD)
  return channel * 4 + row;
#else
  return row / 2 * 32 + channel * 2 + row % 2;
#endif
}
[[gnu::always_inline]] inline void store_column(std::int8_t* to, Int8s a, Int8s b, Int8s c, Int8s d) {
#if defined(__ARM_FEATURE_DOTPROD)
  const auto pairs = [](Int8s x) __attribute__((always_inline)) { return vreinterpretq_s16_s8(x); };
  const int16x8_t ab = pairs(vzip1q_s8(a, b)), cd = pairs(vzip1q_s8(c, d));
  const int16x8_t ab2 = pairs(vzip2q_s8(a, b)), cd2 = pairs(vzip2q_s8(c, d));
  vst1q_s8(to, vreinterpretq_s8_s16(vzip1q_s16(ab, cd)));
  vst1q_s8(to + 16, vreinterpretq_s8_s16(vzip2q_s16(ab, cd)));
  vst1q_s8(to + 32, vreinterpretq_s8_s16(vzip1q_s16(ab2, cd2)));
  vst1q_s8(to + 48, vreinterpretq_s8_s16(vzip2q_s16(ab2, cd2)));
#else
  vst1q_s8(to, vzip1q_s8(a, b));
  vst1q_s8(to + 16, vzip2q_s8(a, b));
  vst1q_s8(to + 32, vzip1q_s8(c, d));
  vst1q_s8(to + 48, vzip2q_s8(c, d));
#endif
}
/// Products of a column with its weights, added to the sums of 8·N channels.
template <int N>
[[gnu::always_inline]] inline void add_column(const std::int8_t* column, const Int8s (&w)[4],
                                              Sums (&sums)[2 * N]) {
#if defined(__ARM_FEATURE_DOTPROD)
  for (int i = 0; i < 2 * N; ++i) sums[i] = vdotq_s32(sums[i], vld1q_s8(column + 16 * i), w[i]);
#else
  for (int pair = 0; pair < 2; ++pair) {
    for (int i = 0; i < N; ++i) {
      const int at = 2 * pair + i;
      const int8x16_t x = vld1q_s8(column + 16 * at);
      sums[2 * i] = vpadalq_s16(sums[2 * i], vmull_s8(vget_low_s8(x), vget_low_s8(w[at])));
      sums[2 * i + 1] = vpadalq_s16(sums[2 * i + 1], vmull_high_s8(x, w[at]));
    }
  }
#endif
}

}  // namespace
}  // namespace rdquant::simd

#endif
