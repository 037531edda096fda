// Depthwise int8 convolution on ARM with kernels of 3 × 3 and 5 × 5 that are not dilated. Bytes of four rows of a
// column, 16 channels of each, are interleaved and kept for all windows that meet them, so that a product takes four
// taps (with dot products) or two of each channel.
//
// Packed: sums of weights, [unit][16] int32; then int8 values, [unit][four rows][kw][64], in the columns' order.
#pragma once

#include "runtime/kernels/int8/convolution/tile_neon.inl"

namespace rdquant::runtime::kernels {
namespace {

constexpr Index kUnitChannels = 16;
constexpr Index kColumnBytes = 4 * kUnitChannels;  // of four rows
constexpr Index kSegment = 32;                     // pixels of a row whose columns are kept

inline bool in_columns(const ConvShape& s) {
  return (s.kw == 3 || s.kw == 5) && s.kh == s.kw && (s.sw == 1 || s.sw == 2) && s.dw == 1 && s.dh == 1;
}
inline Index column_units(const ConvShape& s) { return divide(s.c, kUnitChannels); }
inline Index column_weights(const ConvShape& s) { return divide(s.kh, 4) * s.kw * kColumnBytes; }

// One row of outputs of one unit.
struct ColumnRow {
  const std::uint8_t* rows[5];  // of the image, at its first column; or a pixel of the padding
  Index masks[5];               // of the distance from there; 0 in the padding
  const std::int8_t* weights;
  alignas(16) std::int32_t start[kUnitChannels];
  std::int8_t zero, flip;  // of the source; what makes its bytes int8
};

// The columns from `first` on; those outside the image are padding.
template <int K>
void make_columns(const ConvShape& s, const Int8ConvArgs& args, const ColumnRow& row, Index first,
                  Index count, std::int8_t* to) {
  constexpr int kFours = (K + 3) / 4;
  const simd::Int8s zero = simd::splat_int8(row.zero), flip = simd::splat_int8(row.flip);
  const auto padding = [&](Index n) {
    for (Index i = 0; i < n * kFours * 4; ++i, to += 16) simd::store_int8(to, zero);
  };
  const Index before = first < 0 ? (-first < count ? -first : count) : 0;
  const Index end = s.w - first < count ? (s.w - first > before ? s.w - first : before) : count;
  padding(before);
  Index at = (first + before) * args.src_pixel;
  for (Index i = before; i < end; ++i, at += args.src_pixel, to += kFours * kColumnBytes) {
    simd::Int8s x[4 * kFours];
    for_each<4 * kFours>([&](auto r) __attribute__((always_inline)) {
      if constexpr (r < K) {
        x[r] = simd::load_flipped(row.rows[r] + (at & row.masks[r]), flip);
      } else {
        x[r] = zero;  // meets weights of 0
      }
    });
    for_each<kFours>([&](auto f) __attribute__((always_inline)) {
      simd::store_column(to + f * kColumnBytes, x[4 * f], x[4 * f + 1], x[4 * f + 2], x[4 * f + 3]);
    });
  }
  padding(count - end);
}

// Sums [4][N][8] of four pixels from columns on.
template <int K, int S, int N>
[[gnu::always_inline]] inline void sum_columns(const ColumnRow& row, const std::int8_t* columns,
                                               std::int32_t* sums) {
  constexpr int kFours = (K + 3) / 4;
  simd::Sums all[4][2 * N];
  for_each<4>([&](auto p) __attribute__((always_inline)) {
    for_each<2 * N>([&](auto i)
                        __attribute__((always_inline)) { all[p][i] = simd::load_sums(row.start + 4 * i); });
  });
  for_each<kFours>([&](auto four) __attribute__((always_inline)) {
    for_each<K>([&](auto kx) __attribute__((always_inline)) {
      simd::Int8s w[4];
      for_each<4>([&](auto i) __attribute__((always_inline)) {
        w[i] = simd::load_int8(row.weights + ((four * K + kx) * 4 + i) * 16);
      });
      for_each<4>([&](auto p) __attribute__((always_inline)) {
        simd::add_column<N>(columns + ((p * S + kx) * kFours + four) * kColumnBytes, w, all[p]);
      });
    });
  });
  for_each<4>([&](auto p) __attribute__((always_inline)) {
    for_each<2 * N>([&](auto i) __attribute__((always_inline)) {
      simd::store_sums(sums + (p * 2 * N + i) * 4, all[p][i]);
    });
  });
}

template <int K, int S, int N>
void run_columns_row(const ConvShape& s, const Int8EpilogueState& state, const ColumnRow& row,
                     const TilePlace& first) {
  constexpr int kFours = (K + 3) / 4;
  constexpr Index kMost = (kSegment + 3) * S + K;  // the last four pixels may reach past the row
  alignas(64) std::int8_t columns[kMost * kFours * kColumnBytes];
  alignas(64) std::int32_t sums[4 * N * kBlock];
  const simd::Requantizer<N> levels = requantizer<N>(state, first.block);
  const Index ow = s.ow();
  for (Index begin = 0; begin < ow; begin += kSegment) {
    const Index pixels = ow - begin < kSegment ? ow - begin : kSegment;
    const Index fours = divide(pixels, 4);
    make_columns<K>(s, *state.args, row, begin * S - s.left, (4 * fours - 1) * S + K, columns);
    for (Index x = 0; x < pixels; x += 4) {
      // The last four overlap those before them, or are stored one by one.
      const Index from = x + 4 <= pixels || pixels < 4 ? x : pixels - 4;
      sum_columns<K, S, N>(row, columns + from * S * kFours * kColumnBytes, sums);
      TilePlace place = {first.image, first.pixel + begin + from, x - from, first.block};
      if (pixels >= 4) {
        store_tile_of<4, N>(state, levels, sums, place);
        continue;
      }
      for (Index p = 0; p < pixels; ++p, ++place.pixel)
        store_tile_of<1, N>(state, levels, sums + p * N * kBlock, place);
    }
  }
}

using ColumnsRow = void (*)(const ConvShape&, const Int8EpilogueState&, const ColumnRow&, const TilePlace&);

template <int K, int S>
ColumnsRow columns_row(Index blocks) {
  return blocks == 1 ? run_columns_row<K, S, 1> : run_columns_row<K, S, 2>;
}
inline ColumnsRow columns_row(const ConvShape& s, Index blocks) {
  if (s.kw == 3) return s.sw == 1 ? columns_row<3, 1>(blocks) : columns_row<3, 2>(blocks);
  return s.sw == 1 ? columns_row<5, 1>(blocks) : columns_row<5, 2>(blocks);
}

// Items: image, row, unit.
void run_columns(const Int8Plan& plan, const Int8ConvArgs& args, Index begin, Index end) {
  const ConvShape& s = plan.shape;
  const Int8EpilogueState state = make_int8_epilogue(s, args);
  const Index units = column_units(s);
  const Index oh = s.oh();
  alignas(16) std::uint8_t zeros[kUnitChannels];
  std::memset(zeros, static_cast<std::uint8_t>(args.src_zero), sizeof zeros);
  const auto* const sums = reinterpret_cast<const std::int32_t*>(args.weights);
  const auto* const weights = reinterpret_cast<const std::int8_t*>(sums + units * kUnitChannels);
  ColumnRow row = {};
  row.flip = static_cast<std::int8_t>(args.src_signed ? 0 : -128);
  row.zero = static_cast<std::int8_t>(static_cast<std::uint8_t>(args.src_zero) ^
                                      static_cast<std::uint8_t>(row.flip));
  for (Index item = begin; item < end; ++item) {
    const Index unit = item % units;
    const Index y = item / units % oh;
    const Index image = item / units / oh;
    const Index block = unit * kUnitChannels / kBlock;
    const Index blocks = divide(s.c - unit * kUnitChannels, kBlock) == 1 ? 1 : 2;
    const std::uint8_t* const src = args.src + image * args.src_image + unit * kUnitChannels;
    for (Index i = 0; i < s.kh; ++i) {
      const Index at = y * s.sh - s.top + i;
      const bool inside = at >= 0 && at < s.h;
      row.rows[i] = inside ? src + at * s.w * args.src_pixel : zeros;
      row.masks[i] = inside ? -1 : 0;
    }
    row.weights = weights + unit * column_weights(s);
    for (Index b = 0; b < blocks; ++b) {
      const I32 bias = args.bias == nullptr ? splat(0) : load(args.bias + (block + b) * kBlock);
      store(row.start + b * kBlock,
            bias - load(sums + (block + b) * kBlock) * splat(static_cast<std::int32_t>(row.zero)));
    }
    columns_row(s, blocks)(s, state, row, {image, y * s.ow(), 0, block});
  }
}

void pack_columns(const ConvShape& s, const std::int8_t* weights, std::byte* packed, Index begin, Index end) {
  auto* const sums = reinterpret_cast<std::int32_t*>(packed);
  auto* const levels = reinterpret_cast<std::int8_t*>(sums + column_units(s) * kUnitChannels);
  for (Index unit = begin; unit < end; ++unit) {
    std::int8_t* const out = levels + unit * column_weights(s);
    std::memset(out, 0, static_cast<std::size_t>(column_weights(s)));
    for (Index i = 0; i < kUnitChannels; ++i) {
      const Index channel = unit * kUnitChannels + i;
      std::int32_t sum = 0;
      for (Index tap = 0; channel < s.c && tap < s.kh * s.kw; ++tap) {
        const std::int8_t w = weights[channel * s.kh * s.kw + tap];
        const Index ky = tap / s.kw;
        out[(ky / 4 * s.kw + tap % s.kw) * kColumnBytes + simd::column_place(i, ky % 4)] = w;
        sum += w;
      }
      sums[channel] = sum;
    }
  }
}

}  // namespace
}  // namespace rdquant::runtime::kernels
