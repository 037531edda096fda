// What follows the sums of a convolution: residual, activation, store.
#pragma once

#include "runtime/kernels/float32/math.inl"

namespace rdquant::runtime::kernels {
namespace {

// A pixel of the padding.
alignas(64) constexpr float kZeros[kBlock] = {};

// How the sums of one convolution become its output. `low` and `high` clamp in registers; every other
// activation runs over the tile after it was stored, while it is in the first cache.
struct Epilogue {
  const ConvArgs* args;
  float low, high;
  Index plane;  // floats from one block of channels to the next
  Index k;      // output channels
  bool heavy;   // the activation is not a clamp
  bool add_first, add_last;
  bool zero_pad;  // padding lanes have to be cleared
};

inline Epilogue make_epilogue(const ConvShape& shape, const ConvArgs& args) {
  const Activation& f = args.activation;
  Epilogue epilogue = {&args,
                       -__builtin_inff(),
                       __builtin_inff(),
                       shape.oh() * shape.ow() * kBlock,
                       shape.k,
                       false,
                       false,
                       false,
                       false};
  if (f.function == Function::relu) epilogue.low = 0.0f;
  if (f.function == Function::clip) {
    epilogue.low = f.alpha;
    epilogue.high = f.beta;
  }
  epilogue.heavy =
      f.function != Function::none && f.function != Function::relu && f.function != Function::clip;
  epilogue.add_first = args.residual != nullptr && !args.residual_last;
  epilogue.add_last = args.residual != nullptr && args.residual_last;
  epilogue.zero_pad = shape.k % kBlock != 0 && !keeps_zero(f);
  return epilogue;
}

// The rest of the work on `pixels` stored pixels of channel block `block`.
[[gnu::noinline]] void second_pass(const Epilogue& epilogue, float* dst, const float* residual, Index pixels,
                                   Index block) {
  const Activation& f = epilogue.args->activation;
  if (f.function == Function::prelu) {
    const F32 slope = load(f.slopes + block * kBlock);
    for (Index i = 0; i < pixels * kBlock; i += kBlock) {
      const F32 x = load(dst + i);
      store(dst + i, if_negative(x, slope * x, x));
    }
  } else if (epilogue.heavy) {
    apply_all(f, dst, dst, pixels * kBlock);
  }
  if (epilogue.zero_pad && (block + 1) * kBlock > epilogue.k) {
    const Index real = epilogue.k - block * kBlock;
    for (Index i = 0; i < pixels * kBlock; i += kBlock) store(dst + i, load_some(dst + i, real));
  }
  if (epilogue.add_last) {
    for (Index i = 0; i < pixels * kBlock; i += kBlock) store(dst + i, load(dst + i) + load(residual + i));
  }
}

// Stores a tile of P pixels × N channel blocks from the pixel `skip` on. dst and residual are at its first
// pixel.
template <int P, int N>
[[gnu::always_inline]] inline void store_tile(const Epilogue& epilogue, const F32 (&sums)[P][N], float* dst,
                                              const float* residual, Index skip, Index block) {
  const F32 low = splat(epilogue.low);
  const F32 high = splat(epilogue.high);
  const auto put = [&](auto more) __attribute__((always_inline)) {
    for_each<N>([&](auto n) __attribute__((always_inline)) {
      for_each<P>([&](auto p) __attribute__((always_inline)) {
        const Index at = n * epilogue.plane + p * kBlock;
        F32 x = sums[p][n];
        if constexpr (decltype(more)::value) {
          if (p < skip) return;
          if (epilogue.add_first) x = x + load(residual + at);
        }
        store(dst + at, clamp(x, low, high));
      });
    });
  };
  if (skip == 0 && !epilogue.add_first) {
    put(std::false_type{});
  } else {
    put(std::true_type{});
  }
  if (epilogue.heavy || epilogue.zero_pad || epilogue.add_last) {
    for (Index n = 0; n < N; ++n) {
      const Index at = n * epilogue.plane + skip * kBlock;
      second_pass(epilogue, dst + at, epilogue.add_last ? residual + at : nullptr, P - skip, block + n);
    }
  }
}

}  // namespace
}  // namespace rdquant::runtime::kernels
