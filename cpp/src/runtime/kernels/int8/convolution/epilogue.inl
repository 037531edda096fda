// What follows the sums of a convolution of levels, by the rule in integer.hpp.
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

struct IntegerFinisher {
  const IntegerConvArgs* args;
  LevelRange range;
  float high;  // highest level, counted from zero
  bool sure;   // levels are made by product and clamp, below 2^31; table and residual follow
  bool fast;   // the same, without a residual and but for a table that permutes
  Translation table;
  bool activate;                // the activation is more than a clamp that the range makes
  Index filters;                // of all
  Index plane;                  // floats from one block to the next
  float float_low, float_high;  // clamp of float32 results
  bool quick;                   // float32 results that integer_numbers.inl makes
  float inverse;                // of the quantum
  bool clean;                   // padding lanes of float32 results are 0 by themselves
};

inline bool is_clamp(Function f) { return f == Function::none || f == Function::relu || f == Function::clip; }

// Whether the function is applied in registers to float32 results; the others are in a pass of their own.
inline bool is_quick(Function f) {
  return is_clamp(f) || f == Function::leaky_relu || f == Function::hard_swish || f == Function::silu;
}

// Whether float(sum)·multiplier is less than 2^31 in size for every sum that the taps and the bias can make.
inline bool are_small(const ConvShape& s, const IntegerConvArgs& args) {
  constexpr float kMost = 2147480000.0f;
  const IntegerFinish& f = args.finish;
  const Vec taps = splat(static_cast<float>(s.c / s.groups * s.kh * s.kw) * (255.0f * 128.0f));
  Vec most = splat(0.0f);
  Vec not_numbers = splat(0.0f);
  for (Index i = 0; i < s.k; i += kBlock) {
    const Vec x = load(f.multipliers + i) * splat(f.multiplier);
    const Vec bound = args.bias == nullptr ? taps : taps + abs(to_float(load(args.bias + i)));
    most = max(abs(x) * min(splat(kMost), bound), most);
    not_numbers = not_numbers + (x - x);
  }
  return sum(not_numbers) == 0.0f && greatest(most) < kMost;
}

// Whether every sum with a residual is less than 2^31 in size.
inline bool are_small(const LevelSum& sum) {
  constexpr float kMost = 1 << 21;  // times two levels' distance from zero, below 2^9 each
  return -kMost < sum.a_scale && sum.a_scale < kMost && -kMost < sum.b_scale && sum.b_scale < kMost;
}

// The level of a bound of float32 results.
inline std::int32_t bound_level(const IntegerFinish& f, float bound) {
  if (bound == -__builtin_inff()) return f.low;
  if (bound == __builtin_inff()) return f.high;
  const Vec low = splat(static_cast<float>(f.low - f.zero));
  const Vec high = splat(static_cast<float>(f.high - f.zero));
  std::int32_t levels[kBlock];
  store(levels, nearest(clamp(splat(bound) / splat(f.quantum), low, high)) + splat(f.zero));
  return levels[0];
}

inline IntegerFinisher make_finisher(const ConvShape& shape, const IntegerConvArgs& args) {
  const IntegerFinish& f = args.finish;
  IntegerFinisher finisher = {};
  finisher.args = &args;
  finisher.range = level_range(f.zero, f.low, f.high);
  finisher.high = static_cast<float>(f.high - f.zero);
  finisher.activate = !is_clamp(f.activation.function);
  finisher.sure = !f.to_float && f.quantum == 0.0f && !finisher.activate && f.scale == 1.0f &&
                  f.float_bias == nullptr && are_small(shape, args) &&
                  (f.residual == nullptr || are_small(f.sum));
  finisher.table = translation(f.table);
  finisher.fast = finisher.sure && f.residual == nullptr && (f.table == nullptr || finisher.table.permutes);
  finisher.filters = shape.k;
  finisher.plane = shape.oh() * shape.ow() * kBlock;
  finisher.float_low = -__builtin_inff();
  finisher.float_high = __builtin_inff();
  if (f.activation.function == Function::relu) finisher.float_low = 0.0f;
  if (f.activation.function == Function::clip) {
    finisher.float_low = f.activation.alpha;
    finisher.float_high = f.activation.beta;
  }
  if (f.quantum != 0.0f) {
    finisher.inverse = 1.0f / f.quantum;
    finisher.range =
        level_range(f.zero, bound_level(f, finisher.float_low), bound_level(f, finisher.float_high));
  }
  finisher.quick = (f.to_float || f.quantum != 0.0f) && is_quick(f.activation.function);
  finisher.clean = shape.k % kBlock == 0 || keeps_zero(f.activation);
  return finisher;
}

inline Vec block_multipliers(const IntegerFinish& f, Index block) {
  return load(f.multipliers + block * kBlock) * splat(f.multiplier);
}

// Applies the activation to the numbers of one block: `pixels` of them, kBlock apart.
inline void activate_block(const IntegerFinisher& finisher, float* values, Index pixels, Index block) {
  const Activation& f = finisher.args->finish.activation;
  if (f.function == Function::prelu) {
    const Vec slope = load(f.slopes + block * kBlock);
    for (Index i = 0; i < pixels * kBlock; i += kBlock) {
      const Vec x = load(values + i);
      store(values + i, if_negative(x, slope * x, x));
    }
  } else if (finisher.activate) {
    apply_all(f, values, values, pixels * kBlock);
  }
}

// Bytes as the int8 that they are.
inline Ints int8_of(Ints bytes) { return bytes - clamp(bytes - splat(127), 0, 1) * splat(256); }

// A sum of two arrays' levels, one block of one pixel.
inline Ints sum_levels(const LevelSum& sum, Ints a, Ints b) {
  const Vec x = to_float(a - splat(sum.a_zero)) * splat(sum.a_scale);
  const Vec y = to_float(b - splat(sum.b_zero)) * splat(sum.b_scale);
  const Ints levels = nearest(min(splat(static_cast<float>(sum.high - sum.zero)), x + y));
  return clamp(levels, sum.low - sum.zero, sum.high - sum.zero) + splat(sum.zero);
}

// Numbers of one block become levels; table and residual follow.
inline void store_block_levels(const IntegerFinisher& finisher, const float* values, const TilePlace& at,
                               Index pixels, Index block) {
  const IntegerConvArgs& args = *finisher.args;
  const IntegerFinish& f = args.finish;
  const Index left = finisher.filters - block * kBlock;
  const Index lanes = left < kBlock ? left : kBlock;
  std::uint8_t* dst = static_cast<std::uint8_t*>(args.dst) + at.image * args.dst_image +
                      (at.pixel + at.skip) * args.dst_pixel + block * kBlock;
  const std::uint8_t* other = f.residual == nullptr
                                  ? nullptr
                                  : f.residual + at.image * f.residual_image +
                                        (at.pixel + at.skip) * f.residual_pixel + block * kBlock;
  for (Index p = at.skip; p < pixels; ++p, dst += args.dst_pixel) {
    const Vec x = load(values + p * kBlock) * splat(f.scale);
    Ints levels =
        clamp(nearest(min(splat(finisher.high), x)), f.low - f.zero, f.high - f.zero) + splat(f.zero);
    if (f.table != nullptr) levels = lookup(f.table, levels);
    if (other != nullptr) {
      if (f.table != nullptr && f.sum.a_signed) levels = int8_of(levels);
      levels = sum_levels(f.sum, levels, extend(other, f.sum.b_signed));
      other += f.residual_pixel;
    }
    store_bytes(dst, levels, lanes);
  }
}

// Clears the padding lanes.
inline void store_block_floats(const IntegerFinisher& finisher, float* values, const TilePlace& at,
                               Index pixels, Index block) {
  const IntegerConvArgs& args = *finisher.args;
  const IntegerFinish& f = args.finish;
  const Index left = finisher.filters - block * kBlock;
  const Index place = block * finisher.plane + at.pixel * kBlock;
  float* const dst = static_cast<float*>(args.dst) + at.image * args.dst_image + place;
  const float* const other = f.float_residual == nullptr || !f.residual_last
                                 ? nullptr
                                 : f.float_residual + at.image * f.float_residual_image + place;
  const Vec low = splat(finisher.float_low);
  const Vec high = splat(finisher.float_high);
  Vec least = splat(0.0f);
  Vec greatest = splat(0.0f);
  for (Index i = at.skip * kBlock; i < pixels * kBlock; i += kBlock) {
    Vec x = clamp(load(values + i), low, high);
    if (other != nullptr) x = x + load(other + i);
    if (left < kBlock) {
      store(values + i, x);
      x = load_some(values + i, left);
    }
    store(dst + i, x);
    least = min(x, least);
    greatest = max(x, greatest);
  }
  if (f.extremes == nullptr) return;
  store(f.extremes, min(least, load(f.extremes)));
  store(f.extremes + kBlock, max(greatest, load(f.extremes + kBlock)));
}

// Float32 results whose activation is a clamp: one pass over the sums.
template <class Other>
inline void finish_clamped(const IntegerFinisher& finisher, const std::int32_t* sums, const TilePlace& at,
                           Index pixels, Index block, Index stride, Other other) {
  const IntegerConvArgs& args = *finisher.args;
  const IntegerFinish& f = args.finish;
  const Index left = finisher.filters - block * kBlock;
  const Vec multipliers = block_multipliers(f, block);
  const Vec bias = f.float_bias == nullptr ? splat(-0.0f) : load(f.float_bias + block * kBlock);
  const Vec low = splat(finisher.float_low);
  const Vec high = splat(finisher.float_high);
  float* const dst =
      static_cast<float*>(args.dst) + at.image * args.dst_image + block * finisher.plane + at.pixel * kBlock;
  Vec least = splat(0.0f);
  Vec greatest = splat(0.0f);
  for (Index p = at.skip; p < pixels; ++p) {
    Vec x = other(to_float(load(sums + p * stride * kBlock)) * multipliers + bias, p, low, high);
    if (left < kBlock) {
      float some[kBlock];
      store(some, x);
      x = load_some(some, left);
    }
    store(dst + p * kBlock, x);
    least = min(x, least);
    greatest = max(x, greatest);
  }
  if (f.extremes == nullptr) return;
  store(f.extremes, min(least, load(f.extremes)));
  store(f.extremes + kBlock, max(greatest, load(f.extremes + kBlock)));
}

[[gnu::noinline]] void finish_clamped(const IntegerFinisher& finisher, const std::int32_t* sums,
                                      const TilePlace& at, Index pixels, Index blocks, Index stride) {
  const IntegerFinish& f = finisher.args->finish;
  for (Index n = 0; n < blocks; ++n, sums += kBlock) {
    const Index block = at.block + n;
    const float* const residual =
        f.float_residual + at.image * f.float_residual_image + block * finisher.plane + at.pixel * kBlock;
    if (f.float_residual == nullptr) {
      finish_clamped(finisher, sums, at, pixels, block, stride,
                     [](Vec x, Index, Vec low, Vec high) { return clamp(x, low, high); });
    } else if (f.residual_last) {
      finish_clamped(finisher, sums, at, pixels, block, stride, [=](Vec x, Index p, Vec low, Vec high) {
        return clamp(x, low, high) + load(residual + p * kBlock);
      });
    } else {
      finish_clamped(finisher, sums, at, pixels, block, stride, [=](Vec x, Index p, Vec low, Vec high) {
        return clamp(x + load(residual + p * kBlock), low, high);
      });
    }
  }
}

// All but the fast way: sums [pixels][stride][kBlock] of a tile, in the order of filters, the first `blocks`
// of each `stride` real.
[[gnu::noinline]] void finish_any(const IntegerFinisher& finisher, const std::int32_t* sums,
                                  const TilePlace& at, Index pixels, Index blocks, Index stride) {
  const IntegerFinish& f = finisher.args->finish;
  if (f.to_float && !finisher.activate) return finish_clamped(finisher, sums, at, pixels, blocks, stride);
  alignas(64) float values[kTileSums * kBlock];
  for (Index n = 0; n < blocks; ++n) {
    const Index block = at.block + n;
    const Vec multipliers = block_multipliers(f, block);
    const float* before = nullptr;
    if (f.to_float && f.float_residual != nullptr && !f.residual_last) {
      before =
          f.float_residual + at.image * f.float_residual_image + block * finisher.plane + at.pixel * kBlock;
    }
    for (Index p = 0; p < pixels; ++p) {
      Vec x = to_float(load(sums + (p * stride + n) * kBlock)) * multipliers;
      if (f.float_bias != nullptr) x = x + load(f.float_bias + block * kBlock);
      if (before != nullptr && p >= at.skip) x = x + load(before + p * kBlock);
      store(values + p * kBlock, x);
    }
    activate_block(finisher, values, pixels, block);
    if (f.to_float) {
      store_block_floats(finisher, values, at, pixels, block);
    } else {
      store_block_levels(finisher, values, at, pixels, block);
    }
  }
}

}  // namespace
}  // namespace rdquant::runtime::kernels
