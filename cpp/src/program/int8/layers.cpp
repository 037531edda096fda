// Convolutions, products and means of levels.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "program/int8/int8.hpp"

namespace rdquant::program {
namespace {

using core::DType;
using core::Shape;

/// What a layer of levels needs besides its weights.
struct Constants {
  core::Tensor multipliers;
  core::Tensor
      bias;  ///< i32 [k], or f32 [k] where rounding it to steps of the sums would be felt; empty: none
};

constexpr double kFelt = 1.0 / 64;  // of a level

/// The largest |Σ (x − zero) · w| of each filter, whatever the levels x are.
std::vector<std::int64_t> reach_of(const core::Tensor& weights, std::int64_t filters) {
  const auto* const levels = weights.view().as<std::int8_t>();
  const std::int64_t length = weights.size() / std::max<std::int64_t>(1, filters);
  std::vector<std::int64_t> most(static_cast<std::size_t>(filters), 0);
  for (std::int64_t i = 0; i < weights.size(); ++i)
    most[static_cast<std::size_t>(i / length)] += 255 * std::abs(std::int64_t{levels[i]});
  return most;
}

/// Multipliers of sums into numbers (`to` 1) or into steps of `to`, and the bias; nullopt where int32 might
/// not hold the sums. `levels` in one unit of `to`: 1, or 1 / scale where an activation stands between.
std::optional<Constants> constants(const Value& weights, const std::vector<float>& scales, float from,
                                   float to, double levels, const std::vector<double>& bias) {
  const std::int64_t filters = weights.shape[0];
  const std::vector<std::int64_t> most = reach_of(weights.data, filters);
  Constants made{core::Tensor(DType::f32, {filters}), {}};
  core::Tensor whole(DType::i32, {filters}), exact(DType::f32, {filters});
  bool felt = false;
  for (std::int64_t k = 0; k < filters; ++k) {
    const auto i = static_cast<std::size_t>(k);
    const double step = static_cast<double>(from) * scales[scales.size() == 1 ? 0 : i];
    made.multipliers.write().as<float>()[k] = static_cast<float>(step / to);
    const double given = bias.empty() ? 0 : bias[bias.size() == 1 ? 0 : i];
    const double start = step == 0 ? 0 : std::nearbyint(given / step);  // a batch norm may scale by 0
    if (!(std::abs(start) + static_cast<double>(most[i]) <= std::numeric_limits<std::int32_t>::max()))
      return std::nullopt;
    whole.write().as<std::int32_t>()[k] = static_cast<std::int32_t>(start);
    exact.write().as<float>()[k] = static_cast<float>(given / to);
    felt = felt || std::abs(given - start * step) / to * levels > kFelt;
  }
  if (!bias.empty()) made.bias = felt ? std::move(exact) : std::move(whole);
  return made;
}

/// A layer about to be written: x levels of images or volumes, y numbers that may become levels.
struct Layer {
  const Int8Writer::Source& x;
  ValueId levels;  ///< x in the shape that the convolution wants
  Int8Weights weights;
  ValueId bias;      ///< numbers, constant
  ValueId residual;  ///< numbers
  ValueId y;
  Shape shape;  ///< of the convolution's output
  Activation activation;
  bool residual_last;
  ValueId slopes = kNone;  ///< of prelu, constant numbers
};

/// Writes the convolution; gives its output (levels where there is a target) or kNone.
ValueId write_layer(Int8Writer& writer, const Layer& layer, Window window, std::int64_t groups,
                    const std::optional<Int8Writer::Target>& target, const std::string& node) {
  std::vector<double> bias;
  if (layer.bias != kNone && target) bias = writer.builder().bake(layer.bias).doubles();
  Int8Convolution op{std::move(window),  groups,      layer.x.grid.zero,
                     {layer.activation}, {.high = 0}, layer.residual_last};
  float step = 1;
  double levels = 1;
  if (target) {
    const auto clamp = clamped(layer.activation, target->grid);
    op.requantize = clamp.value_or(Requantize{layer.activation, 1 / target->grid.scale, target->grid.zero,
                                              target->grid.low(), target->grid.high()});
    if (clamp) step = target->grid.scale;
    if (!clamp) levels = 1.0 / target->grid.scale;
  }
  auto found = constants(writer.value(layer.weights.levels), layer.weights.scales, layer.x.grid.scale, step,
                         levels, bias);
  if (!found) return kNone;
  writer.bake(layer.x);
  std::vector<ValueId> inputs{layer.levels, layer.weights.levels,
                              writer.builder().add_constant(std::move(found->multipliers)), kNone,
                              layer.residual == kNone ? kNone : writer.number(layer.residual)};
  if (!bias.empty()) inputs[3] = writer.builder().add_constant(std::move(found->bias));
  if (layer.bias != kNone && !target) {
    // numbers come of it: no need to round the bias
    const core::Tensor& given = writer.builder().bake(layer.bias);
    inputs[3] = writer.builder().add_constant(spread(given, layer.shape[1]));
  }
  if (layer.slopes != kNone) {
    inputs.resize(9, kNone);
    const core::Tensor& given = writer.builder().bake(layer.slopes);
    inputs[8] = writer.builder().add_constant(spread(given, layer.shape[1]));
  }
  if (target) writer.reach(*target);
  const ValueId out = target ? target->levels : layer.y;
  if (writer.value(out).shape == layer.shape) {
    writer.write(std::move(op), std::move(inputs), out, node);
  } else {
    const ValueId made =
        writer.write(std::move(op), std::move(inputs), writer.value(out).dtype, layer.shape, node);
    writer.write(Reshape{}, {made}, out, node);
  }
  return out;
}

bool is_vector(const Value& value, std::int64_t count) {
  const std::int64_t all = core::element_count(value.shape);
  return value.dtype == DType::f32 && (all == 1 || (all == count && value.shape.back() == count));
}

}  // namespace

bool write_int8_convolution(Int8Writer& writer, const Step& step) {
  const auto* conv = std::get_if<Convolution>(&step.operation);
  if (conv == nullptr) return false;
  const Int8Writer::Source* x = writer.source(step.inputs[0]);
  const std::size_t axes = writer.value(step.inputs[0]).shape.size();
  if (x == nullptr || axes < 4 || axes > 5) return false;
  const ValueId bias = input(step, 2), residual = input(step, 3), slopes = input(step, 4),
                y = step.outputs[0];
  for (const ValueId id : {bias, slopes}) {
    if (id != kNone && !writer.builder().is_constant(id)) return false;
  }
  auto weights = writer.weights(step.inputs[1], 0);
  if (!weights) return false;
  const auto target = residual == kNone ? writer.target(y) : std::nullopt;
  const Layer layer{*x,
                    x->levels,
                    std::move(*weights),
                    bias,
                    residual,
                    y,
                    writer.value(y).shape,
                    conv->activation,
                    conv->residual_last,
                    slopes};
  return write_layer(writer, layer, conv->window, conv->groups, target, step.node) != kNone;
}

core::Tensor scales_of(const Int8Weights& weights, std::int64_t filters) {
  core::Tensor scales(DType::f32, {static_cast<std::int64_t>(weights.scales.size())});
  std::ranges::copy(weights.scales, scales.write().as<float>());
  return spread(scales, filters);
}

core::Tensor spread(const core::Tensor& numbers, std::int64_t filters) {
  core::Tensor all(DType::f32, {filters});
  const std::vector<double> given = numbers.doubles();
  for (std::int64_t k = 0; k < filters; ++k)
    all.write().as<float>()[k] =
        static_cast<float>(given[given.size() == 1 ? 0 : static_cast<std::size_t>(k)]);
  return all;
}

core::Tensor transposed(const core::Tensor& matrix) {
  const std::int64_t depth = matrix.shape()[0], filters = matrix.shape()[1];
  core::Tensor result(DType::i8, {filters, depth, 1, 1});
  const auto* from = matrix.view().as<std::int8_t>();
  auto* to = result.write().as<std::int8_t>();
  constexpr std::int64_t kSide = 64;  // of squares whose rows and columns both stay in the first cache
  for (std::int64_t top = 0; top < depth; top += kSide) {
    for (std::int64_t left = 0; left < filters; left += kSide) {
      for (std::int64_t k = left; k < std::min(left + kSide, filters); ++k) {
        for (std::int64_t i = top; i < std::min(top + kSide, depth); ++i)
          to[k * depth + i] = from[i * filters + k];
      }
    }
  }
  return result;
}

/// Rows of a by a constant matrix, as a convolution of one pixel over as many images.
bool write_int8_product(Int8Writer& writer, const Step& step) {
  const auto* product = std::get_if<MatMul>(&step.operation);
  if (product == nullptr || product->transpose_a || product->alpha != 1 || product->beta != 1) return false;
  const Int8Writer::Source* x = writer.source(step.inputs[0]);
  const ValueId c = input(step, 2), residual = input(step, 3), y = step.outputs[0];
  if (x == nullptr || product->activation.function == Function::prelu) return false;
  const Shape a = writer.value(step.inputs[0]).shape, b = writer.value(step.inputs[1]).shape;
  if (b.size() != 2 || a.size() < 2) return false;
  const std::int64_t depth = a.back(), filters = writer.value(y).shape.back();
  if (c != kNone && (!writer.builder().is_constant(c) || !is_vector(writer.value(c), filters))) return false;
  auto weights = writer.weights(step.inputs[1], product->transpose_b ? 0 : 1);
  const std::int64_t rows = core::element_count(a) / std::max<std::int64_t>(1, depth);
  if (!weights || depth == 0 || rows == 0) return false;
  const core::Tensor given = writer.builder().data(weights->levels);
  core::Tensor filters_first =
      product->transpose_b ? given.reshaped({filters, depth, 1, 1}) : transposed(given);
  weights->levels = writer.builder().add_constant(std::move(filters_first));
  const ValueId levels = writer.write(Reshape{}, {x->levels}, x->grid.dtype, {rows, depth, 1, 1}, step.node);
  const Shape image = {rows, filters, 1, 1};
  const ValueId extra =
      residual == kNone ? kNone
                        : writer.write(Reshape{}, {writer.number(residual)}, DType::f32, image, step.node);
  const Layer layer{
      *x, levels, std::move(*weights), c, extra, y, image, product->activation, product->residual_last};
  return write_layer(writer, layer, {{1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}}, 1,
                     residual == kNone ? writer.target(y) : std::nullopt, step.node) != kNone;
}

namespace {

/// The window of a mean over images or volumes; nullopt where the step is none, or counts what Int8Pool does not.
std::optional<Int8Pool> mean_of(const Int8Writer& writer, const Step& step) {
  const Shape& x = writer.value(step.inputs[0]).shape;
  if (x.size() != 4 && x.size() != 5) return std::nullopt;
  if (const auto* pool = std::get_if<Pool>(&step.operation)) {
    const bool whole = !pool->count_include_pad || pool->counted_pads_end == pool->window.pads_end;
    if (pool->function != PoolFunction::average || !whole) return std::nullopt;
    const Window& window = pool->window;
    const bool volume = window.kernel.size() == 3;
    // planes of the padding, and between those of a window, are none that could be left out of the count
    const bool padded = volume && window.pads_begin[0] + window.pads_end[0] > 0 && !pool->count_include_pad;
    if (padded || (volume && window.dilations[1] != 1)) return std::nullopt;
    return Int8Pool{pool->window, pool->count_include_pad, 0, 1, {}};
  }
  const auto* reduce = std::get_if<Reduce>(&step.operation);
  if (reduce == nullptr || reduce->function != ReduceFunction::mean || reduce->axes.size() != x.size() - 2)
    return std::nullopt;
  for (std::size_t i = 0; i < reduce->axes.size(); ++i) {
    if (reduce->axes[i] != static_cast<std::int64_t>(i) + 2) return std::nullopt;
  }
  const std::vector<std::int64_t> ones(x.size() - 2, 1), zeros(x.size() - 2, 0);
  return Int8Pool{{{x.begin() + 2, x.end()}, ones, ones, zeros, zeros}, false, 0, 1, {}};
}

}  // namespace

bool write_int8_pool(Int8Writer& writer, const Step& step) {
  if (!std::holds_alternative<Pool>(step.operation) && !std::holds_alternative<Reduce>(step.operation))
    return false;
  const Int8Writer::Source* x = writer.source(step.inputs[0]);
  if (x == nullptr) return false;
  const auto target = writer.target(step.outputs[0]);
  auto op = mean_of(writer, step);
  if (!op || core::element_count(op->window.kernel) > (std::int64_t{1} << 22U)) return false;
  const Shape& from = writer.value(step.inputs[0]).shape;
  const bool global = std::equal(op->window.kernel.begin(), op->window.kernel.end(), from.begin() + 2);
  if (!target && !global) return false;
  op->x_zero = x->grid.zero;
  const double to = target ? target->grid.scale : 1.0;
  op->scale = static_cast<float>(static_cast<double>(x->grid.scale) / to);
  if (target) op->requantize = *clamped({}, target->grid);
  writer.bake(*x);
  if (target) writer.reach(*target);
  const ValueId out = target ? target->levels : step.outputs[0];
  if (writer.value(out).shape.size() == from.size()) {
    writer.write(*op, {x->levels}, out, step.node);
  } else {
    Shape shape(from.size(), 1);
    std::copy_n(from.begin(), 2, shape.begin());
    const ValueId made = writer.write(*op, {x->levels}, writer.value(out).dtype, shape, step.node);
    writer.write(Reshape{}, {made}, out, step.node);
  }
  return true;
}

/// Of a recurrent layer, the weights that meet its states stay levels.
bool write_int8_recurrence(Int8Writer& writer, const Step& step) {
  if (!std::holds_alternative<Recurrence>(step.operation)) return false;
  const auto weights = writer.weights(step.inputs[1], 0);
  if (!weights) return false;
  Step levels = step;
  levels.inputs.resize(8, kNone);
  levels.inputs[1] = kNone;
  for (ValueId& id : levels.inputs) id = writer.number(id);
  levels.inputs[1] = weights->levels;
  levels.inputs[7] =
      writer.builder().add_constant(scales_of(*weights, writer.value(weights->levels).shape[0]));
  writer.write(std::move(levels));
  return true;
}

}  // namespace rdquant::program
