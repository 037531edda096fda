// Depthwise int8 convolution with kernels of any kind: bytes of four taps of each pixel are interleaved.
#pragma once

#include "runtime/kernels/int8/convolution/depthwise/unit.inl"

namespace rdquant::runtime::kernels {
namespace {

#if defined(__AVX2__)

using Int8DepthwiseLine = void (*)(const ConvShape&, const Int8EpilogueState&, const DepthwiseUnit&, Index,
                                   Index);

constexpr Index kMostTaps = 256;

// Where the taps of R rows of the output lie; up to a whole group of four, taps that there are not are zeros.
template <int R>
struct TapRows {
  const std::uint8_t* rows[kMostTaps][R];
  Index masks[kMostTaps][R];  // of the distance from the first column; 0 in the padding
  Index columns[kMostTaps];   // of the first pixel
};

template <int R>
void find_taps(const ConvShape& s, const Int8ConvArgs& args, const DepthwiseUnit& unit, Index y,
               TapRows<R>& taps) {
  const Index count = s.kh * s.kw;
  for (Index tap = 0; tap < divide(count, 4) * 4; ++tap) {
    taps.columns[tap] = tap % s.kw * s.dw - s.left;
    for (Index r = 0; r < R; ++r) {
      const Index row = (y + r) * s.sh - s.top + tap / s.kw * s.dh;
      const bool inside = tap < count && row >= 0 && row < s.h;
      taps.rows[tap][r] = inside ? unit.src + row * s.w * args.src_pixel : unit.zeros;
      taps.masks[tap][r] = inside ? -1 : 0;
    }
  }
}

// Adds the products of four taps, from `tap` on, to the sums of one pixel of each row, whose first column is `x`.
template <int R>
[[gnu::always_inline]] inline void add_taps(const ConvShape& s, const Int8ConvArgs& args,
                                            const DepthwiseUnit& unit, const TapRows<R>& taps, Index tap,
                                            Index x, I32 (&sums)[4]) {
  Packed bytes[4];
  for_each<4>([&](auto i) __attribute__((always_inline)) {
    const Index column = x + taps.columns[tap + i];
    const bool inside = column >= 0 && column < s.w;
    const std::uint8_t* from[R];
    for_each<R>([&](auto r) __attribute__((always_inline)) {
      const Index distance = column * args.src_pixel & taps.masks[tap + i][r];
      from[r] = inside ? taps.rows[tap + i][r] + distance : unit.zeros;
    });
    bytes[i] = simd::load_pieces(from);
    if (args.src_signed) bytes[i] = bytes[i] ^ simd::splat_as<Packed>(128);
  });
  U32 words[4];
  interleave(bytes[0], bytes[1], bytes[2], bytes[3], words);
  for_each<4>([&](auto i) __attribute__((always_inline)) {
    sums[i] = dot(quads(words[i]), load_taps(unit.weights + (tap + i) * kTapBytes), sums[i]);
  });
}

// R rows of the output, from y on, that lie before `end`.
template <int R>
void taps_line(const ConvShape& s, const Int8EpilogueState& state, const DepthwiseUnit& unit, Index y,
               Index end) {
  const Int8ConvArgs& args = *state.args;
  const DepthwiseRows<R> rows = depthwise_rows<R>(s, args, unit, y, end);
  TapRows<R> taps;
  find_taps(s, args, unit, y, taps);
  alignas(64) std::int32_t waiting[kWaiting * kUnit];
  const Index ow = s.ow();
  for (Index x = 0; x < ow; ++x) {
    I32 sums[4];
    for_each<4>([&](auto i) __attribute__((always_inline)) { sums[i] = load(unit.start + i * kBlock); });
    for (Index tap = 0; tap < s.kh * s.kw; tap += 4) add_taps(s, args, unit, taps, tap, x * s.sw, sums);
    store_unit(state, unit, rows, sums, x, ow, waiting);
  }
}

inline Int8DepthwiseLine choose_taps_line(Index rows) {
  if (rows == 1) return taps_line<1>;
  if constexpr (simd::kParts > 2) {
    if (rows == 4) return taps_line<4>;
  }
  return taps_line<2>;
}

#endif

}  // namespace
}  // namespace rdquant::runtime::kernels
