#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "rdquant/core/tensor.hpp"
#include "rdquant/program/sample.hpp"

/// What a Program is made of. Steps say *what* is computed, on dense row-major values (channels first), in
/// terms free of ONNX's history: axes are non-negative, pads explicit, defaults resolved, optional inputs in
/// fixed places. `evaluate` (evaluate.hpp) defines the answer; backends decide how and in which layout.
namespace rdquant::program {

/// Functions of one number. `a` and `b` are an Activation's parameters.
enum class Function : std::uint8_t {
  identity,
  relu,
  clip /* a..b */,
  leaky_relu /* slope a */,
  prelu /* slopes are an input */,
  sigmoid,
  silu,
  hard_sigmoid /* a x + b */,
  hard_swish,
  tanh,
  elu /* a */,
  selu /* a, gamma b */,
  celu /* a */,
  gelu,
  gelu_tanh,
  mish,
  softplus,
  softsign,
  thresholded_relu /* a */,
  swish /* x sigmoid(a x) */,
  shrink /* lambd a, bias b */,
  exp,
  log,
  sqrt,
  reciprocal,
  erf,
  abs,
  neg,
  sign,
  floor,
  ceil,
  round /* half to even */,
  sin,
  cos,
  tan,
  asin,
  acos,
  atan,
  sinh,
  cosh,
  asinh,
  acosh,
  atanh,
  logical_not,
  bitwise_not,
  is_nan,
  is_inf /* a: count −inf, b: count +inf */
};

struct Activation {
  Function function = Function::identity;
  float a = 0;
  float b = 0;
  bool operator==(const Activation&) const = default;
};

/// Functions of two numbers, with NumPy's broadcasting.
enum class BinaryFunction : std::uint8_t {
  add,
  sub,
  mul,
  div,
  pow,
  min,
  max,
  mod /* sign of divisor */,
  fmod /* sign of dividend */,
  prelu /* second: slope */,
  equal,
  less,
  less_equal,
  greater,
  greater_equal,
  logical_and,
  logical_or,
  logical_xor,
  bitwise_and,
  bitwise_or,
  bitwise_xor,
  shift_left,
  shift_right
};

enum class ReduceFunction : std::uint8_t {
  sum,
  mean,
  max,
  min,
  prod,
  l1,
  l2,
  log_sum,
  log_sum_exp,
  sum_square
};

/// A window moved over the spatial axes; every vector has one entry per spatial axis.
struct Window {
  std::vector<std::int64_t> kernel, strides, dilations, pads_begin, pads_end;
  bool operator==(const Window&) const = default;
};

/// Inputs: x [n, c, …], w [k, c / groups, …], bias [k]?, residual (like the output)?, slopes [k] (prelu's)?.
/// y = activation(conv(x, w) + bias + residual), or activation(conv + bias) + residual where `residual_last`.
struct Convolution {
  Window window;
  std::int64_t groups = 1;
  Activation activation;
  bool residual_last = false;
};
/// Inputs: x, w [c, k / groups, …], bias?. Output sizes follow from pads_begin and the output's shape.
struct TransposedConvolution {
  Window window;
  std::int64_t groups = 1;
  Activation activation;
};
/// Inputs: a, b, c?, residual?. y = activation(alpha · op(a) op(b) + beta · c + residual); leading axes
/// broadcast as NumPy's matmul, c broadcasts to the result. Vectors have been reshaped to matrices.
struct MatMul {
  bool transpose_a = false, transpose_b = false;
  float alpha = 1, beta = 1;
  Activation activation;
  bool residual_last = false;
};
enum class Cell : std::uint8_t { rnn, gru, lstm };
/// One direction of ONNX's RNN, GRU or LSTM, whose products with the inputs are made before. With g = 1, 3 or 4
/// gates of h units in ONNX's order (gru: z, r, h; lstm: i, o, f, c), inputs: x [steps, batch, g·h], these
/// products and all biases that stand beside them; r [g·h, h]; bias [h]? of r's product in the last gate (gru
/// where `linear_before_reset`); first h [batch, h]?; lengths (i32 [batch])?; first c [batch, h]? and peepholes
/// [3·h]? (i, o, f) of lstm; the scales of r's rows (f32 [gates]) where r is levels (i8, whose 0 stands for 0). Outputs: y [steps, batch, h], the last h and the last c [batch, h], each if wanted.
/// A sequence that is shorter than all steps gives zeros after its end.
struct Recurrence {
  Cell cell = Cell::rnn;
  std::array<Activation, 3> activations;  ///< ONNX's f, g, h
  float clip = 0;                         ///< of what activations are applied to, to −clip … clip; 0: none
  bool reverse = false, linear_before_reset = false, input_forget = false;
};
enum class PoolFunction : std::uint8_t { max, average, lp };
/// Input: x. Outputs: y, and for max indices (int64)?. `pads_end` may be wider than ONNX's where sizes were
/// rounded up: count_include_pad counts `counted_pads_end` only. Global pooling is a window as large as the
/// image.
struct Pool {
  PoolFunction function = PoolFunction::max;
  Window window;
  bool count_include_pad = false;
  std::vector<std::int64_t> counted_pads_end;
  std::int64_t p = 2;                 ///< of lp
  bool column_major_indices = false;  ///< ONNX's storage_order
};
struct Unary {
  Activation activation;
};
struct Binary {
  BinaryFunction function = BinaryFunction::add;
  Activation activation;
};
struct Where {};  ///< condition, x, y; broadcast
struct Cast {
  bool saturate = true;
};  ///< to the output's dtype
/// Inputs: x (a float or i32), scale (one number, or one per element of `axis`), zero? (of the output's
/// dtype, as many as scales). Levels q = clamp(round(x / scale) + zero), ties to even, within the output's
/// dtype.
struct Quantize {
  std::int64_t axis = 1;
};
/// Inputs: levels q, scale, zero? as of Quantize. x = (q − zero) · scale.
struct Dequantize {
  std::int64_t axis = 1;
};
/// Levels with the range of the data themselves (ONNX's DynamicQuantizeLinear). Input: x (f32). Outputs:
/// levels (u8, like x), scale (f32, a number), zero (u8, a number). With low = min(0, min x), high = max(0,
/// max x): scale = (high − low) / 255, or 1 where both are 0; zero = clamp(round(−low / scale), 0, 255);
/// levels as of Quantize.
struct DynamicQuantize {};
// Levels of 8 bits, u8 or i8, stand for numbers: r = scale · (q − zero). What is computed with them follows
// one rule, which makes kernels on every processor agree to the bit: sums of products of levels are exact in
// int32; they become float32 by one rounding, and from there on every product and every sum is rounded to
// float32 by itself; the result is clamped to whole limits (NaN: to the lower), rounded to the nearest whole
// number, ties to even, and the zero point is added. `fuse_int8` makes these steps of Dequantize,
// operation, Quantize.

/// Of a number v in float32: q = clamp(round(activation(v) · scale) + zero, low, high).
struct Requantize {
  Activation activation;
  float scale = 1;
  std::int32_t zero = 0, low = 0, high = 255;
};
/// Of two levels a and b: add gives (a − a_zero) · a_scale + (b − b_zero) · b_scale, and mul
/// ((a − a_zero) · (b − b_zero)) · a_scale, whose product in brackets is exact; then as Requantize without
/// scale. A difference is a sum whose second scale is negative.
struct Int8Binary {
  BinaryFunction function = BinaryFunction::add;
  float a_scale = 1, b_scale = 1;
  std::int32_t a_zero = 0, b_zero = 0, zero = 0, low = 0, high = 255;
};
/// Inputs: x (u8, i8) [n, c, h, w] or [n, c, d, h, w], w (i8, whose 0 stands for 0) [k, c / groups, …], multipliers (f32 [k]),
/// bias (i32 [k] or f32 [k])?, residual (like the output)?, table (u8 [256])?, x's zero (a number)?, x's
/// scale (f32, a number)?, slopes (f32 [k], prelu's)?. v = float(Σ (x − x_zero) · w + bias) · (multipliers[k] ·
/// x's scale), + bias where that is f32. Output of levels: what `requantize` makes of v, then table[byte],
/// then `sum` with the residual as b. Of f32: activation(v + residual), or activation(v) + residual where
/// `residual_last`; the padding is x_zero.
struct Int8Convolution {
  Window window;
  std::int64_t groups = 1;
  std::int32_t x_zero = 0;
  Requantize requantize;
  Int8Binary sum{.high = 0};  ///< looked at where there is a residual
  bool residual_last = false;
};
/// Inputs: levels (u8, i8), table (u8 [256]): out = table[byte of the level]; the output's bytes are its
/// levels.
struct Lookup {};
/// Means of levels under a window: v = float(Σ (x − x_zero)) · (scale / float(count)), 0 where none counts;
/// then as `requantize`, or v itself as f32. Padding counts, as 0, where `count_include_pad`.
struct Int8Pool {
  Window window;
  bool count_include_pad = false;
  std::int32_t x_zero = 0;
  float scale = 1;
  Requantize requantize;
};
struct Reduce {
  ReduceFunction function = ReduceFunction::sum;
  std::vector<std::int64_t> axes;
};  ///< kept as 1 or not: output's shape
struct ArgExtreme {
  bool largest = true;
  std::int64_t axis = 0;
  bool last = false;
};
struct TopK {
  std::int64_t axis = 0;
  bool largest = true;
};  ///< sorted; k from the output's shape; values, indices
struct CumulativeSum {
  std::int64_t axis = 0;
  bool exclusive = false, reverse = false, product = false;
};  ///< products in place of sums where `product`
struct Softmax {
  std::int64_t axis = 0;
  bool logarithm = false;
};
struct LayerNormalization {
  std::int64_t axis = 0;
  float epsilon = 1e-5F;
  bool root_mean_square = false;
};  ///< x, scale?, bias?; mean?, inverse deviation? follow y
struct BatchNormalization {
  float epsilon = 1e-5F;
  Activation activation;
};  ///< x, scale, bias, mean, variance (each [c])
struct GroupNormalization {
  std::int64_t groups = 1;
  float epsilon = 1e-5F;
  Activation activation = {};
};  ///< x, scale [c], bias [c], residual (like x)?, added before the activation; instance: groups = c
struct LpNormalization {
  std::int64_t axis = 0, p = 2;
};
struct LocalResponseNormalization {
  std::int64_t size = 1;
  float alpha = 1e-4F, beta = 0.75F, bias = 1;
};
struct Concat {
  std::int64_t axis = 0;
};
struct Split {
  std::int64_t axis = 0;
};  ///< sizes from the outputs' shapes
struct Slice {
  std::vector<std::int64_t> starts, steps;
};  ///< one per axis; lengths from the output's shape
enum class PadMode : std::uint8_t { constant, edge, reflect, wrap };
struct Pad {
  PadMode mode = PadMode::constant;
  std::vector<std::int64_t> begins, ends;
};  ///< x, value?; negative pads crop
struct Reshape {};  ///< flatten, squeeze, unsqueeze, identity too: same bytes
struct Transpose {
  std::vector<std::int64_t> permutation;
};
struct Expand {};
struct Tile {
  std::vector<std::int64_t> repeats;
};
struct Gather {
  std::int64_t axis = 0;
};  ///< x, indices (i32, i64; negative count from the end)
struct GatherElements {
  std::int64_t axis = 0;
};
struct GatherNd {
  std::int64_t batch_axes = 0;
};
enum class Reduction : std::uint8_t { none, add, mul, min, max };  ///< of what is there and what comes
struct ScatterNd {
  Reduction reduction = Reduction::none;
};
/// Inputs: x, indices, updates (of one shape): updates go to the places that indices name along `axis`, in order.
struct ScatterElements {
  std::int64_t axis = 0;
  Reduction reduction = Reduction::none;
};
struct OneHot {
  std::int64_t axis = 0;
};  ///< indices, values [off, on]; depth from the output's shape
struct Triangle {
  bool upper = true;
};  ///< x, k?
struct DepthToSpace {
  std::int64_t block = 1;
  bool column_row_depth = false;
};
struct SpaceToDepth {
  std::int64_t block = 1;
};
struct Determinant {};  ///< [.., m, m] → [..]

using Operation =
    std::variant<Convolution, TransposedConvolution, MatMul, Pool, Unary, Binary, Where, Cast, Quantize,
                 Dequantize, DynamicQuantize, Int8Convolution, Int8Binary, Lookup, Int8Pool, Reduce,
                 ArgExtreme, TopK, CumulativeSum, Softmax, LayerNormalization, BatchNormalization,
                 GroupNormalization, LpNormalization, LocalResponseNormalization, Concat, Split, Slice, Pad,
                 Reshape, Transpose, Expand, Tile, Gather, GatherElements, GatherNd, ScatterNd, OneHot,
                 Triangle, DepthToSpace, SpaceToDepth, Resize, Recurrence, ScatterElements, GridSample,
                 RoiPool, Determinant>;

using ValueId = std::int32_t;
inline constexpr ValueId kNone = -1;  ///< an optional input or output that is left out

struct Step {
  Operation operation;
  std::vector<ValueId> inputs;  ///< trailing kNone may be left out
  std::vector<ValueId> outputs;
  std::string node;  ///< the graph's node it stems from, for messages and plans
};

/// "convolution", "matmul", …: one word per alternative of Operation, as text dumps and plans say it.
[[nodiscard]] std::string_view operation_name(const Operation& operation) noexcept;
[[nodiscard]] std::string_view function_name(Function function) noexcept;
[[nodiscard]] std::string_view function_name(BinaryFunction function) noexcept;
[[nodiscard]] std::string_view function_name(ReduceFunction function) noexcept;

/// The step's input `i`, or kNone where it has fewer.
[[nodiscard]] inline ValueId input(const Step& step, std::size_t i) noexcept {
  return i < step.inputs.size() ? step.inputs[i] : kNone;
}

}  // namespace rdquant::program
