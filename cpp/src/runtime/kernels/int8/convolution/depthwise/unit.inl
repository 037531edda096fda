// Depthwise int8 convolution by units of channels, whose bytes are interleaved: the order of a unit, and
// what follows its sums.
#pragma once

#include "runtime/kernels/int8/convolution/floats.inl"

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
  while (rows < simd::kParts && rest * rows * 2 <= kUnit) rows *= 2;
  return {s.c / kUnit, rest, rows};
}

// The channel, counted from the unit's first, of lane `lane` of the i-th of a unit's vectors: interleaving
// goes by groups of 16 channels; rows lie one after the other.
inline Index unit_channel(Index rows, Index i, Index lane) {
  return lane / 4 % (simd::kParts / rows) * 16 + 4 * i + lane % 4;
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
  alignas(64) float bias[kUnit];
  const std::uint8_t* src;  // first channel
  const std::int8_t* weights;
  const std::uint8_t* zeros;  // a pixel of the padding
  std::uint8_t zero;          // the same, one channel, as uint8
  Index image, block, channels;
};

// Rows of the output that are made at once.
template <int R>
struct DepthwiseRows {
  std::uint8_t* dst[R];  // first pixel, first channel of the unit
  Index pixel;           // the first row's first pixel's place in the image
  Index real;            // rows that there are
};

template <int R>
DepthwiseRows<R> depthwise_rows(const ConvShape& s, const Int8ConvArgs& args, const DepthwiseUnit& unit,
                                Index y, Index end) {
  DepthwiseRows<R> rows = {{}, y * s.ow(), R < end - y ? R : end - y};
  for (Index r = 0; r < R; ++r)
    rows.dst[r] = static_cast<std::uint8_t*>(args.dst) + unit.image * args.dst_image +
                  (rows.pixel + r * s.ow()) * args.dst_pixel + unit.block * kBlock;
  return rows;
}

// Pixels whose sums wait for each other.
constexpr Index kWaiting = 8;

// Rows that there are not count as 0.
template <int R>
void measure_waiting(const Int8EpilogueState& state, const DepthwiseUnit& unit, const DepthwiseRows<R>& rows,
                     Index pixels, const std::int32_t* waiting) {
  const auto real = [&](F32 x) {
    if (R == 1 || rows.real == R) return x;
    float lanes[kBlock];
    store(lanes, x);
    return load_some(lanes, rows.real * (kBlock / R));
  };
  const Clamp f(state);
  MinMax min_max;
  for (Index i = 0; i < kUnit; i += kBlock) {
    I32 low = load(waiting + i);
    I32 high = low;
    for (Index p = 1; p < pixels; ++p) {
      const I32 sums = load(waiting + p * kUnit + i);
      low = min(low, sums);
      high = max(high, sums);
    }
    const F32 multipliers = load(unit.multipliers + i);
    const F32 bias = load(unit.bias + i);
    min_max.see(real(f(to_float(low) * multipliers + bias)));
    min_max.see(real(f(to_float(high) * multipliers + bias)));
  }
  min_max.keep(state.args->epilogue.min_max);
}

// Int8 values of a pixel of each row, in the order that interleaving leaves.
template <int R>
[[gnu::always_inline]] inline void store_unit(const Int8EpilogueState& state, const DepthwiseUnit& unit,
                                              const DepthwiseRows<R>& rows, Index x, Packed bytes) {
  for_each<R>([&](auto r) __attribute__((always_inline)) {
    if (R > 1 && r >= rows.real) return;
    store_some(rows.dst[r] + x * state.args->dst_pixel, simd::piece<kUnit / R, r>(bytes), unit.channels);
  });
}

template <int R>
void quantize_waiting(const Int8EpilogueState& state, const DepthwiseUnit& unit, const DepthwiseRows<R>& rows,
                      Index x, Index pixels, const std::int32_t* waiting) {
  Quotients quotients(state);
  const auto run = [&](auto level) __attribute__((always_inline)) {
    for (Index p = 0; p < pixels; ++p) {
      I32 levels[4];
      for_each<4>([&](auto i) __attribute__((always_inline)) {
        const I32 sums = load(waiting + p * kUnit + i * kBlock);
        levels[i] =
            level(to_float(sums) * load(unit.multipliers + i * kBlock) + load(unit.bias + i * kBlock));
      });
      store_unit(state, unit, rows, x + p, int8_bytes(levels, state.range));
    }
  };
  run([&](F32 number) __attribute__((always_inline)) { return quotients.by_inverse(number); });
  if (!quotients.away_from_ties()) [[unlikely]]
    run([&](F32 number) __attribute__((always_inline)) { return quotients.by_division(number); });
}

// Where the sums of channel block `block` of row `row` of the unit's lie among those of a pixel, by quarters.
template <int R>
constexpr Index unit_place(Index row, Index block) {
  const Index channel = block * kBlock;
  return channel % 16 / 4 * kBlock + (channel / 16 + row * (simd::kParts / R)) * 4;
}

template <int R, class F>
void store_waiting(const Int8EpilogueState& state, const DepthwiseUnit& unit, const DepthwiseRows<R>& rows,
                   Index ow, Index x, Index pixels, const std::int32_t* waiting, const F& f) {
  const Index blocks = divide(unit.channels, kBlock);
  for (Index r = 0; r < rows.real; ++r) {
    for (Index b = 0; b < blocks; ++b) {
      const std::int32_t* const sums = waiting + unit_place<R>(r, b);
      store_block(state, {unit.image, rows.pixel + r * ow + x, 0, unit.block + b}, pixels, f,
                  [=](Index p) __attribute__((always_inline)) { return simd::load_quads(sums + p * kUnit); });
    }
  }
}

// float32 results whose activation is applied in registers.
template <int R>
void store_clamped_floats(const Int8EpilogueState& state, const DepthwiseUnit& unit,
                          const DepthwiseRows<R>& rows, Index ow, Index x, Index pixels,
                          const std::int32_t* waiting) {
  const Int8Epilogue& epilogue = state.args->epilogue;
  if (epilogue.out_scale != 0.0f) return quantize_waiting(state, unit, rows, x, pixels, waiting);
  if (epilogue.measured) return measure_waiting(state, unit, rows, pixels, waiting);
  with_activation(state, [&](const auto& f) __attribute__((always_inline)) {
    store_waiting(state, unit, rows, ow, x, pixels, waiting, f);
  });
}

// Stores `pixels` pixels of each row from x on, whose sums wait in the order of the unit.
template <int R>
[[gnu::noinline]] void store_waiting(const Int8EpilogueState& state, const DepthwiseUnit& unit,
                                     const DepthwiseRows<R>& rows, Index ow, Index x, Index pixels,
                                     const std::int32_t* waiting) {
  if (state.floats_in_registers) return store_clamped_floats(state, unit, rows, ow, x, pixels, waiting);
  alignas(64) std::int32_t sums[kWaiting * kUnit / R];
  for (Index r = 0; r < rows.real; ++r) {
    for (Index p = 0; p < pixels; ++p) {
      for (Index i = 0; i < 4; ++i) {
        for (Index lane = r * (kBlock / R); lane < (r + 1) * (kBlock / R); lane += 4) {
          std::memcpy(sums + p * (kUnit / R) + unit_channel(R, i, lane),
                      waiting + p * kUnit + i * kBlock + lane, 4 * sizeof(std::int32_t));
        }
      }
    }
    store_any(state, sums, {unit.image, rows.pixel + r * ow + x, 0, unit.block}, pixels,
              divide(unit.channels, kBlock), 4 / R);
  }
}

// Int8 values of pixels up to x wait for their table.
template <int R>
[[gnu::noinline]] void translate_waiting(const Int8EpilogueState& state, const DepthwiseUnit& unit,
                                         const DepthwiseRows<R>& rows, Index x, Index pixels,
                                         std::uint8_t* waiting) {
  translate(state.table, waiting, pixels * kUnit);
  for (Index p = 0; p < pixels; ++p)
    store_unit(state, unit, rows, x + p, simd::load_as<Packed>(waiting + p * kUnit));
}

// Sums of a pixel of each row are whole: int8 values straight from registers, or they wait for their neighbours.
template <int R>
[[gnu::always_inline]] inline void store_unit(const Int8EpilogueState& state, const DepthwiseUnit& unit,
                                              const DepthwiseRows<R>& rows, const I32 (&sums)[4], Index x,
                                              Index ow, std::int32_t* waiting) {
  const Index place = x % kWaiting;
  const bool last = place == kWaiting - 1 || x == ow - 1;
  if (state.scales_and_clamps && state.args->epilogue.residual == nullptr) {
    I32 levels[4];
    for_each<4>([&](auto i) __attribute__((always_inline)) {
      levels[i] = nearest(to_float(sums[i]) * load(unit.multipliers + i * kBlock));
    });
    const Packed bytes = int8_bytes(levels, state.range);
    if (state.stays_in_registers) return store_unit(state, unit, rows, x, translate(state.table, bytes));
    auto* const waiting_bytes = reinterpret_cast<std::uint8_t*>(waiting);
    store_as(waiting_bytes + place * kUnit, bytes);
    if (last) translate_waiting(state, unit, rows, x - place, place + 1, waiting_bytes);
    return;
  }
  for_each<4>([&](auto i)
                  __attribute__((always_inline)) { store(waiting + place * kUnit + i * kBlock, sums[i]); });
  if (last) store_waiting(state, unit, rows, ow, x - place, place + 1, waiting);
}

#endif

}  // namespace
}  // namespace rdquant::runtime::kernels
