#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "rdquant/core/cpu.hpp"

/// Single-precision loops for inference. They allocate nothing and start no threads: each divides its work
/// into items that are independent of each other and of their order, and runs those of [begin, end).
///
/// Layout. *Blocked* (nChw8c or nChw16c): channels in blocks of B = Kernels::block, image = [channel
/// block][row] [column][B]; the lanes past the last channel are *padding*. Kernels never let a padding lane
/// reach a real one; convolutions and pooling write finite numbers there (convolutions zeros). *Plain*:
/// [channel][row][column]. Either way the channels of one image are contiguous and images are `*_image`
/// floats apart, so that an output may be a slice of the channel blocks of a larger buffer. Sources and
/// destinations must not overlap unless said.
namespace rdquant::runtime::kernels {

using Index = std::ptrdiff_t;

/// Functions of one number. `alpha` and `beta` are those of Activation.
enum class Function {
  none,
  relu,
  clip,          ///< min(max(x, alpha), beta)
  leaky_relu,    ///< x < 0: alpha·x
  prelu,         ///< x < 0: slopes[channel]·x
  sigmoid,       ///< 1/(1 + e^-x)
  silu,          ///< x·sigmoid(x)
  swish,         ///< x·sigmoid(alpha·x)
  hard_swish,    ///< x·min(max(x/6 + ½, 0), 1)
  hard_sigmoid,  ///< min(max(alpha·x + beta, 0), 1)
  tanh,
  elu,        ///< x < 0: alpha·(e^x − 1)
  gelu_erf,   ///< x·(1 + erf(x/√2))/2
  gelu_tanh,  ///< x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))/2
  mish,       ///< x·tanh(ln(1 + e^x))
  exp,
  erf,
  sqrt,
  reciprocal,
  abs,
  negate,
  floor,
  ceil,
};

struct Activation {
  Function function = Function::none;
  float alpha = 0.0f;
  float beta = 0.0f;
  const float* slopes = nullptr;  ///< prelu: one per channel, padded to whole blocks
};

/// Sizes of a convolution. Weights in plain form are [k][c/groups][kh][kw].
struct ConvShape {
  Index n = 1, c = 1, h = 1, w = 1;  ///< source: images, channels, rows, columns
  Index k = 1, kh = 1, kw = 1;       ///< filters, their rows and columns
  Index sh = 1, sw = 1;              ///< stride
  Index dh = 1, dw = 1;              ///< dilation, 1 = dense
  Index top = 0, left = 0, bottom = 0, right = 0;
  Index groups = 1;
  [[nodiscard]] Index oh() const noexcept { return (h + top + bottom - dh * (kh - 1) - 1) / sh + 1; }
  [[nodiscard]] Index ow() const noexcept { return (w + left + right - dw * (kw - 1) - 1) / sw + 1; }
};

enum class ConvMethod {
  depthwise,     ///< c = k = groups; blocked → blocked
  few_channels,  ///< groups = 1, at most 4 channels; plain → blocked
  dense,  ///< blocked → blocked; c and k of a group (or of a few whole groups together) fill whole blocks
};

/// How one convolution is run; made by Kernels::plan.
struct ConvPlan {
  ConvShape shape;
  ConvMethod method = ConvMethod::dense;
  Index block = 8;
  Index pixels = 1;            ///< output pixels per tile
  Index blocks = 1;            ///< blocks of output channels per tile
  Index tiles = 1;             ///< tiles per row, or per image where `flat`
  Index groups = 1;            ///< groups after merging
  bool flat = false;           ///< rows are run as one: 1×1, stride 1, no padding
  bool filters_first = false;  ///< items in order of output channels, then place; else the other way
  Index items = 0;             ///< what [begin, end) of Kernels::convolve counts
  Index pack_items = 0;        ///< and of Kernels::pack: blocks of filters
  Index weights = 0;           ///< floats of the packed weights
};

struct ConvArgs {
  const float* src = nullptr;
  Index src_image = 0;
  const float* weights = nullptr;  ///< packed; aligned to 64 bytes for speed
  const float* bias = nullptr;     ///< one per filter, padded with zeros to whole blocks; or null
  float* dst = nullptr;
  Index dst_image = 0;
  const float* residual =
      nullptr;  ///< blocked, of the destination's size, added to the sum; or null; may be dst
  Index residual_image = 0;
  bool residual_last = false;  ///< add it after the activation instead of before
  Activation activation;
};

/// A window that slides over blocked images. oh and ow are given, so that a last window may reach past the
/// padding.
struct PoolShape {
  Index n = 1, c = 1, h = 1, w = 1, oh = 1, ow = 1;
  Index kh = 1, kw = 1, sh = 1, sw = 1, dh = 1, dw = 1;
  Index top = 0, left = 0, bottom = 0, right = 0;
  bool average = false;    ///< else maximum
  bool count_pad = false;  ///< average: padding counts as zeros in the divisor
};

/// Rows of a window that few_channels_pooled takes.
inline constexpr Index kPooledRows = 8;

enum class Binary { add, sub, mul, div, min, max, prelu, pow };  ///< prelu(a, b) = a < 0 ? a·b : a

/// A fully connected layer y = x·wᵀ + bias: x [rows][in], w [out][in], y [rows][out], rows *_row floats
/// apart.
struct LinearArgs {
  Index rows = 1, in = 1, out = 1;
  const float* x = nullptr;
  Index x_row = 0;
  const float* w = nullptr;     ///< plain, contiguous
  const float* bias = nullptr;  ///< or null
  float* y = nullptr;
  Index y_row = 0;
  Activation activation;  ///< all but prelu
};

/// A row that is added to another, moved to the right by `moved` elements, which may be negative.
struct MovedRow {
  const float* data;
  Index moved;
};

/// One method of convolution.
struct ConvolutionTable {
  /// Fills `plan` unless the method cannot run this shape. Returns whether it can: kernels never throw.
  bool (*plan)(const ConvShape& shape, ConvPlan& plan);
  void (*pack)(const ConvPlan& plan, const float* weights, float* packed, Index begin, Index end);
  void (*run)(const ConvPlan& plan, const ConvArgs& args, Index begin, Index end);
};

/// The kernels of one instruction set.
struct Kernels {
  core::Isa isa;
  Index block;
  std::array<ConvolutionTable, 3> convolutions;  ///< by ConvMethod

  /// Decides tiles and items; none if the method cannot run this shape, or if none can: sizes, strides and
  /// dilations below 1, negative pads, groups that do not divide channels and filters, a kernel that is larger than
  /// the padded image.
  [[nodiscard]] std::optional<ConvPlan> plan(const ConvShape& shape, ConvMethod method) const;
  /// Writes plan.weights floats from plain weights. Items: plan.pack_items.
  void pack(const ConvPlan& plan, const float* weights, float* packed, Index begin, Index end) const {
    table(plan.method).pack(plan, weights, packed, begin, end);
  }
  /// Items: plan.items.
  void convolve(const ConvPlan& plan, const ConvArgs& args, Index begin, Index end) const {
    table(plan.method).run(plan, args, begin, end);
  }
  [[nodiscard]] const ConvolutionTable& table(ConvMethod method) const {
    return convolutions[static_cast<std::size_t>(method)];
  }

  /// Maxima over windows (not dilated, at most kPooledRows high) of what ConvMethod::few_channels gives, which is
  /// never stored as a whole; `pool` has the convolution's output as its image, args.residual is null.
  /// `scratch`: plan.blocks·kh·w·B floats of the caller's own. Items: n·⌈⌈k/B⌉/plan.blocks⌉·oh; neighbours
  /// share rows.
  void (*few_channels_pooled)(const ConvPlan& plan, const ConvArgs& args, const PoolShape& pool,
                              float* scratch, Index begin, Index end);
  /// Items: n·⌈c/B⌉·oh. Windows without any pixel of the image give 0.
  void (*pool)(const PoolShape& shape, const float* src, Index src_image, float* dst, Index dst_image,
               Index begin, Index end);
  /// Mean of each channel of blocked images of `area` pixels. Items: n·⌈c/B⌉. Writes c floats per image.
  void (*global_average)(const float* src, Index src_image, float* dst, Index dst_image, Index c, Index area,
                         Index begin, Index end);

  /// dst[i] = f(src[i]) for i in [begin, end); dst may be src. Not prelu.
  void (*unary)(const Activation& f, const float* src, float* dst, Index begin, Index end);
  /// dst[i] = f(a[i·a_step], b[i·b_step]), steps 0 or 1; dst may be a or b.
  void (*binary)(Binary f, const float* a, Index a_step, const float* b, Index b_step, float* dst,
                 Index begin, Index end);
  /// The same of rows of `count` floats, a_row and b_row floats apart, to rows one after the other. Items: rows.
  void (*binary_rows)(Binary f, const float* a, Index a_row, Index a_step, const float* b, Index b_row,
                      Index b_step, float* dst, Index count, Index begin, Index end);
  /// Blocked a of `area` pixels against one number per channel: f(a, v), or f(v, a) where `reversed`. v holds
  /// whole blocks, those of images v_image floats apart (0: the same for all). Items: n·⌈c/B⌉; dst may be a.
  void (*binary_channels)(Binary f, bool reversed, const float* a, Index a_image, const float* v,
                          Index v_image, float* dst, Index dst_image, Index c, Index area, Index begin,
                          Index end);
  /// Softmax of rows of `length` floats that lie one after the other. Items: rows; dst may be src.
  void (*softmax)(const float* src, float* dst, Index length, Index begin, Index end);
  /// The same of columns: of `length` numbers, `stride` floats apart. Items: columns, side by side.
  void (*softmax_columns)(const float* src, float* dst, Index length, Index stride, Index begin, Index end);
  /// Items: ⌈out/4⌉.
  void (*linear)(const LinearArgs& args, Index begin, Index end);

  /// Blocked images h·w, each pixel repeated fy·fx times. Items: n·⌈c/B⌉·h.
  void (*resize)(const float* src, Index src_image, float* dst, Index dst_image, Index c, Index h, Index w,
                 Index fy, Index fx, Index begin, Index end);
  /// Plain to blocked (padding zero) and back, to channels dst_row floats apart. Items: n·⌈c/B⌉.
  void (*to_blocked)(const float* src, Index src_image, float* dst, Index dst_image, Index c, Index area,
                     Index begin, Index end);
  void (*to_plain)(const float* src, Index src_image, float* dst, Index dst_image, Index dst_row, Index c,
                   Index area, Index begin, Index end);
  /// dst[j·dst_row + i] = src[i·src_row + j] for i < rows, j < columns.
  void (*transpose)(const float* src, Index src_row, float* dst, Index dst_row, Index rows, Index columns);
  /// Vectors of `area` pixels, each lane from those of blocks a and b: from a's lane `places[lane]` below B, from b's
  /// lane places[lane] − B from there on, and 0 where places[lane] < 0. dst may be a.
  void (*pick_lanes)(const float* a, const float* b, const std::int32_t* places, float* dst, Index area);
  /// y[x] += Σ rows[i].data[x − rows[i].moved], x < count, of those that are among the row's `length` floats. Up to
  /// B floats before and behind each row may be read.
  void (*add_moved)(const MovedRow* rows, Index n, Index length, float* y, Index count);
  /// Rows of `length` floats, src_row and dst_row floats apart. Items: rows.
  void (*copy_rows)(const float* src, Index src_row, float* dst, Index dst_row, Index length, Index begin,
                    Index end);
};

/// The kernels for `isa`, which this processor must have (core::available_isa), or for core::selected_isa().
[[nodiscard]] const Kernels& kernels(core::Isa isa);
[[nodiscard]] const Kernels& kernels();

/// ⌈a/b⌉ for positive numbers.
[[nodiscard]] constexpr Index divide(Index a, Index b) noexcept { return (a + b - 1) / b; }

}  // namespace rdquant::runtime::kernels
