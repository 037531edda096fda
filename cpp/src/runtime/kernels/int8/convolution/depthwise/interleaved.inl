// Depthwise int8 convolution: bytes of four taps are interleaved, so that each sum takes four taps at once.
// Where kernels are small and not dilated, the taps are those of up to four rows of a column, and each column so made
// meets all the kernel's columns; wide kernels are in wide.inl, others in taps.inl.
//
// Packed: sums of weights, [unit][4·B] int32; then int8 values, [unit][four rows][kw][4][B][4], or, of taps.inl,
// [unit][four taps][4][B][4], where a unit is four blocks of channels in the order that interleaving leaves them.
#pragma once

#include "runtime/kernels/int8/convolution/depthwise/wide.inl"

namespace rdquant::runtime::kernels {
namespace {

#if defined(__AVX2__)

// R rows of the output, from y on, that lie before `end`. Column after column is interleaved and added to the
// pixels under way, which are kUnderWay; sums[p % kUnderWay] are those of pixel p.
template <int K, int S, int R>
void depthwise_line(const ConvShape& s, const Int8EpilogueState& state, const DepthwiseUnit& unit, Index y,
                    Index end) {
  constexpr int kUnderWay = (K + S - 1) / S;
  const Int8ConvArgs& args = *state.args;
  DepthwiseLine<K, R> line;
  start_line(s, args, unit, y, 0, line);
  const DepthwiseRows<R> rows = depthwise_rows<R>(s, args, unit, y, end);
  alignas(64) std::int32_t waiting[kWaiting * kUnit];
  const Index ow = s.ow();
  const Index columns = (ow - 1) * S + K;
  I32 sums[kUnderWay][4];
  for_each<kUnderWay>([&](auto p) __attribute__((always_inline)) {
    for_each<4>([&](auto i) __attribute__((always_inline)) { sums[p][i] = splat(0); });
  });
  for (Index first = 0; first < columns; first += kUnderWay * S) {
    for_each<kUnderWay * S>([&](auto column) __attribute__((always_inline)) {
      constexpr int kColumn = decltype(column)::value;
      const Index at = first + kColumn - s.left;
      const Index distance = at < s.w ? at * args.src_pixel : -1;
      if constexpr (kColumn % S == 0) {
        for_each<4>([&](auto i) __attribute__((always_inline)) {
          sums[kColumn / S][i] = load(unit.start + i * kBlock);
        });
      }
      for_each<(K + 3) / 4>([&](auto four) __attribute__((always_inline)) {
        Quads bytes[4];
        depthwise_column<4 * decltype(four)::value>(line, distance, args.src_signed, unit, bytes);
        for_each<K>([&](auto kx) __attribute__((always_inline)) {
          constexpr int kOffset = kColumn - decltype(kx)::value + kUnderWay * S;
          if constexpr (kOffset % S == 0) {
            for_each<4>([&](auto i) __attribute__((always_inline)) {
              I32& sum = sums[kOffset / S % kUnderWay][i];
              sum = dot(bytes[i], load_taps(unit.weights + ((four * K + kx) * 4 + i) * kTapBytes), sum);
            });
          }
        });
      });
      constexpr int kDone = kColumn + kUnderWay * S - K + 1;
      if constexpr (kDone % S == 0) {
        const Index x = (first + kColumn - K + 1) / S;
        if (first + kColumn >= K - 1 && x < ow) {
          store_unit(state, unit, rows, sums[kDone / S % kUnderWay], x, ow, waiting);
        }
      }
    });
  }
}

template <int K, int S>
Int8DepthwiseLine choose_line(Index rows) {
  if (rows == 1) return depthwise_line<K, S, 1>;
  if constexpr (simd::kParts > 2) {
    if (rows == 4) return depthwise_line<K, S, 4>;
  }
  return depthwise_line<K, S, 2>;
}

inline bool is_small(const ConvShape& s) {
  return (s.kw == 3 || s.kw == 5 || s.kw == 7) && s.kh == s.kw && (s.sw == 1 || s.sw == 2) && s.dw == 1;
}

inline Int8DepthwiseLine choose_line(const ConvShape& s, Index rows) {
  if (!is_small(s)) return is_wide(s) ? choose_wide_line(s, rows) : choose_taps_line(rows);
  if (s.kw == 3) return s.sw == 1 ? choose_line<3, 1>(rows) : choose_line<3, 2>(rows);
  if (s.kw == 7) return s.sw == 1 ? choose_line<7, 1>(rows) : choose_line<7, 2>(rows);
  return s.sw == 1 ? choose_line<5, 1>(rows) : choose_line<5, 2>(rows);
}

// Whether the four taps that are interleaved are those of a column.
inline bool in_columns(const ConvShape& s) { return is_small(s) || is_wide(s); }

inline bool interleaved(const ConvShape& s) { return in_columns(s) || s.kh * s.kw <= kMostTaps; }

// Groups of four taps of a unit.
inline Index tap_groups(const ConvShape& s) {
  return in_columns(s) ? divide(s.kh, 4) * s.kw : divide(s.kh * s.kw, 4);
}

inline Index unit_bytes(const ConvShape& s) { return tap_groups(s) * 4 * kTapBytes; }

inline DepthwiseUnit depthwise_unit(const ConvShape& s, const Int8ConvArgs& args, const std::uint8_t* zeros,
                                    Index image, Index unit) {
  const DepthwiseUnits units = depthwise_units(s);
  const Index first = unit * kUnit;
  const Index channels = unit < units.whole ? kUnit : units.rest;
  const std::int32_t zero = args.src_zero + (args.src_signed ? 128 : 0);
  const auto* const sums = reinterpret_cast<const std::int32_t*>(args.weights) + first;
  DepthwiseUnit u = {};
  alignas(64) std::int32_t start[kUnit] = {};
  alignas(64) std::int32_t multipliers[kUnit] = {};
  for (Index i = 0; i < channels; i += kBlock) {
    const I32 bias = args.bias == nullptr ? splat(0) : load(args.bias + first + i);
    store(start + i, bias - load(sums + i) * splat(zero));
    float numbers[kBlock];
    store(numbers, block_multipliers(args.epilogue, (first + i) / kBlock));
    std::memcpy(multipliers + i, numbers, sizeof numbers);
  }
  to_unit_order(units.rows_of(unit), start, u.start);
  to_unit_order(units.rows_of(unit), multipliers, reinterpret_cast<std::int32_t*>(u.multipliers));
  const float* const float_bias = args.epilogue.float_bias;
  if (float_bias != nullptr) {
    std::memcpy(multipliers, float_bias + first,
                static_cast<std::size_t>(divide(channels, kBlock) * kBlock * 4));
    to_unit_order(units.rows_of(unit), multipliers, reinterpret_cast<std::int32_t*>(u.bias));
  }
  u.src = args.src + image * args.src_image + first;
  u.weights =
      reinterpret_cast<const std::int8_t*>(args.weights) + units.count() * kUnit * 4 + unit * unit_bytes(s);
  u.zeros = zeros;
  u.zero = static_cast<std::uint8_t>(zero);
  u.image = image;
  u.block = first / kBlock;
  u.channels = channels;
  return u;
}

// Items: image, strip, unit, rows.
void run_interleaved(const Int8Plan& plan, const Int8ConvArgs& args, Index begin, Index end) {
  const ConvShape& s = plan.shape;
  const Int8EpilogueState state = make_int8_epilogue(s, args);
  alignas(64) std::uint8_t zeros[kUnit];
  std::memset(zeros, static_cast<std::uint8_t>(args.src_zero), sizeof zeros);
  const DepthwiseUnits units = depthwise_units(s);
  const Index steps = units.steps(s.oh(), plan.strip);
  for (Index item = begin; item < end;) {
    const Index strip = item % steps / units.steps(plan.strip);
    const Index step = item % steps % units.steps(plan.strip);
    const Index top = strip * plan.strip;
    const Index bottom = plan.strip < s.oh() - top ? top + plan.strip : s.oh();
    const Index height = bottom - top;
    const Index number = step / height < units.whole ? step / height : units.whole;
    const Index rows = units.rows_of(number);
    const DepthwiseUnit unit = depthwise_unit(s, args, zeros, item / steps, number);
    const Int8DepthwiseLine line = choose_line(s, rows);
    for (Index y = top + (step - number * height) * rows; y < bottom && item < end; y += rows, ++item)
      line(s, state, unit, y, bottom);
  }
}

void pack_interleaved(const ConvShape& s, const std::int8_t* weights, std::byte* packed, Index begin,
                      Index end) {
  const DepthwiseUnits units = depthwise_units(s);
  auto* const sums = reinterpret_cast<std::int32_t*>(packed);
  auto* const levels = reinterpret_cast<std::int8_t*>(packed) + units.count() * kUnit * 4;
  const bool columns = in_columns(s);
  for (Index unit = begin; unit < end; ++unit) {
    std::int8_t* const out = levels + unit * unit_bytes(s);
    std::memset(out, 0, static_cast<std::size_t>(unit_bytes(s)));
    for (Index i = 0; i < kUnit; ++i) sums[unit * kUnit + i] = 0;
    for (Index place = 0; place < kUnit; ++place) {
      const Index i = place / kBlock;
      const Index lane = place % kBlock;
      const Index own = unit_channel(units.rows_of(unit), i, lane);
      const Index channel = unit * kUnit + own;
      std::int32_t sum = 0;
      for (Index tap = 0; channel < s.c && tap < s.kh * s.kw; ++tap) {
        const Index ky = tap / s.kw;
        const std::int8_t w = weights[channel * s.kh * s.kw + tap];
        const Index group = columns ? ky / 4 * s.kw + tap % s.kw : tap / 4;
        out[(group * 4 + i) * kTapBytes + tap_place(lane, (columns ? ky : tap) % 4)] = w;
        sum += w;
      }
      sums[channel] = sum;
    }
  }
}

#else

// Without shuffles of bytes wide enough there is nothing to gain.
inline bool interleaved(const ConvShape& /*shape*/) { return false; }

#endif

}  // namespace
}  // namespace rdquant::runtime::kernels
