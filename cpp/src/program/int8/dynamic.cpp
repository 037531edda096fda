// Layers whose ranges are known at run time only: ConvInteger or MatMulInteger, and what makes numbers of
// their sums; products of numbers that were made of levels.
#include <algorithm>
#include <cmath>
#include <utility>

#include "program/int8/int8.hpp"

namespace rdquant::program {
namespace {

using core::DType;
using core::Shape;

constexpr std::int64_t kMostTerms = (std::int64_t{1} << 31U) / (255 * 128);  ///< that int32 holds the sums of

/// Levels less the level that stands for 0, which may be a constant.
struct Apart {
  ValueId levels = kNone, zero = kNone;
  std::int32_t constant = 0;
};

const Step* cast_to(const Int8Writer& writer, const Step* step, DType dtype) {
  const bool is = step != nullptr && std::holds_alternative<Cast>(step->operation) &&
                  writer.value(step->outputs[0]).dtype == dtype;
  return is ? step : nullptr;
}

/// The levels that were cast to float64 as `id`.
ValueId levels_of(const Int8Writer& writer, ValueId id) {
  const Step* cast = cast_to(writer, writer.maker(id), DType::f64);
  if (cast == nullptr) return kNone;
  const DType dtype = writer.value(cast->inputs[0]).dtype;
  return dtype == DType::u8 || dtype == DType::i8 ? cast->inputs[0] : kNone;
}

std::optional<Apart> apart(Int8Writer& writer, ValueId id) {
  Apart found{levels_of(writer, id), kNone, 0};
  if (found.levels != kNone) return found;
  const Step* sub = writer.maker(id);
  const auto* op = sub == nullptr ? nullptr : std::get_if<Binary>(&sub->operation);
  if (op == nullptr || op->function != BinaryFunction::sub || op->activation != Activation{})
    return std::nullopt;
  found.levels = levels_of(writer, sub->inputs[0]);
  const ValueId zero = sub->inputs[1];
  if (found.levels == kNone || core::element_count(writer.value(zero).shape) != 1) return std::nullopt;
  if (writer.builder().is_constant(zero)) {
    found.constant = static_cast<std::int32_t>(writer.builder().bake(zero).doubles().front());
  } else {
    found.zero = levels_of(writer, zero);
    if (found.zero == kNone || writer.value(found.zero).dtype != writer.value(found.levels).dtype)
      return std::nullopt;
  }
  return found;
}

/// Weights of float64 that are whole numbers from −128 to 127, of which sums stay within int32.
std::optional<core::Tensor> whole(const core::Tensor& weights, std::int64_t filters) {
  const auto* const numbers = weights.view().as<double>();
  core::Tensor levels(DType::i8, weights.shape());
  auto* to = levels.write().as<std::int8_t>();
  for (std::int64_t i = 0; i < weights.size(); ++i) {
    if (numbers[i] != std::floor(numbers[i]) || numbers[i] < -128 || numbers[i] > 127) return std::nullopt;
    to[i] = static_cast<std::int8_t>(numbers[i]);
  }
  const std::int64_t terms = weights.size() / std::max<std::int64_t>(1, filters);
  if (terms >= kMostTerms) return std::nullopt;
  return levels;
}

/// A constant with one number, or one for each of `filters` along axis `axis` of `rank`.
bool is_per_filter(Int8Writer& writer, ValueId id, std::int64_t filters, std::size_t from_end) {
  if (!writer.builder().is_constant(id) || writer.value(id).dtype != DType::f32) return false;
  const Shape& shape = writer.value(id).shape;
  const std::int64_t count = core::element_count(shape);
  return count == 1 ||
         (count == filters && shape.size() > from_end && shape[shape.size() - 1 - from_end] == filters);
}

/// What makes numbers of sums: Cast to int32, Cast to float32, product with the scales, bias.
struct Chain {
  std::vector<const Step*> steps;
  ValueId scale = kNone;    ///< of x, known at run time
  ValueId weights = kNone;  ///< scales of the weights, constant
  ValueId bias = kNone, y = kNone;
  Activation activation;
};

const Binary* binary(const Step* step, BinaryFunction function) {
  const auto* op = step == nullptr ? nullptr : std::get_if<Binary>(&step->operation);
  return op != nullptr && op->function == function ? op : nullptr;
}

/// Scales of x and of the weights, from their product or the first alone.
bool find_scales(Int8Writer& writer, ValueId product, std::int64_t filters, std::size_t from_end,
                 Chain& chain) {
  if (core::element_count(writer.value(product).shape) == 1 && !writer.builder().is_constant(product) &&
      writer.maker(product) != nullptr && binary(writer.maker(product), BinaryFunction::mul) == nullptr) {
    chain.scale = product;
    return true;
  }
  const Step* mul = writer.maker(product);
  if (mul != nullptr && from_end > 0 && std::holds_alternative<Reshape>(mul->operation)) {
    mul = writer.maker(mul->inputs[0]);  // scales of filters along a line, reshaped for its image
    --from_end;
  }
  const Binary* op = binary(mul, BinaryFunction::mul);
  if (op == nullptr || op->activation != Activation{}) return false;
  for (const std::size_t side : {std::size_t{0}, std::size_t{1}}) {
    const ValueId scale = mul->inputs[side], weights = mul->inputs[1 - side];
    if (writer.builder().is_constant(scale) || core::element_count(writer.value(scale).shape) != 1) continue;
    if (!is_per_filter(writer, weights, filters, from_end)) continue;
    chain.scale = scale;
    chain.weights = weights;
    return true;
  }
  return false;
}

std::optional<Chain> chain_from(Int8Writer& writer, ValueId sums, std::int64_t filters,
                                std::size_t from_end) {
  const Step* whole_sums = cast_to(writer, writer.reader(sums), DType::i32);
  if (whole_sums == nullptr) return std::nullopt;
  const Step* numbers = cast_to(writer, writer.reader(whole_sums->outputs[0]), DType::f32);
  if (numbers == nullptr) return std::nullopt;
  const Step* scaled = writer.reader(numbers->outputs[0]);
  const Binary* op = binary(scaled, BinaryFunction::mul);
  if (op == nullptr || writer.value(scaled->outputs[0]).shape != writer.value(sums).shape)
    return std::nullopt;
  Chain chain{{whole_sums, numbers, scaled}, kNone, kNone, kNone, scaled->outputs[0], op->activation};
  const ValueId product = scaled->inputs[scaled->inputs[0] == numbers->outputs[0] ? 1 : 0];
  if (!find_scales(writer, product, filters, from_end, chain)) return std::nullopt;
  const Step* sum = op->activation == Activation{} ? writer.reader(chain.y) : nullptr;
  const Binary* add = binary(sum, BinaryFunction::add);
  if (add != nullptr) {
    const ValueId bias = sum->inputs[sum->inputs[0] == chain.y ? 1 : 0];
    if (is_per_filter(writer, bias, filters, from_end) &&
        writer.value(sum->outputs[0]).shape == writer.value(sums).shape) {
      chain.steps.push_back(sum);
      chain.bias = bias;
      chain.y = sum->outputs[0];
      chain.activation = add->activation;
    }
  }
  if (chain.activation.function == Function::prelu) return std::nullopt;
  return chain;
}

void write_chain(Int8Writer& writer, const Step& step, const Chain& chain, const Apart& x,
                 core::Tensor weights, Int8Convolution op) {
  Builder& builder = writer.builder();
  const std::int64_t filters = weights.shape()[0];
  op.x_zero = x.constant;
  op.requantize.activation = chain.activation;
  core::Tensor multipliers(DType::f32, {filters});
  std::fill_n(multipliers.write().as<float>(), filters, 1.0F);
  if (chain.weights != kNone) multipliers = spread(builder.bake(chain.weights), filters);
  const ValueId bias =
      chain.bias == kNone ? kNone : builder.add_constant(spread(builder.bake(chain.bias), filters));
  ValueId levels = writer.renamed(x.levels);
  const Shape given = writer.value(levels).shape, out = writer.value(chain.y).shape;
  const bool product = std::holds_alternative<MatMul>(step.operation);
  const std::int64_t rows = product ? core::element_count(given) / given.back() : 0;
  if (product)
    levels =
        writer.write(Reshape{}, {levels}, writer.value(levels).dtype, {rows, given.back(), 1, 1}, step.node);
  std::vector<ValueId> inputs{levels,
                              builder.add_constant(std::move(weights)),
                              builder.add_constant(std::move(multipliers)),
                              bias,
                              kNone,
                              kNone,
                              writer.renamed(x.zero),
                              writer.number(chain.scale)};
  for (const Step* done : chain.steps) writer.skip(*done);
  if (!product) return writer.write(std::move(op), std::move(inputs), chain.y, step.node);
  const ValueId made =
      writer.write(std::move(op), std::move(inputs), DType::f32, {rows, filters, 1, 1}, step.node);
  writer.write(Reshape{}, {made}, chain.y, step.node);
}

}  // namespace

bool write_dynamic_layer(Int8Writer& writer, const Step& step) {
  const auto* conv = std::get_if<Convolution>(&step.operation);
  const auto* product = std::get_if<MatMul>(&step.operation);
  if ((conv == nullptr && product == nullptr) || writer.value(step.outputs[0]).dtype != DType::f64)
    return false;
  if (step.inputs.size() != 2 || !writer.builder().is_constant(step.inputs[1])) return false;
  const auto x = apart(writer, step.inputs[0]);
  const Shape w = writer.value(step.inputs[1]).shape;
  if (!x || (conv != nullptr ? w.size() != 4 && w.size() != 5 : w.size() != 2)) return false;
  if (product != nullptr &&
      (product->transpose_a || product->transpose_b || writer.value(x->levels).shape.size() < 2))
    return false;
  const std::int64_t filters = conv != nullptr ? w[0] : w[1];
  const auto chain = chain_from(writer, step.outputs[0], filters, conv != nullptr ? w.size() - 2 : 0);
  if (!chain || writer.value(step.inputs[1]).dtype != DType::f64) return false;
  auto weights = whole(writer.builder().data(step.inputs[1]), filters);
  if (!weights || weights->size() == 0) return false;
  static_cast<void>(writer.builder().bake(step.inputs[1]));
  writer.builder().drop(step.inputs[1]);  // eight times as large as the levels
  Int8Convolution op{{{1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}}, 1, 0, {}, {.high = 0}, false};
  if (conv != nullptr) {
    op.window = conv->window;
    op.groups = conv->groups;
  } else {
    weights = transposed(*weights);
  }
  write_chain(writer, step, *chain, *x, std::move(*weights), std::move(op));
  return true;
}

namespace {

/// Numbers that were made of levels with a scale that is known at run time, and what moved them since.
struct Moved {
  const Step* made;
  std::vector<const Step*> moves;  ///< the last first
};

std::optional<Moved> moved(Int8Writer& writer, ValueId id) {
  Moved found{writer.maker(id), {}};
  while (found.made != nullptr && (std::holds_alternative<Reshape>(found.made->operation) ||
                                   std::holds_alternative<Transpose>(found.made->operation))) {
    found.moves.push_back(found.made);
    found.made = writer.maker(found.made->inputs[0]);
  }
  if (found.made == nullptr || !std::holds_alternative<Dequantize>(found.made->operation))
    return std::nullopt;
  const auto single = [&](ValueId one) { return core::element_count(writer.value(one).shape) == 1; };
  const ValueId levels = found.made->inputs[0], scale = found.made->inputs[1], zero = input(*found.made, 2);
  const DType dtype = writer.value(levels).dtype;
  if ((dtype != DType::u8 && dtype != DType::i8) || writer.value(scale).dtype != DType::f32)
    return std::nullopt;
  if (writer.builder().is_constant(scale) || !single(scale) || (zero != kNone && !single(zero)))
    return std::nullopt;
  return found;
}

/// The levels of `x`, moved likewise, as rows of `depth`.
ValueId rows_of(Int8Writer& writer, const Moved& x, std::int64_t rows, std::int64_t depth) {
  ValueId levels = writer.renamed(x.made->inputs[0]);
  const DType dtype = writer.value(levels).dtype;
  for (auto step = x.moves.rbegin(); step != x.moves.rend(); ++step) {
    const Shape shape = writer.value((*step)->outputs[0]).shape;
    levels = writer.write((*step)->operation, {levels}, dtype, shape, (*step)->node);
  }
  return writer.write(Reshape{}, {levels}, dtype, {rows, depth, 1, 1}, x.made->node);
}

}  // namespace

bool write_dynamic_product(Int8Writer& writer, const Step& step) {
  const auto* product = std::get_if<MatMul>(&step.operation);
  if (product == nullptr || product->transpose_a || product->alpha != 1 || product->beta != 1) return false;
  const ValueId bias = input(step, 2), y = step.outputs[0];
  if (product->activation.function == Function::prelu) return false;
  const Shape a = writer.value(step.inputs[0]).shape, b = writer.value(step.inputs[1]).shape;
  if (b.size() != 2 || a.size() < 2 || core::element_count(a) == 0) return false;
  const std::int64_t depth = a.back(), filters = writer.value(y).shape.back();
  const auto x = moved(writer, step.inputs[0]);
  if (!x || depth >= kMostTerms || (bias != kNone && !is_per_filter(writer, bias, filters, 0))) return false;
  auto weights = writer.weights(step.inputs[1], product->transpose_b ? 0 : 1);
  if (!weights) return false;
  Builder& builder = writer.builder();
  const std::int64_t rows = core::element_count(a) / depth;
  const core::Tensor given = writer.value(weights->levels).data;
  Int8Convolution op{{{1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}},
                     1,
                     0,
                     {product->activation},
                     {.high = 0},
                     product->residual_last};
  const ValueId zero = input(*x->made, 2);
  const Shape image = {rows, filters, 1, 1};
  const ValueId residual = input(step, 3);
  const bool known = zero != kNone && builder.is_constant(zero);
  if (known) op.x_zero = static_cast<std::int32_t>(builder.bake(zero).integers().front());
  std::vector<ValueId> inputs{
      rows_of(writer, *x, rows, depth),
      builder.add_constant(product->transpose_b ? given.reshaped({filters, depth, 1, 1}) : transposed(given)),
      builder.add_constant(scales_of(*weights, filters)),
      bias == kNone ? kNone : builder.add_constant(spread(builder.bake(bias), filters)),
      kNone,
      kNone,
      known ? kNone : writer.renamed(zero),
      writer.number(x->made->inputs[1])};
  if (residual != kNone)
    inputs[4] = writer.write(Reshape{}, {writer.number(residual)}, DType::f32, image, step.node);
  const ValueId made = writer.write(std::move(op), std::move(inputs), DType::f32, image, step.node);
  writer.write(Reshape{}, {made}, y, step.node);
  return true;
}

}  // namespace rdquant::program
