// Depthwise convolution of levels with small kernels that are not dilated: bytes of up to four rows of a
// column are interleaved, so that each sum takes four taps at once, and each column so made meets all the
// kernel's columns.
//
// Packed: sums of weights, [unit][4·B] int32; then levels, [unit][four rows][kw][4][B][4], where a unit is
// four blocks of channels in the order that interleaving leaves them.
#pragma once

#include "integer_bytes.inl"
#include "integer_tile_levels.inl"

namespace rdquant::runtime::kernels {
namespace {

#if defined(__AVX2__)

constexpr Index kUnit = 4 * kBlock;  // channels of a unit that takes one row at once

// Units of an image's channels: whole ones, and one with the rest, which takes `rows` rows of outputs at once
// where its channels fill less than half of the vectors.
struct DepthwiseUnits {
  Index whole, rest, rows;
  [[nodiscard]] Index count() const { return whole + (rest > 0 ? 1 : 0); }
  [[nodiscard]] Index rows_of(Index unit) const { return unit < whole ? 1 : rows; }
  // Steps of some rows of outputs: these, or groups of them, once for each unit.
  [[nodiscard]] Index steps(Index height) const {
    return whole * height + (rest > 0 ? divide(height, rows) : 0);
  }
  // Of one image, in strips of rows.
  [[nodiscard]] Index steps(Index oh, Index strip) const {
    return oh / strip * steps(strip) + steps(oh % strip);
  }
};

inline DepthwiseUnits depthwise_units(const ConvShape& s) {
  const Index rest = s.c % kUnit;
  Index rows = 1;
  while (rows < kLanes && rest * rows * 2 <= kUnit) rows *= 2;
  return {s.c / kUnit, rest, rows};
}

// The channel, counted from the unit's first, of lane `lane` of the i-th of a unit's vectors: interleaving
// goes by groups of 16 channels; rows lie one after the other.
inline Index unit_channel(Index rows, Index i, Index lane) {
  return lane / 4 % (kLanes / rows) * 16 + 4 * i + lane % 4;
}

// By channel to the order of a unit.
inline void to_unit_order(Index rows, const std::int32_t* from, std::int32_t* to) {
  for (Index i = 0; i < 4; ++i) {
    for (Index lane = 0; lane < kBlock; lane += 4) {
      std::memcpy(to + i * kBlock + lane, from + unit_channel(rows, i, lane), 4 * sizeof(std::int32_t));
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

// Rows of the output that are made at once. Rows of the kernel in the padding read one pixel of zeros again
// and again.
template <int K, int R>
struct DepthwiseLine {
  const std::uint8_t* rows[K][R];
  Index masks[K][R];     // of the distance from the first column; 0 in the padding
  std::uint8_t* dst[R];  // first pixel, first channel of the unit
  Index pixel;           // the first row's first pixel's place in the image
  Index real;            // rows that there are
};

template <int K, int R>
void start_line(const ConvShape& s, const IntegerConvArgs& args, const DepthwiseUnit& unit, Index y,
                Index end, DepthwiseLine<K, R>& line) {
  line.pixel = y * s.ow();
  line.real = R < end - y ? R : end - y;
  for (Index r = 0; r < R; ++r) {
    for (Index i = 0; i < K; ++i) {
      const Index row = (y + r) * s.sh - s.top + i * s.dh;
      const bool inside = row >= 0 && row < s.h;
      line.rows[i][r] = inside ? unit.src + row * s.w * args.src_pixel : unit.zeros;
      line.masks[i][r] = inside ? -1 : 0;
    }
    line.dst[r] = static_cast<std::uint8_t*>(args.dst) + unit.image * args.dst_image +
                  (line.pixel + r * s.ow()) * args.dst_pixel + unit.block * kBlock;
  }
}

// Rows of the kernel from `First` on, of the column `distance` bytes from the first, or of the padding where
// that is negative.
template <int First, int K, int R>
[[gnu::always_inline]] inline void depthwise_column(const DepthwiseLine<K, R>& line, Index distance,
                                                    bool is_signed, const DepthwiseUnit& unit,
                                                    Fours (&out)[4]) {
  if (distance < 0) {
    const Fours zero = splat_fours(unit.zero);
    for_each<4>([&](auto i) __attribute__((always_inline)) { out[i] = zero; });
    return;
  }
  Bytes rows[4];
  for_each<4>([&](auto i) __attribute__((always_inline)) {
    constexpr int kRow = First + decltype(i)::value;
    if constexpr (kRow < K) {
      const std::uint8_t* from[R];
      for_each<R>([&](auto r) __attribute__((always_inline)) {
        from[r] = line.rows[kRow][r] + (distance & line.masks[kRow][r]);
      });
      rows[i] = load_bytes<R>(from);
    } else {
      rows[i] = no_bytes();
    }
  });
  if (is_signed) {
    for_each<4>([&](auto i) __attribute__((always_inline)) { rows[i] = flip(rows[i]); });
  }
  interleave(rows[0], rows[1], rows[2], rows[3], out);
}

// Pixels whose sums wait for finish_any.
constexpr Index kWaiting = 8;

// Finishes `pixels` pixels of each row from x on, whose sums wait in the order of the unit.
template <int K, int R>
[[gnu::noinline]] void finish_waiting(const IntegerFinisher& finisher, const DepthwiseUnit& unit,
                                      const DepthwiseLine<K, R>& line, Index ow, Index x, Index pixels,
                                      const std::int32_t* waiting) {
  alignas(64) std::int32_t sums[kWaiting * kUnit / R];
  for (Index r = 0; r < line.real; ++r) {
    for (Index p = 0; p < pixels; ++p) {
      for (Index i = 0; i < 4; ++i) {
        for (Index lane = r * (kBlock / R); lane < (r + 1) * (kBlock / R); lane += 4) {
          std::memcpy(sums + p * (kUnit / R) + unit_channel(R, i, lane),
                      waiting + p * kUnit + i * kBlock + lane, 4 * sizeof(std::int32_t));
        }
      }
    }
    finish_any(finisher, sums, {unit.image, line.pixel + r * ow + x, 0, unit.block}, pixels,
               divide(unit.channels, kBlock), 4 / R);
  }
}

template <int K, int R>
[[gnu::always_inline]] inline void store_unit(const IntegerFinisher& finisher, const DepthwiseUnit& unit,
                                              const DepthwiseLine<K, R>& line, Index x, Packed bytes) {
  std::uint8_t* dst[R];
  for_each<R>([&](auto r)
                  __attribute__((always_inline)) { dst[r] = line.dst[r] + x * finisher.args->dst_pixel; });
  store_interleaved<R>(dst, line.real, unit.channels, bytes);
}

// Levels of pixels up to x wait for their table.
template <int K, int R>
[[gnu::noinline]] void translate_waiting(const IntegerFinisher& finisher, const DepthwiseUnit& unit,
                                         const DepthwiseLine<K, R>& line, Index x, Index pixels,
                                         std::uint8_t* waiting) {
  translate(finisher.table, waiting, pixels * kUnit);
  for (Index p = 0; p < pixels; ++p)
    store_unit(finisher, unit, line, x + p, load_register(waiting + p * kUnit));
}

// Sums of a pixel of each row are whole: the fast way to levels, or they wait for their neighbours.
template <int K, int R>
[[gnu::always_inline]] inline void finish_unit(const IntegerFinisher& finisher, const DepthwiseUnit& unit,
                                               const DepthwiseLine<K, R>& line, const Ints (&sums)[4],
                                               Index x, Index ow, std::int32_t* waiting) {
  const Index place = x % kWaiting;
  const bool last = place == kWaiting - 1 || x == ow - 1;
  if (finisher.sure && finisher.args->finish.residual == nullptr) {
    Ints levels[4];
    for_each<4>([&](auto i) __attribute__((always_inline)) {
      levels[i] = nearest(to_float(sums[i]) * load(unit.multipliers + i * kBlock));
    });
    const Packed bytes = level_bytes(levels, finisher.range);
    if (finisher.fast) return store_unit(finisher, unit, line, x, translate(finisher.table, bytes));
    auto* const waiting_bytes = reinterpret_cast<std::uint8_t*>(waiting);
    store_register(waiting_bytes + place * kUnit, bytes);
    if (last) translate_waiting(finisher, unit, line, x - place, place + 1, waiting_bytes);
    return;
  }
  for_each<4>([&](auto i)
                  __attribute__((always_inline)) { store(waiting + place * kUnit + i * kBlock, sums[i]); });
  if (last) finish_waiting(finisher, unit, line, ow, x - place, place + 1, waiting);
}

// R rows of the output, from y on, that lie before `end`. Column after column is interleaved and added to the
// pixels under way, which are kUnderWay; sums[p % kUnderWay] are those of pixel p.
template <int K, int S, int R>
void depthwise_line(const ConvShape& s, const IntegerFinisher& finisher, const DepthwiseUnit& unit, Index y,
                    Index end) {
  constexpr int kUnderWay = (K + S - 1) / S;
  const IntegerConvArgs& args = *finisher.args;
  DepthwiseLine<K, R> line;
  start_line(s, args, unit, y, end, line);
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
      const Index distance = at < s.w ? at * args.src_pixel : -1;
      if constexpr (kColumn % S == 0) {
        for_each<4>([&](auto i) __attribute__((always_inline)) {
          sums[kColumn / S][i] = load(unit.start + i * kBlock);
        });
      }
      for_each<(K + 3) / 4>([&](auto four) __attribute__((always_inline)) {
        Fours bytes[4];
        depthwise_column<4 * decltype(four)::value>(line, distance, args.src_signed, unit, bytes);
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
      constexpr int kDone = kColumn + kUnderWay * S - K + 1;
      if constexpr (kDone % S == 0) {
        const Index x = (first + kColumn - K + 1) / S;
        if (first + kColumn >= K - 1 && x < ow) {
          finish_unit(finisher, unit, line, sums[kDone / S % kUnderWay], x, ow, waiting);
        }
      }
    });
  }
}

using IntegerDepthwiseLine = void (*)(const ConvShape&, const IntegerFinisher&, const DepthwiseUnit&, Index,
                                      Index);

template <int K, int S>
IntegerDepthwiseLine choose_line(Index rows) {
  if (rows == 1) return depthwise_line<K, S, 1>;
  if constexpr (kLanes > 2) {
    if (rows == 4) return depthwise_line<K, S, 4>;
  }
  return depthwise_line<K, S, 2>;
}

inline IntegerDepthwiseLine choose_line(const ConvShape& s, Index rows) {
  if (s.kw == 3) return s.sw == 1 ? choose_line<3, 1>(rows) : choose_line<3, 2>(rows);
  return s.sw == 1 ? choose_line<5, 1>(rows) : choose_line<5, 2>(rows);
}

inline bool interleaved(const ConvShape& s) {
  return (s.kw == 3 || s.kw == 5) && s.kh == s.kw && (s.sw == 1 || s.sw == 2) && s.dw == 1;
}

inline Index unit_bytes(const ConvShape& s) { return divide(s.kh, 4) * s.kw * 4 * kTapBytes; }

inline DepthwiseUnit depthwise_unit(const ConvShape& s, const IntegerConvArgs& args,
                                    const std::uint8_t* zeros, Index image, Index unit) {
  const DepthwiseUnits units = depthwise_units(s);
  const Index first = unit * kUnit;
  const Index channels = unit < units.whole ? kUnit : units.rest;
  const std::int32_t zero = args.src_zero + (args.src_signed ? 128 : 0);
  const auto* const sums = reinterpret_cast<const std::int32_t*>(args.weights) + first;
  DepthwiseUnit u = {};
  alignas(64) std::int32_t start[kUnit] = {};
  alignas(64) std::int32_t multipliers[kUnit] = {};
  for (Index i = 0; i < channels; i += kBlock) {
    const Ints bias = args.bias == nullptr ? splat(0) : load(args.bias + first + i);
    store(start + i, bias - load(sums + i) * splat(zero));
    float numbers[kBlock];
    store(numbers, block_multipliers(args.finish, (first + i) / kBlock));
    std::memcpy(multipliers + i, numbers, sizeof numbers);
  }
  to_unit_order(units.rows_of(unit), start, u.start);
  to_unit_order(units.rows_of(unit), multipliers, reinterpret_cast<std::int32_t*>(u.multipliers));
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
void run_interleaved(const IntegerPlan& plan, const IntegerConvArgs& args, Index begin, Index end) {
  const ConvShape& s = plan.shape;
  const IntegerFinisher finisher = make_finisher(s, args);
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
    const IntegerDepthwiseLine line = choose_line(s, rows);
    for (Index y = top + (step - number * height) * rows; y < bottom && item < end; y += rows, ++item)
      line(s, finisher, unit, y, bottom);
  }
}

void pack_interleaved(const ConvShape& s, const std::int8_t* weights, std::byte* packed, Index begin,
                      Index end) {
  const DepthwiseUnits units = depthwise_units(s);
  auto* const sums = reinterpret_cast<std::int32_t*>(packed);
  auto* const levels = reinterpret_cast<std::int8_t*>(packed) + units.count() * kUnit * 4;
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
        out[((ky / 4 * s.kw + tap % s.kw) * 4 + i) * kTapBytes + tap_place(lane, ky % 4)] = w;
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
