// What follows the sums of an int8 convolution, by the rule in kernels.hpp.
#pragma once

#include "runtime/kernels/float32/math.inl"
#include "runtime/kernels/int8/convolution/translate.inl"
#include "runtime/kernels/int8/kernels.hpp"

namespace rdquant::runtime::kernels {
namespace {

// The most sums that a tile has, in blocks.
constexpr Index kTileSums = 32;

// Where sums of a tile go. Pixels lie side by side in a row (of the image, where that is one row).
struct TilePlace {
  Index image, pixel;  // its first, from the first of the image
  Index skip;          // pixels before those to store
  Index block;         // its first block of filters
};

struct Int8EpilogueState {
  const Int8ConvArgs* args;
  Int8Range range;
  float high;               // highest int8 value, counted from zero
  bool scales_and_clamps;   // int8 values are a product, below 2^31, and a clamp; table and residual follow
  bool stays_in_registers;  // the same, without a residual, and no table but one that permutes
  Translation table;
  bool activate;                // the activation is more than a clamp that the range makes
  Index filters;                // of all
  Index plane;                  // floats from one block to the next
  Index pixel;                  // and from one pixel to the next
  float float_low, float_high;  // clamp of float32 results
  bool floats_in_registers;     // float32 results whose activation is applied in registers
  float inverse;                // of the out_scale
  bool padding_stays_zero;      // padding lanes of float32 results are 0 by themselves
};

inline bool is_clamp(Function f) { return f == Function::none || f == Function::relu || f == Function::clip; }

// Whether the function is applied in registers to float32 results; the others are in a pass of their own.
inline bool runs_in_registers(Function f) {
  return is_clamp(f) || f == Function::leaky_relu || f == Function::hard_swish || f == Function::silu;
}

// Whether float(sum)·multiplier is less than 2^31 in size for every sum that the taps and the bias can make.
inline bool are_small(const ConvShape& s, const Int8ConvArgs& args) {
  constexpr float kMost = 2147480000.0f;
  const Int8Epilogue& f = args.epilogue;
  const F32 taps = splat(static_cast<float>(s.c / s.groups * s.kh * s.kw) * (255.0f * 128.0f));
  F32 most = splat(0.0f);
  F32 not_numbers = splat(0.0f);
  for (Index i = 0; i < s.k; i += kBlock) {
    const F32 x = load(f.multipliers + i) * splat(f.multiplier);
    const F32 bound = args.bias == nullptr ? taps : taps + abs(to_float(load(args.bias + i)));
    most = max(abs(x) * min(splat(kMost), bound), most);
    not_numbers = not_numbers + (x - x);
  }
  return sum(not_numbers) == 0.0f && max_of(most) < kMost;
}

// Whether every sum with a residual is less than 2^31 in size.
inline bool are_small(const Int8Sum& sum) {
  constexpr float kMost = 1 << 21;  // times two int8 values' distance from zero, below 2^9 each
  return -kMost < sum.a_scale && sum.a_scale < kMost && -kMost < sum.b_scale && sum.b_scale < kMost;
}

// The int8 value of a bound of float32 results.
inline std::int32_t bound_level(const Int8Epilogue& f, float bound) {
  if (bound == -__builtin_inff()) return f.low;
  if (bound == __builtin_inff()) return f.high;
  const F32 low = splat(static_cast<float>(f.low - f.zero));
  const F32 high = splat(static_cast<float>(f.high - f.zero));
  std::int32_t levels[kBlock];
  store(levels, nearest(clamp(splat(bound) / splat(f.out_scale), low, high)) + splat(f.zero));
  return levels[0];
}

inline Int8EpilogueState make_int8_epilogue(const ConvShape& shape, const Int8ConvArgs& args) {
  const Int8Epilogue& f = args.epilogue;
  Int8EpilogueState state = {};
  state.args = &args;
  state.range = int8_range(f.zero, f.low, f.high);
  state.high = static_cast<float>(f.high - f.zero);
  state.activate = !is_clamp(f.activation.function);
  state.scales_and_clamps = !f.to_float && f.out_scale == 0.0f && !state.activate && f.scale == 1.0f &&
                            f.float_bias == nullptr && are_small(shape, args) &&
                            (f.residual == nullptr || are_small(f.sum));
  state.table = translation(f.table);
  state.stays_in_registers =
      state.scales_and_clamps && f.residual == nullptr && (f.table == nullptr || state.table.in_registers);
  state.filters = shape.k;
  state.plane = args.float_block != 0 ? args.float_block : shape.oh() * shape.ow() * kBlock;
  state.pixel = args.float_pixel != 0 ? args.float_pixel : kBlock;
  state.float_low = -__builtin_inff();
  state.float_high = __builtin_inff();
  if (f.activation.function == Function::relu) state.float_low = 0.0f;
  if (f.activation.function == Function::clip) {
    state.float_low = f.activation.alpha;
    state.float_high = f.activation.beta;
  }
  if (f.out_scale != 0.0f) {
    state.inverse = 1.0f / f.out_scale;
    state.range = int8_range(f.zero, bound_level(f, state.float_low), bound_level(f, state.float_high));
  }
  state.floats_in_registers = (f.to_float || f.out_scale != 0.0f) && runs_in_registers(f.activation.function);
  state.padding_stays_zero = shape.k % kBlock == 0 || keeps_zero(f.activation);
  return state;
}

inline F32 block_multipliers(const Int8Epilogue& f, Index block) {
  return load(f.multipliers + block * kBlock) * splat(f.multiplier);
}

// Applies the activation to the floats of one block: `pixels` of them, kBlock apart.
inline void activate_block(const Int8EpilogueState& state, float* values, Index pixels, Index block) {
  const Activation& f = state.args->epilogue.activation;
  if (f.function == Function::prelu) {
    const F32 slope = load(f.slopes + block * kBlock);
    for (Index i = 0; i < pixels * kBlock; i += kBlock) {
      const F32 x = load(values + i);
      store(values + i, if_negative(x, slope * x, x));
    }
  } else if (state.activate) {
    apply_all(f, values, values, pixels * kBlock);
  }
}

// Bytes as the int8 that they are.
inline I32 int8_of(I32 bytes) { return bytes - clamp(bytes - splat(127), 0, 1) * splat(256); }

// A sum of two arrays' int8 values, one block of one pixel.
inline I32 sum_levels(const Int8Sum& sum, I32 a, I32 b) {
  const F32 x = to_float(a - splat(sum.a_zero)) * splat(sum.a_scale);
  const F32 y = to_float(b - splat(sum.b_zero)) * splat(sum.b_scale);
  const I32 levels = nearest(min(splat(static_cast<float>(sum.high - sum.zero)), x + y));
  return clamp(levels, sum.low - sum.zero, sum.high - sum.zero) + splat(sum.zero);
}

// Floats of one block become int8 values; table and residual follow.
inline void store_block_levels(const Int8EpilogueState& state, const float* values, const TilePlace& at,
                               Index pixels, Index block) {
  const Int8ConvArgs& args = *state.args;
  const Int8Epilogue& f = args.epilogue;
  const Index left = state.filters - block * kBlock;
  const Index lanes = left < kBlock ? left : kBlock;
  std::uint8_t* dst = static_cast<std::uint8_t*>(args.dst) + at.image * args.dst_image +
                      (at.pixel + at.skip) * args.dst_pixel + block * kBlock;
  const std::uint8_t* other = f.residual == nullptr
                                  ? nullptr
                                  : f.residual + at.image * f.residual_image +
                                        (at.pixel + at.skip) * f.residual_pixel + block * kBlock;
  for (Index p = at.skip; p < pixels; ++p, dst += args.dst_pixel) {
    const F32 x = load(values + p * kBlock) * splat(f.scale);
    I32 levels = clamp(nearest(min(splat(state.high), x)), f.low - f.zero, f.high - f.zero) + splat(f.zero);
    if (f.table != nullptr) levels = lookup_bytes(f.table, levels);
    if (other != nullptr) {
      if (f.table != nullptr && f.sum.a_signed) levels = int8_of(levels);
      levels = sum_levels(f.sum, levels, load_bytes(other, f.sum.b_signed));
      other += f.residual_pixel;
    }
    store_some_bytes(dst, levels, lanes);
  }
}

// Clears the padding lanes.
inline void store_block_floats(const Int8EpilogueState& state, float* values, const TilePlace& at,
                               Index pixels, Index block) {
  const Int8ConvArgs& args = *state.args;
  const Int8Epilogue& f = args.epilogue;
  const Index left = state.filters - block * kBlock;
  const Index place = block * state.plane + at.pixel * state.pixel;
  float* const dst = static_cast<float*>(args.dst) + at.image * args.dst_image + place;
  const float* const other = f.float_residual == nullptr || !f.residual_last
                                 ? nullptr
                                 : f.float_residual + at.image * f.float_residual_image + place;
  const F32 low = splat(state.float_low);
  const F32 high = splat(state.float_high);
  F32 least = splat(0.0f);
  F32 greatest = splat(0.0f);
  for (Index p = at.skip; p < pixels; ++p) {
    F32 x = clamp(load(values + p * kBlock), low, high);
    if (other != nullptr) x = x + load(other + p * state.pixel);
    if (left < kBlock) {
      store(values + p * kBlock, x);
      x = load_some(values + p * kBlock, left);
    }
    store(dst + p * state.pixel, x);
    least = min(x, least);
    greatest = max(x, greatest);
  }
  if (f.min_max == nullptr) return;
  store(f.min_max, min(least, load(f.min_max)));
  store(f.min_max + kBlock, max(greatest, load(f.min_max + kBlock)));
}

// Float32 results whose activation is a clamp: one pass over the sums.
template <class Other>
inline void store_clamped(const Int8EpilogueState& state, const std::int32_t* sums, const TilePlace& at,
                          Index pixels, Index block, Index stride, Other other) {
  const Int8ConvArgs& args = *state.args;
  const Int8Epilogue& f = args.epilogue;
  const Index left = state.filters - block * kBlock;
  const F32 multipliers = block_multipliers(f, block);
  const F32 bias = f.float_bias == nullptr ? splat(-0.0f) : load(f.float_bias + block * kBlock);
  const F32 low = splat(state.float_low);
  const F32 high = splat(state.float_high);
  float* const dst = static_cast<float*>(args.dst) + at.image * args.dst_image + block * state.plane +
                     at.pixel * state.pixel;
  F32 least = splat(0.0f);
  F32 greatest = splat(0.0f);
  for (Index p = at.skip; p < pixels; ++p) {
    F32 x = other(to_float(load(sums + p * stride * kBlock)) * multipliers + bias, p, low, high);
    if (left < kBlock) {
      float some[kBlock];
      store(some, x);
      x = load_some(some, left);
    }
    store(dst + p * state.pixel, x);
    least = min(x, least);
    greatest = max(x, greatest);
  }
  if (f.min_max == nullptr) return;
  store(f.min_max, min(least, load(f.min_max)));
  store(f.min_max + kBlock, max(greatest, load(f.min_max + kBlock)));
}

[[gnu::noinline]] void store_clamped(const Int8EpilogueState& state, const std::int32_t* sums,
                                     const TilePlace& at, Index pixels, Index blocks, Index stride) {
  const Int8Epilogue& f = state.args->epilogue;
  for (Index n = 0; n < blocks; ++n, sums += kBlock) {
    const Index block = at.block + n;
    const float* const residual =
        f.float_residual + at.image * f.float_residual_image + block * state.plane + at.pixel * state.pixel;
    if (f.float_residual == nullptr) {
      store_clamped(state, sums, at, pixels, block, stride,
                    [](F32 x, Index, F32 low, F32 high) { return clamp(x, low, high); });
    } else if (f.residual_last) {
      store_clamped(state, sums, at, pixels, block, stride, [=, &state](F32 x, Index p, F32 low, F32 high) {
        return clamp(x, low, high) + load(residual + p * state.pixel);
      });
    } else {
      store_clamped(state, sums, at, pixels, block, stride, [=, &state](F32 x, Index p, F32 low, F32 high) {
        return clamp(x + load(residual + p * state.pixel), low, high);
      });
    }
  }
}

// What is not made in registers: sums [pixels][stride][kBlock] of a tile, in the order of filters, the first `blocks`
// of each `stride` real.
[[gnu::noinline]] void store_any(const Int8EpilogueState& state, const std::int32_t* sums,
                                 const TilePlace& at, Index pixels, Index blocks, Index stride) {
  const Int8Epilogue& f = state.args->epilogue;
  if (f.to_float && !state.activate) return store_clamped(state, sums, at, pixels, blocks, stride);
  alignas(64) float values[kTileSums * kBlock];
  for (Index n = 0; n < blocks; ++n) {
    const Index block = at.block + n;
    const F32 multipliers = block_multipliers(f, block);
    const float* before = nullptr;
    if (f.to_float && f.float_residual != nullptr && !f.residual_last) {
      before =
          f.float_residual + at.image * f.float_residual_image + block * state.plane + at.pixel * state.pixel;
    }
    for (Index p = 0; p < pixels; ++p) {
      F32 x = to_float(load(sums + (p * stride + n) * kBlock)) * multipliers;
      if (f.float_bias != nullptr) x = x + load(f.float_bias + block * kBlock);
      if (before != nullptr && p >= at.skip) x = x + load(before + p * state.pixel);
      store(values + p * kBlock, x);
    }
    activate_block(state, values, pixels, block);
    if (f.to_float) {
      store_block_floats(state, values, at, pixels, block);
    } else {
      store_block_levels(state, values, at, pixels, block);
    }
  }
}

}  // namespace
}  // namespace rdquant::runtime::kernels
