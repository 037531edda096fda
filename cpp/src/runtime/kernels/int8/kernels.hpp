#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/kernels/float32/kernels.hpp"

/// Loops over 8-bit integers, int8 or uint8 (called int8 values for short), for inference. Results follow the rule in program/step.hpp to the bit,
/// on every instruction set: sums in int32, float32 products and sums rounded one by one, never fused.
///
/// Layout. *Channels last*: the channels of a pixel lie side by side, pixels `pixel` bytes apart, rows and
/// columns without gaps, images `image` bytes apart; `pixel` may be larger than the channels of an array that
/// is a slice of another's. Bytes between pixels, and up to 64 past the last pixel, may be read (they do not
/// count) but are never written. Values of type int8 are bytes likewise. float32 images are *plain* or
/// *blocked* as kernels.hpp says.
namespace rdquant::runtime::kernels {

/// Sum of two arrays of int8 values: clamp(round((a − a_zero)·a_scale + (b − b_zero)·b_scale) + zero, low, high);
/// and of products: clamp(round((a − a_zero)·(b − b_zero)·a_scale) + zero, low, high).
struct Int8Sum {
  float a_scale = 1, b_scale = 1;
  std::int32_t a_zero = 0, b_zero = 0, zero = 0, low = 0, high = 255;
  bool a_signed = false, b_signed = false;  ///< int8
};

/// What becomes of numbers before they are int8 values: x·factors[k] + shifts[k] of channel k, product and sum rounded
/// each by itself; then, with `relu`, 0 instead of what is negative.
struct Int8Affine {
  const float *factors = nullptr, *shifts = nullptr;  ///< padded to whole blocks; none: x itself
  bool relu = false;
};

/// What becomes of the sum of a filter k: v = float(sum)·multipliers[k]·multiplier (that last product made of
/// the two multipliers first) + float_bias[k]. Into int8 values: q = clamp(round(activation(v)·scale) + zero, low,
/// high); then, where given, q = table[byte of q]; then, where given, the sum of q (as a) and the residual
/// (as b). Into float32: y = activation(v + residual), or activation(v) + residual where `residual_last`.
/// Where `out_scale` is not 0, int8 values are made of that y instead: q = clamp(round(y / out_scale) + zero, low,
/// high).
struct Int8Epilogue {
  const float* multipliers = nullptr;  ///< padded to whole blocks
  float multiplier = 1;                ///< 1 but for ranges known at run time only
  const float* float_bias = nullptr;   ///< padded to whole blocks; or null
  Activation activation;               ///< none, relu and clip make int8 values by low and high already
  float scale = 1;                     ///< not looked at where it is 1
  std::int32_t zero = 0, low = 0, high = 255;
  const std::uint8_t* table = nullptr;     ///< 256 entries, or null
  const std::uint8_t* residual = nullptr;  ///< int8 values, or null
  Index residual_image = 0, residual_pixel = 0;
  Int8Sum sum;  ///< its `a` is as signed as low is negative, where a table is not given
  const float* float_residual = nullptr;  ///< blocked like the destination, or null; may be dst
  Index float_residual_image = 0;
  bool residual_last = false;
  bool to_float = false;
  /// Of float32 results `min_max` alone are kept: dst is not looked at. This and `out_scale` are for
  /// activations that measures() allows, without a residual.
  bool measured = false;
  float out_scale = 0;  ///< of int8 values, which are uint8; or 0
  /// Of float32 results, or null: `block` floats not above, and `block` floats not below, those of each lane;
  /// updated with what is stored. For the caller's own thread.
  float* min_max = nullptr;
};

/// Whether float32 results may be measured only, and made int8 values: the activation is a clamp that keeps 0.
[[nodiscard]] bool measures(const Activation& activation);

struct Int8ConvArgs {
  const std::uint8_t* src = nullptr;
  Index src_image = 0, src_pixel = 0;
  bool src_signed = false;
  std::int32_t src_zero = 0;           ///< the int8 value that stands for 0, that of the padding too
  const std::byte* weights = nullptr;  ///< packed; aligned to 64 bytes
  const std::int32_t* bias = nullptr;  ///< added to the sums; padded with zeros to whole blocks; or null
  void* dst = nullptr;           ///< int8 values channels last, or float32 blocked where epilogue.to_float
  std::byte* scratch = nullptr;  ///< plan.scratch bytes for the caller's own thread, aligned to 64
  Index dst_image = 0,
        dst_pixel = 0;  ///< bytes; for float32 dst_image counts floats, dst_pixel is not looked at
  /// Floats from one pixel, and from one block of channels, of float32 results to the next; 0: as blocked images have
  /// them.
  Index float_pixel = 0, float_block = 0;
  Int8Epilogue epilogue;
};

/// How one int8 convolution is run. Weights are int8, all from −128 to 127 allowed, 0 stands
/// for 0.
struct Int8Plan {
  ConvShape shape;
  bool depthwise = false;
  Index pixels = 1, blocks = 1, tiles = 1;
  bool flat = false;
  /// Tiles, or rows of outputs of depthwise kernels, that are run with some filters before they are with
  /// others. Strips of images are the ranges that threads take, or within them: what one step leaves in a
  /// core's cache the next one finds there.
  Index strip = 1;
  /// Groups whose filters do not fill blocks are run together, so many with these channels and filters; the
  /// last ones have fewer filters where they do not come out even, and their channels are the last.
  Index groups = 1, group_c = 1, group_k = 1;
  /// By tiles of AMX: how many products of tiles make a sum, of how many fours of a window's channels each; 0: otherwise.
  Index steps = 0, step_quads = 0;
  bool gathers = false;  ///< windows are copied first
  Index scratch = 0;     ///< bytes that a thread needs for it
  Index items = 0;       ///< what [begin, end) of run counts
  Index pack_items = 0;  ///< and of pack
  Index bytes = 0;       ///< of the packed weights, the sums of each filter's weights included
};

/// The kernels of one instruction set for int8 values.
struct Int8Kernels {
  core::Isa isa;
  const char* name;  ///< as plans say it: "avx512vnni", "avx512", "avx2", "baseline"
  Index block;       ///< lanes of a block of filters; that of Kernels for the same isa

  /// Any shape that Kernels::plan allows (c and k need not be multiples of anything). `threads`: that share
  /// the items in ranges of one size.
  Int8Plan (*plan)(const ConvShape& shape, Index threads);
  /// From plain [k][c/groups][kh][kw]. Items: plan.pack_items.
  void (*pack)(const Int8Plan& plan, const std::int8_t* weights, std::byte* packed, Index begin, Index end);
  /// Items: plan.items.
  void (*convolve)(const Int8Plan& plan, const Int8ConvArgs& args, Index begin, Index end);
  /// Dense convolutions of uint8 are slower than those of int8 by more than one pass over the image.
  bool prefers_signed = false;

  /// Least and greatest of [begin, end), each compared with what *low and *high hold already, which are
  /// floats; what is NaN is passed over, −0 becomes 0.
  void (*min_max)(const float* src, Index begin, Index end, float* low, float* high);
  /// q = clamp(round(x / scale) + zero, low, high) for [begin, end); the same bytes for int8. Whether one of
  /// them is NaN, which becomes `low`.
  bool (*quantize)(const float* src, std::uint8_t* dst, float scale, std::int32_t zero, std::int32_t low,
                   std::int32_t high, Index begin, Index end);
  /// The same, of plain and of blocked images of `area` pixels, to channels last; bytes up to the next
  /// multiple of 4 channels, where `pixel` has room, become `zero`. Items: ranges of 64 pixels, n·⌈area/64⌉.
  bool (*quantize_plain)(const float* src, Index src_image, std::uint8_t* dst, Index image, Index pixel,
                         Index c, Index area, float scale, std::int32_t zero, std::int32_t low,
                         std::int32_t high, Index begin, Index end);
  bool (*quantize_blocked)(const float* src, Index src_image, std::uint8_t* dst, Index image, Index pixel,
                           Index c, Index area, float scale, std::int32_t zero, std::int32_t low,
                           std::int32_t high, Index begin, Index end);
  /// quantize_blocked of numbers that `affine` is applied to first.
  bool (*quantize_affine)(const Int8Affine& affine, const float* src, Index src_image, std::uint8_t* dst,
                          Index image, Index pixel, Index c, Index area, float scale, std::int32_t zero,
                          std::int32_t low, std::int32_t high, Index begin, Index end);
  /// x = (q − zero)·scale. `is_signed`: int8.
  void (*dequantize)(const std::uint8_t* src, bool is_signed, float* dst, float scale, std::int32_t zero,
                     Index begin, Index end);
  /// From channels last to plain and to blocked (padding lanes 0). Items as those of quantize_plain.
  void (*dequantize_plain)(const std::uint8_t* src, Index image, Index pixel, bool is_signed, float* dst,
                           Index dst_image, Index c, Index area, float scale, std::int32_t zero, Index begin,
                           Index end);
  void (*dequantize_blocked)(const std::uint8_t* src, Index image, Index pixel, bool is_signed, float* dst,
                             Index dst_image, Index c, Index area, float scale, std::int32_t zero,
                             Index begin, Index end);
  /// dst[i] = table[src[i]]; dst may be src.
  void (*lookup)(const std::uint8_t* table, const std::uint8_t* src, std::uint8_t* dst, Index begin,
                 Index end);
  /// Sums and products of int8 values; dst may be a or b.
  void (*add)(const Int8Sum& sum, const std::uint8_t* a, const std::uint8_t* b, std::uint8_t* dst,
              Index begin, Index end);
  void (*multiply)(const Int8Sum& sum, const std::uint8_t* a, const std::uint8_t* b, std::uint8_t* dst,
                   Index begin, Index end);
  /// Windows over images channels last, all of one layout (`pool` as Kernels::pool takes it); int8 where
  /// `is_signed`. Maximum; or average: clamp(round(Σ(q − src_zero)·(scale / count)) + zero, low, high), the
  /// quotient rounded to float32 first. Windows without any pixel give src_zero's number 0: `zero` (of
  /// maxima: the least value). Items: n·oh.
  struct PoolArgs {
    const std::uint8_t* src = nullptr;
    Index src_image = 0, src_pixel = 0;
    bool is_signed = false;
    std::uint8_t* dst = nullptr;
    Index dst_image = 0, dst_pixel = 0;
    float scale = 1;  ///< of averages, as what follows
    std::int32_t src_zero = 0, zero = 0, low = 0, high = 255;
  };
  void (*pool)(const PoolShape& shape, const PoolArgs& args, Index begin, Index end);
  /// Each pixel repeated fy·fx times. Items: n·h.
  void (*resize)(const std::uint8_t* src, Index src_image, Index src_pixel, std::uint8_t* dst,
                 Index dst_image, Index dst_pixel, Index c, Index h, Index w, Index fy, Index fx, Index begin,
                 Index end);
  /// Each of the c channels `times` times, 2 or 4. Items: pixels.
  void (*repeat)(const std::uint8_t* src, Index src_pixel, std::uint8_t* dst, Index dst_pixel, Index c,
                 Index times, Index begin, Index end);
  /// Bytes of c channels, 1 or 2, without the rest of the words of four that they begin.
  void (*compact)(const std::uint8_t* src, std::uint8_t* dst, Index c, Index count);
  /// Words of the c channels, 1 or 2, of columns `dilation` apart, 4 / c of them, from each of `count` columns on. Reads up
  /// to 64 bytes beyond the last.
  void (*taps)(const std::uint8_t* src, Index dilation, Index c, std::uint8_t* dst, Index count);
};

/// The kernels for `isa`, which this processor must have; where that is avx512, with those of the features VNNI and
/// VBMI that core::selected_cpu() has.
[[nodiscard]] const Int8Kernels& int8_kernels(core::Isa isa);

}  // namespace rdquant::runtime::kernels
