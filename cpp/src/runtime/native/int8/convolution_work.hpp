#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

#include "rdquant/program/evaluate.hpp"
#include "runtime/native/float32/volume.hpp"
#include "runtime/native/int8/int8.hpp"
#include "runtime/native/int8/volume.hpp"

/// What a convolution of levels does when it runs.
namespace rdquant::runtime::native {

/// Levels of uint8 as int8, each less 128.
struct Flip {
  kernels::Index pixels = 0, channels = 0, from_pixel = 0, to_pixel = 0;

  void operator()(const std::uint8_t* from, std::uint8_t* to, int threads) const {
    const auto flip = [](const std::uint8_t* source, std::uint8_t* target, kernels::Index count) {
      for (kernels::Index i = 0; i < count; ++i) target[i] = source[i] ^ 0x80U;
    };
    share(pixels, std::max<kernels::Index>(1, kGrain / to_pixel), threads,
          [&](kernels::Index begin, kernels::Index end) {
            if (from_pixel == to_pixel)
              return flip(from + begin * from_pixel, to + begin * to_pixel, (end - begin) * to_pixel);
            for (kernels::Index p = begin; p < end; ++p)
              flip(from + p * from_pixel, to + p * to_pixel, channels);
          });
  }
};

/// The operands of a level convolution: src, weights, multipliers, dst, and after them those that are given.
/// One that `quantizes` makes levels of its float32 results, of which it never stores any.
struct Int8Work {
  const kernels::Int8Kernels& kernels;
  kernels::Int8Plan plan;
  kernels::Int8ConvArgs fixed;
  bool whole_bias = false, float_bias = false, residual = false, table = false, zero = false, scale = false,
       slopes = false, min_max = false, quantizes = false;
  bool signed_zero = false;
  std::optional<Flip> flip = {};
  std::size_t flipped = 0;                ///< the operand that it writes
  std::size_t scratch = 0;                ///< and that of plan.scratch bytes for each thread
  std::optional<Int8Volume> volume = {};  ///< over three axes
  std::optional<Planes> planes = {};      ///< and of float32 results the planes
  std::size_t gathered = 0;  ///< operands of a volume: gathered rows; planes of floats and of their residual
  int threads = 1;

  void operator()(void* const* operand) const {
    kernels::Int8ConvArgs args = fixed;
    args.src = static_cast<const std::uint8_t*>(operand[0]);
    void* const* const first = operand;
    args.weights = static_cast<const std::byte*>(operand[1]);
    args.epilogue.multipliers = static_cast<const float*>(operand[2]);
    args.dst = operand[3];
    operand += kFixed;
    if (whole_bias) args.bias = static_cast<const std::int32_t*>(*operand++);
    if (float_bias) args.epilogue.float_bias = static_cast<const float*>(*operand++);
    if (residual && args.epilogue.to_float)
      args.epilogue.float_residual = static_cast<const float*>(*operand++);
    if (residual && !args.epilogue.to_float)
      args.epilogue.residual = static_cast<const std::uint8_t*>(*operand++);
    if (table) args.epilogue.table = static_cast<const std::uint8_t*>(*operand++);
    if (zero) args.src_zero = int8_at(*operand++, signed_zero);
    if (scale) args.epilogue.multiplier = *static_cast<const float*>(*operand++);
    if (slopes) args.epilogue.activation.slopes = static_cast<const float*>(*operand++);
    if (flip) make_signed(args, static_cast<std::uint8_t*>(first[flipped]));
    if (plan.scratch > 0) args.scratch = static_cast<std::byte*>(first[scratch]);
    if (!min_max) return run(args, first);
    args.epilogue.min_max = static_cast<float*>(*operand);
    std::fill_n(args.epilogue.min_max, kMinMaxFloats * static_cast<std::size_t>(threads),
                0.0F);  // a range holds 0
    run(args, first);
    args.epilogue.min_max = nullptr;
    if (quantizes) make_levels(args, first, operand);
  }

 private:
  void run(const kernels::Int8ConvArgs& args, void* const* first) const {
    volume ? run_volume(args, first) : run_images(args);
  }

  void run_images(const kernels::Int8ConvArgs& args) const {
    share_ranked(plan.items, 1, threads, [&](kernels::Index begin, kernels::Index end, int rank) {
      kernels::Int8ConvArgs own = args;
      if (own.scratch != nullptr) own.scratch += rank * plan.scratch;
      if (own.epilogue.min_max != nullptr)
        own.epilogue.min_max += static_cast<std::size_t>(rank) * kMinMaxFloats;
      kernels.convolve(plan, own, begin, end);
    });
  }

  /// Some planes of the result after the other.
  void run_volume(kernels::Int8ConvArgs args, void* const* operand) const {
    const kernels::Int8ConvArgs all = args;
    auto* const rows = static_cast<std::uint8_t*>(operand[gathered]);
    for (kernels::Index first = 0; first < volume->images * volume->planes; first += volume->together) {
      args.src = rows;
      if (volume->gathers) {
        volume->gather(all.src, all.src_pixel, static_cast<std::uint8_t>(all.src_zero), first, rows);
        args.src_pixel = volume->pixel();
        args.src_image = volume->plane_bytes();
      } else {
        args.src = all.src + volume->offset(first, all.src_pixel);
        args.src_image = volume->step * all.src_pixel;
      }
      if (planes) {
        run_floats(args, first, operand);
        continue;
      }
      args.dst = static_cast<std::uint8_t*>(all.dst) + first * all.dst_image;
      if (residual) args.epilogue.residual = all.epilogue.residual + first * all.epilogue.residual_image;
      run_images(args);
    }
  }

  /// Numbers, from and to plain volumes by way of blocks.
  void run_floats(kernels::Int8ConvArgs args, kernels::Index first, void* const* operand) const {
    auto* const made = static_cast<float*>(operand[gathered + 1]);
    auto* const added = static_cast<float*>(operand[gathered + 2]);
    if (residual) {
      planes->to_blocks(args.epilogue.float_residual, first, volume->together, added);
      args.epilogue.float_residual = added;
    }
    auto* const y = static_cast<float*>(std::exchange(args.dst, made));
    run_images(args);
    planes->to_plain(made, first, volume->together, y);
  }

  void make_signed(kernels::Int8ConvArgs& args, std::uint8_t* flipped_image) const {
    (*flip)(args.src, flipped_image, threads);
    args.src = flipped_image;
    args.src_pixel = flip->to_pixel;
    args.src_image = flip->to_pixel * plan.shape.h * plan.shape.w;
    args.src_signed = true;
    args.src_zero -= 128;
  }

  /// The sums once more, now that the range of what comes of them is known. Operands: min_max, scale, zero.
  void make_levels(kernels::Int8ConvArgs args, void* const* first, void* const* operand) const {
    const auto [low, high] = range_of({operand, 1}, threads);
    const program::DynamicGrid grid = program::dynamic_grid(low, high);
    *static_cast<float*>(operand[1]) = grid.scale;
    *static_cast<std::uint8_t*>(operand[2]) = static_cast<std::uint8_t>(grid.zero);
    args.epilogue.to_float = args.epilogue.measured = false;
    args.epilogue.out_scale = grid.scale;
    args.epilogue.zero = grid.zero;
    args.epilogue.low = 0;
    args.epilogue.high = 255;
    run(args, first);
  }

  static constexpr std::size_t kFixed = 4;
};

}  // namespace rdquant::runtime::native
