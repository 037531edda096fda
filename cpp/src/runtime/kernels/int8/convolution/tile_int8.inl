// Int8 values of a tile: in registers, and by way of a copy of the sums.
#pragma once

#include "runtime/kernels/int8/convolution/floats.inl"

namespace rdquant::runtime::kernels {
namespace {

// The int8 values of a sum, as floats.
struct SumFloats {
  explicit SumFloats(const Int8Sum& s)
      : a_scale(splat(s.a_scale)), b_scale(splat(s.b_scale)), b_zero(splat(s.b_zero)) {}

  // a: int8 value less a_zero
  template <bool Signed>
  [[nodiscard, gnu::always_inline]] I32 levels(F32 a, const std::uint8_t* b) const {
    const F32 y = to_float(load_bytes<Signed>(b) - b_zero) * b_scale;
    return nearest(a * a_scale + y);
  }

  F32 a_scale, b_scale;
  I32 b_zero;
};

// The sum with the residual, of sums or, where a table was applied to them, of `translated`.
template <int N, bool Signed>
void add_residual(const Int8EpilogueState& state, const std::int32_t* sums, const F32 (&multipliers)[N],
                  const TilePlace& at, Index pixels, const std::uint8_t* translated, std::uint8_t* bytes) {
  const Int8Epilogue& f = state.args->epilogue;
  const std::uint8_t* const other =
      f.residual + at.image * f.residual_image + at.pixel * f.residual_pixel + at.block * kBlock;
  const SumFloats numbers(f.sum);
  const Int8Range range = int8_range(f.sum.zero, f.sum.low, f.sum.high);
  if (f.table != nullptr) {
    const I32 zero = splat(f.sum.a_zero);
    const bool is_signed = f.sum.a_signed;
    pack_pixels<N>(bytes, pixels, range, [&](Index p, auto n) __attribute__((always_inline)) {
      const I32 a = load_bytes(translated + (p * N + n) * kBlock, is_signed) - zero;
      return numbers.levels<Signed>(to_float(a), other + p * f.residual_pixel + n * kBlock);
    });
    return;
  }
  // Adding 1.5·2^23 rounds to whole numbers; taking it away again is exact, with what else is to be added.
  const float magic = 12582912.0f;
  const F32 up = splat(magic);
  const F32 down = splat(magic - static_cast<float>(f.zero - f.sum.a_zero));
  const F32 low = splat(static_cast<float>(f.low - f.zero));
  const F32 high = splat(state.high);
  pack_pixels<N>(bytes, pixels, range, [&](Index p, auto n) __attribute__((always_inline)) {
    const F32 x = to_float(load(sums + (p * N + n) * kBlock)) * multipliers[n];
    const F32 a = (min(max(x, low), high) + up) - down;
    return numbers.levels<Signed>(a, other + p * f.residual_pixel + n * kBlock);
  });
}

// Int8 values with a table, a residual or both: sums [pixels][N][kBlock].
template <int N>
[[gnu::noinline]] void store_copied(const Int8EpilogueState& state, const std::int32_t* sums,
                                    const TilePlace& at, Index pixels) {
  const Int8ConvArgs& args = *state.args;
  const Int8Epilogue& f = args.epilogue;
  F32 multipliers[N];
  for (int n = 0; n < N; ++n) multipliers[n] = block_multipliers(f, at.block + n);
  alignas(64) std::uint8_t translated[(kTileSums + kPacked) * kBlock];
  alignas(64) std::uint8_t added[sizeof translated];
  if (f.table != nullptr) {
    pack_pixels<N>(translated, pixels, state.range, [&](Index p, auto n) __attribute__((always_inline)) {
      return nearest(to_float(load(sums + (p * N + n) * kBlock)) * multipliers[n]);
    });
    translate(state.table, translated, pixels * N * kBlock);
  }
  if (f.residual != nullptr) {
    (f.sum.b_signed ? add_residual<N, true> : add_residual<N, false>)(state, sums, multipliers, at, pixels,
                                                                      translated, added);
  }
  const Index left = state.filters - at.block * kBlock;
  std::uint8_t* const dst = static_cast<std::uint8_t*>(args.dst) + at.image * args.dst_image +
                            at.pixel * args.dst_pixel + at.block * kBlock;
  store_pixels<N>(dst, args.dst_pixel, at.skip, pixels, left < N * kBlock ? left : N * kBlock,
                  f.residual != nullptr ? added : translated);
}

// In registers: put(first pixel, count, bytes) of as many pixels as are packed together, pack(int8 values) made
// into bytes.
template <int P, int N, class Pack, class Put>
[[gnu::always_inline]] inline void pack_tile(const I32 (&sums)[P][N], const F32 (&multipliers)[N], Pack pack,
                                             Put put) {
  for_each<(P + kTogether<N> - 1) / kTogether<N>>([&](auto group) __attribute__((always_inline)) {
    constexpr int kFirst = decltype(group)::value * kTogether<N>;
    constexpr int kCount = P - kFirst < kTogether<N> ? P - kFirst : kTogether<N>;
    I32 levels[kPacked];
    for_each<kPacked>([&](auto i) __attribute__((always_inline)) {
      constexpr int kPixel = decltype(i)::value / N;
      if constexpr (kPixel < kCount) {
        levels[i] = nearest(to_float(sums[kFirst + kPixel][i % N]) * multipliers[i % N]);
      } else {
        levels[i] = levels[0];
      }
    });
    put(std::integral_constant<int, kFirst>{}, std::integral_constant<int, kCount>{}, in_order(pack(levels)));
  });
}

template <int P, int N>
[[gnu::always_inline]] inline void store_in_registers(const Int8EpilogueState& state, const I32 (&sums)[P][N],
                                                      const TilePlace& at) {
  const Int8ConvArgs& args = *state.args;
  const Int8Range range = state.range;
  F32 multipliers[N];
  for_each<N>([&](auto n) __attribute__((always_inline)) {
    multipliers[n] = block_multipliers(args.epilogue, at.block + n);
  });
  const Index left = state.filters - at.block * kBlock;
  const Index pixel = args.dst_pixel;
  std::uint8_t* const dst =
      static_cast<std::uint8_t*>(args.dst) + at.image * args.dst_image + at.pixel * pixel + at.block * kBlock;
  const auto in_range = [&](const I32(&levels)[kPacked])
                            __attribute__((always_inline)) { return int8_bytes(levels, range); };
  const auto put_all = [&](auto first, auto count, Packed bytes) __attribute__((always_inline)) {
    store_whole<N, count>(dst + first * pixel, pixel, bytes);
  };
  if (at.skip > 0 || left < N * kBlock) {
    const Index bytes = left < N * kBlock ? left : N * kBlock;
    pack_tile(sums, multipliers, in_range,
              [&](auto first, auto count, Packed packed) __attribute__((always_inline)) {
                store_levels<N>(dst + first * pixel, pixel, at.skip - first, count, bytes,
                                translate(state.table, packed));
              });
  } else if (state.table.table != nullptr) {
    pack_tile(sums, multipliers, in_range,
              [&](auto first, auto count, Packed packed)
                  __attribute__((always_inline)) { put_all(first, count, translate(state.table, packed)); });
  } else if (!range.whole) {
    pack_tile(sums, multipliers, in_range, put_all);
  } else {
    pack_tile(
        sums, multipliers,
        [](const I32(&levels)[kPacked]) __attribute__((always_inline)) { return whole_bytes(levels); },
        put_all);
  }
}

// Stores a tile of P pixels × N blocks.
template <int P, int N>
[[gnu::always_inline]] inline void store_tile(const Int8EpilogueState& state, const I32 (&sums)[P][N],
                                              const TilePlace& at) {
  if (state.stays_in_registers) return store_in_registers(state, sums, at);
  if (state.args->epilogue.measured) return measure_tile(state, sums, at);
  alignas(64) std::int32_t all[P * N * kBlock];
  for_each<P>([&](auto p) __attribute__((always_inline)) {
    for_each<N>([&](auto n)
                    __attribute__((always_inline)) { store(all + (p * N + n) * kBlock, sums[p][n]); });
  });
  if (state.scales_and_clamps) return store_copied<N>(state, all, at, P);
  if (state.floats_in_registers) return store_tile_floats<N>(state, all, at, P);
  store_any(state, all, at, P, N, N);
}

}  // namespace
}  // namespace rdquant::runtime::kernels
