// Depthwise int8 convolution with wide kernels. Four rows of the kernel after four, the columns they meet are
// interleaved once and kept in the first cache; each of them meets all the kernel's columns, in registers for some
// pixels at once. Taps that only meet padding are not run: what they add is taken from the weights once for each row.
#pragma once

#include "runtime/kernels/int8/convolution/depthwise/columns.inl"
#include "runtime/kernels/int8/convolution/depthwise/taps.inl"

namespace rdquant::runtime::kernels {
namespace {

#if defined(__AVX2__)

constexpr Index kMostColumns = 96;  // that are kept
constexpr Index kMostWidth = 32;    // of kernels
constexpr int kWidePixels = simd::kRegister >= 64 ? 8 : 4;

// Pixels of a row of outputs whose columns are kept at once.
inline Index wide_segment(const ConvShape& s) {
  const Index room = kMostColumns - (s.kw - 1) * s.dw;
  return room < 1 ? 0 : ((room - 1) / s.sw + 1) / kWidePixels * kWidePixels;
}

// Kernels of fewer rows would fill less than half of the groups of four.
inline bool is_wide(const ConvShape& s) {
  return s.kh >= 3 && s.kw >= 3 && s.kw <= kMostWidth && s.sw <= 2 && wide_segment(s) >= 2 * kWidePixels;
}

// Four rows of the kernel on a segment of rows of the output.
template <int R>
struct WideRows {
  DepthwiseLine<4, R> line;
  const std::int8_t* weights;
  Quads columns[kMostColumns * 4];
  I32 padding[kMostWidth + 1][4];  // what the first taps add where they only meet padding
};

inline Quads zero_quads(const DepthwiseUnit& unit) {
  return quads(simd::bits_as<U32>(simd::splat_as<Packed>(unit.zero)));
}

template <int R>
void fill_padding(const ConvShape& s, const DepthwiseUnit& unit, WideRows<R>& four) {
  const Quads zero = zero_quads(unit);
  for_each<4>([&](auto i) __attribute__((always_inline)) {
    I32 sum = splat(0);
    four.padding[0][i] = sum;
    for (Index kx = 0; kx < s.kw; ++kx) {
      if (unit.zero != 0) sum = dot(zero, load_taps(four.weights + (kx * 4 + i) * kTapBytes), sum);
      four.padding[kx + 1][i] = sum;
    }
  });
}

// The columns from `first` on, which may lie in the padding.
template <int R>
void fill_columns(const ConvShape& s, const Int8ConvArgs& args, const DepthwiseUnit& unit, Index first,
                  Index count, WideRows<R>& four) {
  for (Index i = 0; i < count; ++i) {
    const Index column = first + i;
    const Index distance = column < s.w ? column * args.src_pixel : -1;
    Quads bytes[4];
    depthwise_column<0>(four.line, distance, args.src_signed, unit, bytes);
    for_each<4>([&](auto j) __attribute__((always_inline)) { four.columns[i * 4 + j] = bytes[j]; });
  }
}

// Adds products of four rows to the sums of P pixels, whose first one's first column is columns[first]. The kernel's
// columns outside of `taps` only meet padding.
template <int P, int S, int R>
void add_wide(const ConvShape& s, const WideRows<R>& four, Index first, Span taps, std::int32_t* sums) {
  for (int half = 0; half < 4; half += 2) {
    I32 all[P][2];
    for_each<2>([&](auto j) __attribute__((always_inline)) {
      const int i = half + j;
      const I32 more = four.padding[taps.begin][i] + four.padding[s.kw][i] - four.padding[taps.end][i];
      for_each<P>([&](auto p) __attribute__((always_inline)) {
        all[p][j] = load(sums + p * kUnit + i * kBlock) + more;
      });
    });
    const Quads* bytes = four.columns + (first + taps.begin * s.dw) * 4 + half;
    const std::int8_t* weights = four.weights + (taps.begin * 4 + half) * kTapBytes;
    for (Index kx = taps.begin; kx < taps.end; ++kx, bytes += s.dw * 4, weights += 4 * kTapBytes) {
      const Taps w[2] = {load_taps(weights), load_taps(weights + kTapBytes)};
      for_each<P>([&](auto p) __attribute__((always_inline)) {
        for_each<2>([&](auto j) __attribute__((always_inline)) {
          all[p][j] = dot(bytes[p * S * 4 + j], w[j], all[p][j]);
        });
      });
    }
    for_each<P>([&](auto p) __attribute__((always_inline)) {
      for_each<2>([&](auto j) __attribute__((always_inline)) {
        store(sums + p * kUnit + (half + j) * kBlock, all[p][j]);
      });
    });
  }
}

// Of `pixels` pixels from `begin` on, and of some more, up to a whole number of fours.
template <int S, int R>
void add_wide(const ConvShape& s, const WideRows<R>& four, Index begin, Index pixels, std::int32_t* sums) {
  for (Index x = 0; x < pixels;) {
    const Index count = pixels - x > kWidePixels / 2 ? kWidePixels : kWidePixels / 2;
    const Index column = (begin + x) * S - s.left;
    Index first = taps_inside(column + (count - 1) * S, s.kw, s.dw, s.w).begin;
    first = first < s.kw ? first : s.kw;
    const Index last = taps_inside(column, s.kw, s.dw, s.w).end;
    const Span taps = {first, last < first ? first : (last < s.kw ? last : s.kw)};
    (count == kWidePixels ? add_wide<kWidePixels, S, R>
                          : add_wide<kWidePixels / 2, S, R>)(s, four, x * S, taps, sums + x * kUnit);
    x += count;
  }
}

template <int R>
bool meets_image(const DepthwiseLine<4, R>& line) {
  Index any = 0;
  for (const auto& masks : line.masks)
    for (const Index mask : masks) any |= mask;
  return any != 0;
}

// R rows of the output, from y on, that lie before `end`.
template <int S, int R>
void wide_line(const ConvShape& s, const Int8EpilogueState& state, const DepthwiseUnit& unit, Index y,
               Index end) {
  const Int8ConvArgs& args = *state.args;
  const DepthwiseRows<R> rows = depthwise_rows<R>(s, args, unit, y, end);
  alignas(64) std::int32_t waiting[kWaiting * kUnit];
  alignas(64) std::int32_t sums[kMostColumns * kUnit];
  WideRows<R> four;
  const Index ow = s.ow();
  const Index segment = wide_segment(s);
  for (Index begin = 0; begin < ow; begin += segment) {
    const Index pixels = segment < ow - begin ? segment : ow - begin;
    const Index whole = divide(pixels, kWidePixels) * kWidePixels;
    for (Index p = 0; p < whole; ++p) std::memcpy(sums + p * kUnit, unit.start, sizeof unit.start);
    for (Index ky = 0; ky < s.kh; ky += 4) {
      start_line(s, args, unit, y, ky, four.line);
      four.weights = unit.weights + ky * s.kw * kTapBytes;
      fill_padding(s, unit, four);
      if (meets_image(four.line)) {
        fill_columns(s, args, unit, begin * S - s.left, (whole - 1) * S + (s.kw - 1) * s.dw + 1, four);
        add_wide<S>(s, four, begin, pixels, sums);
      } else if (unit.zero != 0) {
        for (Index x = 0; x < pixels; ++x) add_wide<1, S>(s, four, 0, {0, 0}, sums + x * kUnit);
      }
    }
    for (Index p = 0; p < pixels; ++p) {
      I32 whole_sums[4];
      for_each<4>([&](auto i) __attribute__((always_inline)) {
        whole_sums[i] = load(sums + p * kUnit + i * kBlock);
      });
      store_unit(state, unit, rows, whole_sums, begin + p, ow, waiting);
    }
  }
}

template <int S>
Int8DepthwiseLine choose_wide_line(Index rows) {
  if (rows == 1) return wide_line<S, 1>;
  if constexpr (simd::kParts > 2) {
    if (rows == 4) return wide_line<S, 4>;
  }
  return wide_line<S, 2>;
}

inline Int8DepthwiseLine choose_wide_line(const ConvShape& s, Index rows) {
  return s.sw == 1 ? choose_wide_line<1>(rows) : choose_wide_line<2>(rows);
}

#endif

}  // namespace
}  // namespace rdquant::runtime::kernels
