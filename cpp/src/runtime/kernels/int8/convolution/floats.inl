// Float32 results of a tile in one pass over its sums: stored, or measured only, or made levels of a range
// that is known.
#pragma once

#include "runtime/kernels/int8/convolution/epilogue.inl"
#include "runtime/kernels/int8/convolution/pack.inl"

namespace rdquant::runtime::kernels {
namespace {

// Activations that are applied in registers.
struct Clamp {
  explicit Clamp(const IntegerFinisher& finisher)
      : low(splat(finisher.float_low)), high(splat(finisher.float_high)) {}
  [[nodiscard, gnu::always_inline]] Vec operator()(Vec x) const { return clamp(x, low, high); }
  Vec low, high;
};
template <Function Name>
struct Quick {
  explicit Quick(const IntegerFinisher& finisher) : alpha(splat(finisher.args->finish.activation.alpha)) {}
  [[nodiscard, gnu::always_inline]] Vec operator()(Vec x) const { return apply<Name>(x, alpha, alpha); }
  Vec alpha;
};

// x / (1 + 2^t), t = −x·log2(e). The fraction of t goes through a polynomial that is within 7.5e-8 of the
// power (minimax on −1/2..1/2); bounds keep what is far out from becoming subnormal, which is slow: below −79
// the result is 0 to float32.
template <>
struct Quick<Function::silu> {
  explicit Quick(const IntegerFinisher& /*finisher*/) {}
  [[nodiscard, gnu::always_inline]] Vec operator()(Vec x) const {
    x = max(splat(-79.0f), x);
    const Vec t = max(splat(-115.0f), x * splat(-1.44269504f));
    const Vec whole = round(t);
    const Vec r = t - whole;
    Vec p = splat(1.32764725e-3f);
    p = fma(p, r, splat(9.67554189e-3f));
    p = fma(p, r, splat(5.55071309e-2f));
    p = fma(p, r, splat(2.40221202e-1f));
    p = fma(p, r, splat(6.93146944e-1f));
    p = fma(p, r, splat(1.00000012f));
    return x * inverse(splat(1.0f) + scale(p, whole));
  }
};

// Block numbers not above and not below those seen, 0 among them; what is not a number is passed over.
struct Extremes {
  Vec least = splat(0.0f), greatest = splat(0.0f);
  [[gnu::always_inline]] void see(Vec x) {
    least = min(x, least);
    greatest = max(x, greatest);
  }
  void keep(float* extremes) const {
    if (extremes == nullptr) return;
    store(extremes, min(least, load(extremes)));
    store(extremes + kBlock, max(greatest, load(extremes + kBlock)));
  }
};

// Results of N blocks of a tile.
template <int N>
struct TileNumbers {
  TileNumbers(const IntegerFinisher& finisher, const TilePlace& at) : plane(finisher.plane) {
    const IntegerFinish& f = finisher.args->finish;
    for (int n = 0; n < N; ++n) {
      multipliers[n] = block_multipliers(f, at.block + n);
      bias[n] = f.float_bias == nullptr ? splat(-0.0f) : load(f.float_bias + (at.block + n) * kBlock);
    }
    if (f.float_residual == nullptr) return;
    (f.residual_last ? last : first) =
        f.float_residual + at.image * f.float_residual_image + at.block * plane + at.pixel * kBlock;
  }

  // Neither residual nor activation.
  [[nodiscard, gnu::always_inline]] Vec unbound(Ints sums, int n) const {
    return to_float(sums) * multipliers[n] + bias[n];
  }
  template <class F>
  [[nodiscard, gnu::always_inline]] Vec at(Ints sums, Index p, int n, const F& f) const {
    Vec x = unbound(sums, n);
    if (first != nullptr) x = x + load(first + n * plane + p * kBlock);
    x = f(x);
    return last == nullptr ? x : x + load(last + n * plane + p * kBlock);
  }

  Vec multipliers[N], bias[N];
  const float *first = nullptr, *last = nullptr;  // residual, added before the activation or after it
  Index plane;
};

// Stores one block of a tile; sums(p): those of pixel p.
template <class F, class Sums>
[[gnu::always_inline]] inline void store_block(const IntegerFinisher& finisher, const TilePlace& at,
                                               Index pixels, const F& f, const Sums& sums) {
  const IntegerConvArgs& args = *finisher.args;
  const TileNumbers<1> numbers(finisher, at);
  const Index left = finisher.filters - at.block * kBlock;
  const bool all = finisher.clean || left >= kBlock;
  float* const dst = static_cast<float*>(args.dst) + at.image * args.dst_image + at.block * finisher.plane +
                     at.pixel * kBlock;
  Extremes extremes;
  for (Index p = at.skip; p < pixels; ++p) {
    Vec x = numbers.at(sums(p), p, 0, f);
    if (!all) {
      float some[kBlock];
      store(some, x);
      x = load_some(some, left);
    }
    store(dst + p * kBlock, x);
    extremes.see(x);
  }
  extremes.keep(args.finish.extremes);
}

template <int N, class F>
void store_numbers(const IntegerFinisher& finisher, const std::int32_t* sums, const TilePlace& at,
                   Index pixels, const F& f) {
  for (Index n = 0; n < N; ++n, sums += kBlock) {
    store_block(finisher, {at.image, at.pixel, at.skip, at.block + n}, pixels, f,
                [=](Index p) __attribute__((always_inline)) { return load(sums + p * N * kBlock); });
  }
}

// Numbers of a lane rise or fall with its sums: the least and the greatest sum have them all between them.
// Padding lanes are 0.
template <int P, int N>
[[gnu::always_inline]] inline void measure_tile(const IntegerFinisher& finisher, const Ints (&sums)[P][N],
                                                const TilePlace& at) {
  const TileNumbers<N> numbers(finisher, at);
  const Clamp f(finisher);
  Extremes extremes;
  for_each<N>([&](auto n) __attribute__((always_inline)) {
    Ints low = sums[0][n];
    Ints high = low;
    for_each<P>([&](auto p) __attribute__((always_inline)) {
      low = least(low, sums[p][n]);
      high = greatest(high, sums[p][n]);
    });
    extremes.see(f(numbers.unbound(low, n)));
    extremes.see(f(numbers.unbound(high, n)));
  });
  extremes.keep(finisher.args->finish.extremes);
}

// Quotients by the quantum. As in integer_quantize.inl, products with its inverse differ from them by less
// than 3·2^-24 of them, and no quotient that counts is above 256: both round alike but within 2^-14 of a tie,
// and where the inverse is not a normal number.
struct Quotients {
  explicit Quotients(const IntegerFinisher& finisher)
      : quantum(splat(finisher.args->finish.quantum)),
        inverse(splat(finisher.inverse)),
        high(splat(finisher.high)) {
    const float size = finisher.args->finish.quantum;
    gap = splat(size > 1e-37f && size < 1e37f ? 0.0f : 1.0f);
  }
  [[nodiscard, gnu::always_inline]] Ints fast(Vec x) {
    x = min(high, x * inverse);
    const Ints whole = nearest(x);
    gap = max(abs(x - to_float(whole)), gap);
    return whole;
  }
  [[nodiscard, gnu::always_inline]] Ints exact(Vec x) const { return nearest(min(high, x / quantum)); }
  [[nodiscard]] bool trusted() const { return greatest(gap) <= 0.5f - 1.0f / 16384.0f; }

  Vec quantum, inverse, high, gap;
};

// Levels keep the order of numbers: those of the bounds bound them.
template <int N>
void quantize_numbers(const IntegerFinisher& finisher, const std::int32_t* sums, const TilePlace& at,
                      Index pixels) {
  const IntegerConvArgs& args = *finisher.args;
  const TileNumbers<N> numbers(finisher, at);
  Quotients quotients(finisher);
  const LevelRange range = finisher.range;
  const Index left = finisher.filters - at.block * kBlock;
  const Index bytes = left < N * kBlock ? left : N * kBlock;
  std::uint8_t* const dst = static_cast<std::uint8_t*>(args.dst) + at.image * args.dst_image +
                            at.pixel * args.dst_pixel + at.block * kBlock;
  const auto run = [&](auto&& level) __attribute__((always_inline)) {
    for (Index p = 0; p < pixels; p += kTogether<N>) {
      const auto count = static_cast<int>(pixels - p < kTogether<N> ? pixels - p : kTogether<N>);
      Ints levels[kPacked];
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
                      in_order(level_bytes(levels, range)));
    }
  };
  run([&](Vec x) __attribute__((always_inline)) { return quotients.fast(x); });
  if (!quotients.trusted()) [[unlikely]]
    run([&](Vec x) __attribute__((always_inline)) { return quotients.exact(x); });
}

// Calls body(function of a Vec) for the activation, which is quick.
template <class Body>
[[gnu::always_inline]] inline void with_quick(const IntegerFinisher& finisher, const Body& body) {
  using enum Function;
  switch (finisher.args->finish.activation.function) {
    case silu:
      return body(Quick<silu>(finisher));
    case hard_swish:
      return body(Quick<hard_swish>(finisher));
    case leaky_relu:
      return body(Quick<leaky_relu>(finisher));
    default:
      return body(Clamp(finisher));
  }
}

// Results whose activation is quick.
template <int N>
[[gnu::noinline]] void finish_numbers(const IntegerFinisher& finisher, const std::int32_t* sums,
                                      const TilePlace& at, Index pixels) {
  if (finisher.args->finish.quantum != 0.0f) return quantize_numbers<N>(finisher, sums, at, pixels);
  with_quick(finisher, [&](const auto& f) __attribute__((always_inline)) {
    store_numbers<N>(finisher, sums, at, pixels, f);
  });
}

}  // namespace
}  // namespace rdquant::runtime::kernels
