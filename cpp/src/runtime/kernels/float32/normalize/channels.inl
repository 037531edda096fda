// Moments of channels, and what a normalization does to each of them. Included by normalize.inl.
#pragma once

#include "runtime/kernels/float32/math.inl"
#include "runtime/kernels/float32/normalize/normalize.hpp"

namespace rdquant::runtime::kernels {
namespace {

constexpr Index kPixels = 128;        // of a block that are read again from the first cache
constexpr Index kRun = 128 * kBlock;  // the same of floats of one channel
constexpr int kChains = 4;            // sums side by side, each of which waits for its last addition

// body(F32&... sums) for n vectors, in kChains independent sums; what they add up to is in the first.
template <int Sums, class Body>
[[gnu::always_inline]] inline void add_up(F32 (&total)[Sums], Index n, Body body) {
  F32 sums[kChains][Sums];
  for (auto& chain : sums) {
    for (F32& sum : chain) sum = splat(0.0f);
  }
  Index i = 0;
  for (; i + kChains <= n; i += kChains) {
    for_each<kChains>([&](auto c) __attribute__((always_inline)) { body(i + c, sums[c]); });
  }
  for (; i < n; ++i) body(i, sums[0]);
  for (int s = 0; s < Sums; ++s) total[s] = (sums[0][s] + sums[1][s]) + (sums[2][s] + sums[3][s]);
}

// Joins the moments of `more` numbers to those of `count` (Chan, Golub, LeVeque 1979).
inline void join(Moments& all, double count, double mean, double squares, double more) {
  const double difference = mean - all.mean;
  all.mean += difference * (more / (count + more));
  all.squares += squares + difference * difference * (count * more / (count + more));
}

// Of a run's numbers less `shift`, about their mean: what rounding left of `shift` is added to it again.
inline Moments shifted(float shift, double sum, double squares, double count) {
  return {static_cast<double>(shift) + sum / count, squares - sum * sum / count};
}

Moments moments(const float* src, Index n) {
  Moments all;
  for (Index first = 0; first < n; first += kRun) {
    const float* const x = src + first;
    const Index count = n - first < kRun ? n - first : kRun, vectors = count / kBlock;
    const auto numbers = static_cast<double>(count);
    F32 plain[1];
    add_up(plain, vectors, [&](Index i, F32* s) { s[0] = s[0] + load(x + i * kBlock); });
    float total = sum(plain[0]);
    for (Index i = vectors * kBlock; i < count; ++i) total += x[i];
    const float mean = total / static_cast<float>(count);
    F32 about[2];
    add_up(about, vectors, [&](Index i, F32* s) {
      const F32 d = load(x + i * kBlock) - splat(mean);
      s[0] = s[0] + d;
      s[1] = fma(d, d, s[1]);
    });
    float rest = sum(about[0]), squares = sum(about[1]);
    for (Index i = vectors * kBlock; i < count; ++i) {
      rest += x[i] - mean;
      squares += (x[i] - mean) * (x[i] - mean);
    }
    const Moments run = shifted(mean, static_cast<double>(rest), static_cast<double>(squares), numbers);
    join(all, static_cast<double>(first), run.mean, run.squares, numbers);
  }
  return all;
}

void block_moments(const float* src, Index area, Moments* made, Index begin, Index end) {
  for (Index block = begin; block < end; ++block) {
    Moments all[kBlock];
    for (Index first = 0; first < area; first += kPixels) {
      const float* const x = src + (block * area + first) * kBlock;
      const Index count = area - first < kPixels ? area - first : kPixels;
      F32 plain[1], about[2];
      add_up(plain, count, [&](Index i, F32* s) { s[0] = s[0] + load(x + i * kBlock); });
      const F32 mean = plain[0] * splat(1.0f / static_cast<float>(count));
      add_up(about, count, [&](Index i, F32* s) {
        const F32 d = load(x + i * kBlock) - mean;
        s[0] = s[0] + d;
        s[1] = fma(d, d, s[1]);
      });
      float means[kBlock], rests[kBlock], squares[kBlock];
      store(means, mean);
      store(rests, about[0]);
      store(squares, about[1]);
      const auto before = static_cast<double>(first), now = static_cast<double>(count);
      for (Index lane = 0; lane < kBlock; ++lane) {
        const Moments run =
            shifted(means[lane], static_cast<double>(rests[lane]), static_cast<double>(squares[lane]), now);
        join(all[lane], before, run.mean, run.squares, now);
      }
    }
    for (Index lane = 0; lane < kBlock; ++lane) made[block * kBlock + lane] = all[lane];
  }
}

// Limits that an activation's first part clamps to; what is left of the activation.
struct Finish {
  F32 low = splat(-__builtin_inff()), high = splat(__builtin_inff());
  Activation rest;

  explicit Finish(const Activation& f) : rest(f) {
    const bool clamps = f.function == Function::relu || f.function == Function::clip;
    if (clamps) low = splat(f.function == Function::relu ? 0.0f : f.alpha);
    if (f.function == Function::clip) high = splat(f.beta);
    if (clamps) rest.function = Function::none;
  }
};

// n floats of one channel, or of one block.
template <bool Adds>
inline void scale_run(F32 mean, F32 factor, F32 bias, const Finish& finish, const float* x,
                      const float* residual, float* y, Index n) {
  const auto scaled = [&](F32 v, auto added) {
    F32 z = fma(v - mean, factor, bias);
    if constexpr (Adds) z = z + added();
    return clamp(z, finish.low, finish.high);
  };
  Index i = 0;
  for (; i + kBlock <= n; i += kBlock) store(y + i, scaled(load(x + i), [&] { return load(residual + i); }));
  if (i < n) {
    const F32 z = scaled(load_some(x + i, n - i), [&] { return load_some(residual + i, n - i); });
    store_some(y + i, z, n - i);
  }
  if (finish.rest.function != Function::none) apply_all(finish.rest, y, y, n);
}

void scale(const ScalingArgs& args, const float* src, float* dst, Index area, Index begin, Index end) {
  const Finish finish(args.activation);
  const bool adds = args.residual != nullptr;
  for (Index channel = begin; channel < end; ++channel) {
    const F32 mean = splat(args.mean[channel]), factor = splat(args.factor[channel]),
              bias = splat(args.bias[channel]);
    for (Index first = 0; first < area; first += kRun) {
      const Index at = channel * area + first, count = area - first < kRun ? area - first : kRun;
      (adds ? scale_run<true> : scale_run<false>)(mean, factor, bias, finish, src + at,
                                                  adds ? args.residual + at : nullptr, dst + at, count);
    }
  }
}

void scale_blocks(const ScalingArgs& args, const float* src, float* dst, Index area, Index begin, Index end) {
  const Finish finish(args.activation);
  const bool adds = args.residual != nullptr;
  for (Index block = begin; block < end; ++block) {
    const F32 mean = load(args.mean + block * kBlock), factor = load(args.factor + block * kBlock),
              bias = load(args.bias + block * kBlock);
    const Index real = args.channels - block * kBlock;
    const bool clear = real < kBlock && !keeps_zero(args.activation);
    for (Index first = 0; first < area; first += kPixels) {
      const Index at = (block * area + first) * kBlock;
      const Index count = (area - first < kPixels ? area - first : kPixels) * kBlock;
      float* const y = dst + at;
      (adds ? scale_run<true> : scale_run<false>)(mean, factor, bias, finish, src + at,
                                                  adds ? args.residual + at : nullptr, y, count);
      if (!clear) continue;
      for (Index i = 0; i < count; i += kBlock) store(y + i, load_some(y + i, real));
    }
  }
}

}  // namespace
}  // namespace rdquant::runtime::kernels
