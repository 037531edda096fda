// Float32 results of a tile in one pass over its sums: stored, or measured only, or made int8 values of a range
// that is known.
#pragma once

#include "runtime/kernels/int8/convolution/epilogue.inl"
#include "runtime/kernels/int8/convolution/pack.inl"

namespace rdquant::runtime::kernels {
namespace {

// Activations that are applied in registers.
struct Clamp {
  explicit Clamp(const Int8EpilogueState& state)
      : low(splat(state.float_low)), high(splat(state.float_high)) {}
  [[nodiscard, gnu::always_inline]] F32 operator()(F32 x) const { return clamp(x, low, high); }
  F32 low, high;
};
template <Function Name>
struct InRegisters {
  explicit InRegisters(const Int8EpilogueState& state)
      : alpha(splat(state.args->epilogue.activation.alpha)) {}
  [[nodiscard, gnu::always_inline]] F32 operator()(F32 x) const { return apply<Name>(x, alpha, alpha); }
  F32 alpha;
};

// x / (1 + 2^t), t = −x·log2(e). The fraction of t goes through a polynomial that is within 7.5e-8 of the
// power (minimax on −1/2..1/2); bounds keep what is far out from becoming subnormal, which is slow: below −79
// the result is 0 to float32.
template <>
struct InRegisters<Function::silu> {
  explicit InRegisters(const Int8EpilogueState& /*state*/) {}
  [[nodiscard, gnu::always_inline]] F32 operator()(F32 x) const {
    x = max(splat(-79.0f), x);
    const F32 t = max(splat(-115.0f), x * splat(-1.44269504f));
    const F32 whole = round(t);
    const F32 r = t - whole;
    F32 p = splat(1.32764725e-3f);
    p = fma(p, r, splat(9.67554189e-3f));
    p = fma(p, r, splat(5.55071309e-2f));
    p = fma(p, r, splat(2.40221202e-1f));
    p = fma(p, r, splat(6.93146944e-1f));
    p = fma(p, r, splat(1.00000012f));
    return x * inverse(splat(1.0f) + scale(p, whole));
  }
};

// kBlock floats not above and as many not below those seen, 0 among them; what is NaN is passed over.
struct MinMax {
  F32 least = splat(0.0f), greatest = splat(0.0f);
  [[gnu::always_inline]] void see(F32 x) {
    least = min(x, least);
    greatest = max(x, greatest);
  }
  void keep(float* min_max) const {
    if (min_max == nullptr) return;
    store(min_max, min(least, load(min_max)));
    store(min_max + kBlock, max(greatest, load(min_max + kBlock)));
  }
};

// Results of N blocks of a tile.
template <int N>
struct TileFloats {
  TileFloats(const Int8EpilogueState& state, const TilePlace& at) : plane(state.plane), pixel(state.pixel) {
    const Int8Epilogue& f = state.args->epilogue;
    for (int n = 0; n < N; ++n) {
      multipliers[n] = block_multipliers(f, at.block + n);
      bias[n] = f.float_bias == nullptr ? splat(-0.0f) : load(f.float_bias + (at.block + n) * kBlock);
    }
    if (f.float_residual == nullptr) return;
    (f.residual_last ? last : first) =
        f.float_residual + at.image * f.float_residual_image + at.block * plane + at.pixel * pixel;
  }

  // Neither residual nor activation.
  [[nodiscard, gnu::always_inline]] F32 unbound(I32 sums, int n) const {
    return to_float(sums) * multipliers[n] + bias[n];
  }
  template <class F>
  [[nodiscard, gnu::always_inline]] F32 at(I32 sums, Index p, int n, const F& f) const {
    F32 x = unbound(sums, n);
    if (first != nullptr) x = x + load(first + n * plane + p * pixel);
    x = f(x);
    return last == nullptr ? x : x + load(last + n * plane + p * pixel);
  }

  F32 multipliers[N], bias[N];
  const float *first = nullptr, *last = nullptr;  // residual, added before the activation or after it
  Index plane, pixel;
};

// Stores one block of a tile; sums(p): those of pixel p.
template <class F, class Sums>
[[gnu::always_inline]] inline void store_block(const Int8EpilogueState& state, const TilePlace& at,
                                               Index pixels, const F& f, const Sums& sums) {
  const Int8ConvArgs& args = *state.args;
  const TileFloats<1> numbers(state, at);
  const Index left = state.filters - at.block * kBlock;
  const bool all = state.padding_stays_zero || left >= kBlock;
  float* const dst = static_cast<float*>(args.dst) + at.image * args.dst_image + at.block * state.plane +
                     at.pixel * state.pixel;
  MinMax min_max;
  for (Index p = at.skip; p < pixels; ++p) {
    F32 x = numbers.at(sums(p), p, 0, f);
    if (!all) {
      float some[kBlock];
      store(some, x);
      x = load_some(some, left);
    }
    store(dst + p * state.pixel, x);
    min_max.see(x);
  }
  min_max.keep(args.epilogue.min_max);
}

template <int N, class F>
void store_floats(const Int8EpilogueState& state, const std::int32_t* sums, const TilePlace& at, Index pixels,
                  const F& f) {
  for (Index n = 0; n < N; ++n, sums += kBlock) {
    store_block(state, {at.image, at.pixel, at.skip, at.block + n}, pixels, f,
                [=](Index p) __attribute__((always_inline)) { return load(sums + p * N * kBlock); });
  }
}

// Floats of a lane rise or fall with its sums: the least and the greatest sum have them all between them.
// Padding lanes are 0.
template <int P, int N>
[[gnu::always_inline]] inline void measure_tile(const Int8EpilogueState& state, const I32 (&sums)[P][N],
                                                const TilePlace& at) {
  const TileFloats<N> numbers(state, at);
  const Clamp f(state);
  MinMax min_max;
  for_each<N>([&](auto n) __attribute__((always_inline)) {
    I32 low = sums[0][n];
    I32 high = low;
    for_each<P>([&](auto p) __attribute__((always_inline)) {
      low = min(low, sums[p][n]);
      high = max(high, sums[p][n]);
    });
    min_max.see(f(numbers.unbound(low, n)));
    min_max.see(f(numbers.unbound(high, n)));
  });
  min_max.keep(state.args->epilogue.min_max);
}

// Quotients by the out_scale. As in layers/quantize.inl, products with its inverse differ from them by less
// than 3·2^-24 of them, and no quotient that counts is above 256: both round alike but within 2^-14 of a tie,
// and where the inverse is not a normal number.
struct Quotients {
  explicit Quotients(const Int8EpilogueState& state)
      : out_scale(splat(state.args->epilogue.out_scale)),
        inverse(splat(state.inverse)),
        high(splat(state.high)) {
    const float size = state.args->epilogue.out_scale;
    gap = splat(size > 1e-37f && size < 1e37f ? 0.0f : 1.0f);
  }
  [[nodiscard, gnu::always_inline]] I32 by_inverse(F32 x) {
    x = min(high, x * inverse);
    const I32 whole = nearest(x);
    gap = max(abs(x - to_float(whole)), gap);
    return whole;
  }
  [[nodiscard, gnu::always_inline]] I32 by_division(F32 x) const { return nearest(min(high, x / out_scale)); }
  [[nodiscard]] bool away_from_ties() const { return max_of(gap) <= 0.5f - 1.0f / 16384.0f; }

  F32 out_scale, inverse, high, gap;
};

// Int8 values keep the order of floats: those of the bounds bound them.
template <int N>
void quantize_floats(const Int8EpilogueState& state, const std::int32_t* sums, const TilePlace& at,
                     Index pixels) {
  const Int8ConvArgs& args = *state.args;
  const TileFloats<N> numbers(state, at);
  Quotients quotients(state);
  const Int8Range range = state.range;
  const Index left = state.filters - at.block * kBlock;
  const Index bytes = left < N * kBlock ? left : N * kBlock;
  std::uint8_t* const dst = static_cast<std::uint8_t*>(args.dst) + at.image * args.dst_image +
                            at.pixel * args.dst_pixel + at.block * kBlock;
  const auto run = [&](auto&& level) __attribute__((always_inline)) {
    for (Index p = 0; p < pixels; p += kTogether<N>) {
      const auto count = static_cast<int>(pixels - p < kTogether<N> ? pixels - p : kTogether<N>);
      I32 levels[kPacked];
      for_each<kPacked>([&](auto i) __attribute__((always_inline)) {
        constexpr int kPixel = decltype(i)::value / N;
        if constexpr (kPixel < kTogether<N>) {
          const Index q = kPixel < count ? p + kPixel : p;
          levels[i] = level(numbers.unbound(load(sums + (q * N + i % N) * kBlock), i % N));
        } else {
          levels[i] = levels[0];
        }
      });
      store_levels<N>(dst + p * args.dst_pixel, args.dst_pixel, at.skip - p, count, bytes,
                      in_order(int8_bytes(levels, range)));
    }
  };
  run([&](F32 x) __attribute__((always_inline)) { return quotients.by_inverse(x); });
  if (!quotients.away_from_ties()) [[unlikely]]
    run([&](F32 x) __attribute__((always_inline)) { return quotients.by_division(x); });
}

// Calls body(function of a F32) for the activation, which is applied in registers.
template <class Body>
[[gnu::always_inline]] inline void with_activation(const Int8EpilogueState& state, const Body& body) {
  using enum Function;
  switch (state.args->epilogue.activation.function) {
    case silu:
      return body(InRegisters<silu>(state));
    case hard_swish:
      return body(InRegisters<hard_swish>(state));
    case leaky_relu:
      return body(InRegisters<leaky_relu>(state));
    default:
      return body(Clamp(state));
  }
}

// Results whose activation is applied in registers.
template <int N>
[[gnu::noinline]] void store_tile_floats(const Int8EpilogueState& state, const std::int32_t* sums,
                                         const TilePlace& at, Index pixels) {
  if (state.args->epilogue.out_scale != 0.0f) return quantize_floats<N>(state, sums, at, pixels);
  with_activation(state, [&](const auto& f)
                             __attribute__((always_inline)) { store_floats<N>(state, sums, at, pixels, f); });
}

}  // namespace
}  // namespace rdquant::runtime::kernels
