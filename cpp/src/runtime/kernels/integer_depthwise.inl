// Depthwise convolution of levels.
//
// Small kernels without dilation: bytes of up to four rows of a column are interleaved, so that each sum
// takes four taps at once, and each column so made meets all the kernel's columns. Packed: sums of weights,
// [unit][kh][4][B] int32; then levels, [unit][four rows][kw][4][B][4], where a unit is four blocks of
// channels in the order that interleaving leaves them.
//
// Any other: one tap at a time. Packed: [block][kh][kw][B].
#pragma once

#include "integer_finish.inl"
#include "integer_tiles.inl"

namespace rdquant::runtime::kernels {
namespace {

// ---- Any kernel.

constexpr Index kAnyPixels = 4;

inline Index depthwise_blocks(const ConvShape& s) { return divide(s.c, kBlock); }

// Sums of `pixels` pixels of a row of outputs, of one block. src: its first channel.
inline void depthwise_any_sums(const ConvShape& s, const IntegerConvArgs& args, const std::uint8_t* src,
                               const std::int8_t* weights, Index y, Index x, Index pixels,
                               Ints (&sums)[kAnyPixels]) {
  const Ints zero = splat(args.src_zero);
  const Index top = y * s.sh - s.top;
  const Span rows = taps_inside(top, s.kh, s.dh, s.h);
  for (Index ky = rows.begin; ky < rows.end; ++ky) {
    const std::uint8_t* const in = src + (top + ky * s.dh) * s.w * args.src_pixel;
    for (Index kx = 0; kx < s.kw; ++kx) {
      const Ints tap =
          extend(reinterpret_cast<const std::uint8_t*>(weights) + (ky * s.kw + kx) * kBlock, true);
      for (Index p = 0; p < pixels; ++p) {
        const Index column = (x + p) * s.sw - s.left + kx * s.dw;
        if (column < 0 || column >= s.w) continue;
        sums[p] = sums[p] + (extend(in + column * args.src_pixel, args.src_signed) - zero) * tap;
      }
    }
  }
}

// Items: image, block, row.
void run_depthwise_any(const IntegerPlan& plan, const IntegerConvArgs& args, Index begin, Index end) {
  const ConvShape& s = plan.shape;
  const IntegerFinisher finisher = make_finisher(s, args);
  const Index blocks = depthwise_blocks(s);
  const Index oh = s.oh();
  const Index ow = s.ow();
  for (Index item = begin; item < end; ++item) {
    const Index y = item % oh;
    const Index block = item / oh % blocks;
    const Index image = item / oh / blocks;
    const std::uint8_t* const src = args.src + image * args.src_image + block * kBlock;
    const auto* const weights =
        reinterpret_cast<const std::int8_t*>(args.weights) + block * s.kh * s.kw * kBlock;
    const Ints start = args.bias == nullptr ? splat(0) : load(args.bias + block * kBlock);
    for (Index x = 0; x < ow; x += kAnyPixels) {
      const Index pixels = kAnyPixels < ow - x ? kAnyPixels : ow - x;
      Ints sums[kAnyPixels] = {start, start, start, start};
      depthwise_any_sums(s, args, src, weights, y, x, pixels, sums);
      for (Index p = 0; p < pixels; ++p) {
        const Ints one[1][1] = {{sums[p]}};
        finish_tile<1, 1>(finisher, one, {image, y * ow + x + p, 0, block});
      }
    }
  }
}

void pack_depthwise_any(const ConvShape& s, const std::int8_t* weights, std::byte* packed, Index begin,
                        Index end) {
  const Index taps = s.kh * s.kw;
  auto* const out = reinterpret_cast<std::int8_t*>(packed);
  for (Index block = begin; block < end; ++block) {
    for (Index tap = 0; tap < taps; ++tap) {
      for (Index lane = 0; lane < kBlock; ++lane) {
        const Index channel = block * kBlock + lane;
        out[(block * taps + tap) * kBlock + lane] =
            channel < s.c ? weights[channel * taps + tap] : std::int8_t{0};
      }
    }
  }
}

// ---- Interleaved.

#if defined(__AVX2__)

constexpr Index kUnit = 4 * kBlock;  // channels

// The channel, counted from the unit's first, of lane `lane` of the i-th of a unit's vectors: interleaving
// goes by groups of 16 channels.
inline Index unit_channel(Index i, Index lane) { return lane / 4 * 16 + 4 * i + lane % 4; }

// [4][B] numbers, [channel] to the order of a unit, and back.
inline void to_unit_order(const std::int32_t* from, std::int32_t* to) {
  for (Index i = 0; i < 4; ++i) {
    for (Index lane = 0; lane < kBlock; lane += 4) {
      std::memcpy(to + i * kBlock + lane, from + unit_channel(i, lane), 4 * sizeof(std::int32_t));
    }
  }
}
inline void from_unit_order(const std::int32_t* from, std::int32_t* to) {
  for (Index i = 0; i < 4; ++i) {
    for (Index lane = 0; lane < kBlock; lane += 4) {
      std::memcpy(to + unit_channel(i, lane), from + i * kBlock + lane, 4 * sizeof(std::int32_t));
    }
  }
}

// What the rows of one unit of one image share.
struct DepthwiseUnit {
  alignas(64) std::int32_t start[kUnit];
  alignas(64) float multipliers[kUnit];
  const std::uint8_t* src;  // first channel
  const std::int8_t* weights;
  const std::uint8_t* zeros;  // a pixel of the padding
  std::uint8_t zero;          // the same, one channel, as uint8
  Index image, block, channels;
};

// One row of the output. Rows of the kernel in the padding read one pixel of zeros again and again.
template <int K>
struct DepthwiseLine {
  const std::uint8_t* rows[K];
  Index steps[K];     // bytes from column to column, 0 in the padding
  std::uint8_t* dst;  // first pixel, first channel of the unit
  Index pixel;        // that pixel's place in the image
};

template <int K>
void start_line(const ConvShape& s, const IntegerConvArgs& args, const DepthwiseUnit& unit, Index y,
                DepthwiseLine<K>& line) {
  for (int i = 0; i < K; ++i) {
    const Index row = y * s.sh - s.top + i * s.dh;
    const bool inside = row >= 0 && row < s.h;
    line.rows[i] = inside ? unit.src + row * s.w * args.src_pixel : unit.zeros;
    line.steps[i] = inside ? args.src_pixel : 0;
  }
  line.pixel = y * s.ow();
  line.dst = static_cast<std::uint8_t*>(args.dst) + unit.image * args.dst_image +
             line.pixel * args.dst_pixel + unit.block * kBlock;
}

// Rows from `First` on of one column, which is −1 in the padding.
template <int K, bool Signed, int First>
[[gnu::always_inline]] inline void depthwise_column(const DepthwiseLine<K>& line, Index column,
                                                    const DepthwiseUnit& unit, Fours (&out)[4]) {
  if (column < 0) {
    const Fours zero = splat_fours(unit.zero);
    for_each<4>([&](auto i) __attribute__((always_inline)) { out[i] = zero; });
    return;
  }
  const auto row = [&](int i) __attribute__((always_inline)) {
    return First + i < K ? load_bytes<Signed>(line.rows[First + i] + column * line.steps[First + i])
                         : no_bytes();
  };
  interleave(row(0), row(1), row(2), row(3), out);
}

// Pixels whose sums wait for finish_any.
constexpr Index kWaiting = 8;

// Sums of a pixel are whole: the fast way to levels, or they wait for their neighbours.
template <int K>
[[gnu::always_inline]] inline void finish_unit(const IntegerFinisher& finisher, const DepthwiseUnit& unit,
                                               const DepthwiseLine<K>& line, const Ints (&sums)[4], Index x,
                                               Index ow, std::int32_t* waiting) {
  const IntegerConvArgs& args = *finisher.args;
  if (finisher.fast) {
    const Vec high = splat(finisher.high);
    Ints levels[4];
    for_each<4>([&](auto i) __attribute__((always_inline)) {
      levels[i] = nearest(min(high, to_float(sums[i]) * load(unit.multipliers + i * kBlock)));
    });
    store_interleaved(line.dst + x * args.dst_pixel, levels, unit.channels, finisher.range);
    return;
  }
  alignas(64) std::int32_t permuted[kUnit];
  for_each<4>([&](auto i) __attribute__((always_inline)) { store(permuted + i * kBlock, sums[i]); });
  from_unit_order(permuted, waiting + x % kWaiting * kUnit);
  if (x % kWaiting == kWaiting - 1 || x == ow - 1) {
    const Index first = x / kWaiting * kWaiting;
    finish_any(finisher, waiting, {unit.image, line.pixel + first, 0, unit.block}, x - first + 1,
               divide(unit.channels, kBlock), 4);
  }
}

// A row of the output. Column after column is interleaved and added to the pixels under way, which are
// kUnderWay; sums[p % kUnderWay] are those of pixel p.
template <bool Signed, int K, int S>
void depthwise_line(const ConvShape& s, const IntegerFinisher& finisher, const DepthwiseUnit& unit, Index y) {
  constexpr int kUnderWay = (K + S - 1) / S;
  DepthwiseLine<K> line;
  start_line(s, *finisher.args, unit, y, line);
  alignas(64) std::int32_t waiting[kWaiting * kUnit];
  const Index ow = s.ow();
  const Index columns = (ow - 1) * S + K;
  Ints sums[kUnderWay][4];
  for_each<kUnderWay>([&](auto p) __attribute__((always_inline)) {
    for_each<4>([&](auto i) __attribute__((always_inline)) { sums[p][i] = splat(0); });
  });
  for (Index first = 0; first < columns; first += kUnderWay * S) {
    for_each<kUnderWay * S>([&](auto column) __attribute__((always_inline)) {
      constexpr int kColumn = decltype(column)::value;
      const Index at = first + kColumn - s.left;
      if constexpr (kColumn % S == 0) {
        for_each<4>([&](auto i) __attribute__((always_inline)) {
          sums[kColumn / S][i] = load(unit.start + i * kBlock);
        });
      }
      for_each<(K + 3) / 4>([&](auto four) __attribute__((always_inline)) {
        Fours bytes[4];
        depthwise_column<K, Signed, 4 * decltype(four)::value>(line, at >= 0 && at < s.w ? at : -1, unit,
                                                               bytes);
        for_each<K>([&](auto kx) __attribute__((always_inline)) {
          constexpr int kOffset = kColumn - decltype(kx)::value + kUnderWay * S;
          if constexpr (kOffset % S == 0) {
            for_each<4>([&](auto i) __attribute__((always_inline)) {
              Ints& sum = sums[kOffset / S % kUnderWay][i];
              sum = dot(bytes[i], load_taps(unit.weights + ((four * K + kx) * 4 + i) * kTapBytes), sum);
            });
          }
        });
      });
      if constexpr ((kColumn + kUnderWay * S - K + 1) % S == 0) {
        const Index x = (first + kColumn - K + 1) / S;
        if (first + kColumn >= K - 1 && x < ow) {
          finish_unit(finisher, unit, line, sums[(kColumn + kUnderWay * S - K + 1) / S % kUnderWay], x, ow,
                      waiting);
        }
      }
    });
  }
}

using IntegerDepthwiseLine = void (*)(const ConvShape&, const IntegerFinisher&, const DepthwiseUnit&, Index);

template <bool Signed>
IntegerDepthwiseLine choose_line(const ConvShape& s) {
  if (s.kw == 3) return s.sw == 1 ? depthwise_line<Signed, 3, 1> : depthwise_line<Signed, 3, 2>;
  return s.sw == 1 ? depthwise_line<Signed, 5, 1> : depthwise_line<Signed, 5, 2>;
}

inline bool interleaved(const ConvShape& s) {
  return (s.kw == 3 || s.kw == 5) && s.kh == s.kw && (s.sw == 1 || s.sw == 2) && s.dw == 1;
}

inline Index unit_bytes(const ConvShape& s) { return divide(s.kh, 4) * s.kw * 4 * kTapBytes; }

inline DepthwiseUnit depthwise_unit(const ConvShape& s, const IntegerConvArgs& args,
                                    const std::uint8_t* zeros, Index image, Index unit) {
  const Index units = divide(s.c, kUnit);
  const Index first = unit * kUnit;
  const Index left = s.c - first;
  const Index channels = left < kUnit ? left : kUnit;
  const std::int32_t zero = args.src_zero + (args.src_signed ? 128 : 0);
  const auto* const sums = reinterpret_cast<const std::int32_t*>(args.weights) + first;
  DepthwiseUnit u = {};
  std::int32_t start[kUnit] = {};
  std::int32_t multipliers[kUnit] = {};
  for (Index i = 0; i < channels; i += kBlock) {
    const Ints bias = args.bias == nullptr ? splat(0) : load(args.bias + first + i);
    store(start + i, bias - load(sums + i) * splat(zero));
    float numbers[kBlock];
    store(numbers, block_multipliers(args.finish, (first + i) / kBlock));
    std::memcpy(multipliers + i, numbers, sizeof numbers);
  }
  to_unit_order(start, u.start);
  to_unit_order(multipliers, reinterpret_cast<std::int32_t*>(u.multipliers));
  u.src = args.src + image * args.src_image + first;
  u.weights = reinterpret_cast<const std::int8_t*>(args.weights) + units * kUnit * 4 + unit * unit_bytes(s);
  u.zeros = zeros;
  u.zero = static_cast<std::uint8_t>(zero);
  u.image = image;
  u.block = first / kBlock;
  u.channels = channels;
  return u;
}

// Items: image, unit, row.
void run_interleaved(const IntegerPlan& plan, const IntegerConvArgs& args, Index begin, Index end) {
  const ConvShape& s = plan.shape;
  const IntegerFinisher finisher = make_finisher(s, args);
  alignas(64) std::uint8_t zeros[kUnit];
  std::memset(zeros, static_cast<std::uint8_t>(args.src_zero), sizeof zeros);
  const IntegerDepthwiseLine line = args.src_signed ? choose_line<true>(s) : choose_line<false>(s);
  const Index units = divide(s.c, kUnit);
  const Index oh = s.oh();
  for (Index item = begin; item < end;) {
    const Index place = item / oh;
    const DepthwiseUnit unit = depthwise_unit(s, args, zeros, place / units, place % units);
    for (; item < end && item / oh == place; ++item) line(s, finisher, unit, item % oh);
  }
}

void pack_interleaved(const ConvShape& s, const std::int8_t* weights, std::byte* packed, Index begin,
                      Index end) {
  const Index units = divide(s.c, kUnit);
  auto* const sums = reinterpret_cast<std::int32_t*>(packed);
  auto* const levels = reinterpret_cast<std::int8_t*>(packed) + units * kUnit * 4;
  for (Index unit = begin; unit < end; ++unit) {
    std::int8_t* const out = levels + unit * unit_bytes(s);
    std::memset(out, 0, static_cast<std::size_t>(unit_bytes(s)));
    for (Index place = 0; place < kUnit; ++place) {
      const Index i = place / kBlock;
      const Index lane = place % kBlock;
      const Index channel = unit * kUnit + unit_channel(i, lane);
      std::int32_t sum = 0;
      for (Index tap = 0; channel < s.c && tap < s.kh * s.kw; ++tap) {
        const Index ky = tap / s.kw;
        const std::int8_t w = weights[channel * s.kh * s.kw + tap];
        out[((ky / 4 * s.kw + tap % s.kw) * 4 + i) * kTapBytes + tap_place(lane, ky % 4)] = w;
        sum += w;
      }
      sums[unit * kUnit + unit_channel(i, lane)] = sum;
    }
  }
}

#else

// Without shuffles of bytes wide enough there is nothing to gain.
inline bool interleaved(const ConvShape& /*shape*/) { return false; }

#endif

// ---- Either.

IntegerPlan plan_depthwise(const ConvShape& s) {
  IntegerPlan plan;
  plan.shape = s;
  plan.depthwise = true;
  plan.groups = s.groups;
  plan.pack_items = depthwise_blocks(s);
  plan.bytes = plan.pack_items * s.kh * s.kw * kBlock;
#if defined(__AVX2__)
  if (interleaved(s)) {
    plan.pack_items = divide(s.c, kUnit);
    plan.bytes = plan.pack_items * (kUnit * 4 + unit_bytes(s));
  }
#endif
  plan.items = s.n * plan.pack_items * s.oh();
  return plan;
}

void pack_depthwise(const IntegerPlan& plan, const std::int8_t* weights, std::byte* packed, Index begin,
                    Index end) {
#if defined(__AVX2__)
  if (interleaved(plan.shape)) return pack_interleaved(plan.shape, weights, packed, begin, end);
#endif
  pack_depthwise_any(plan.shape, weights, packed, begin, end);
}

void run_depthwise(const IntegerPlan& plan, const IntegerConvArgs& args, Index begin, Index end) {
#if defined(__AVX2__)
  if (interleaved(plan.shape)) return run_interleaved(plan, args, begin, end);
#endif
  run_depthwise_any(plan, args, begin, end);
}

}  // namespace
}  // namespace rdquant::runtime::kernels
