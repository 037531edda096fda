// Numbers that multiply a product of two activations, or one of its operands, into the product's own factor.
#include <cmath>
#include <utility>

#include "program/fuse/rewriter.hpp"

namespace rdquant::program {
namespace {

struct Scaled {
  ValueId x = kNone, number = kNone;
  double factor = 1;
};

/// What step `i` is where it multiplies or divides float32 numbers by one number.
std::optional<Scaled> scaled_by(Rewriter& rewriter, std::size_t i) {
  const Step& step = rewriter.step(i);
  const auto* op = std::get_if<Binary>(&step.operation);
  if (op == nullptr || op->activation != Activation{}) return std::nullopt;
  const bool divides = op->function == BinaryFunction::div;
  if (!divides && op->function != BinaryFunction::mul) return std::nullopt;
  for (const std::size_t side : {std::size_t{1}, std::size_t{0}}) {
    const ValueId x = step.inputs[1 - side];
    const auto number = rewriter.scalar(step.inputs[side]);
    if (!number || rewriter.is_constant(x) || (divides && side == 0)) continue;
    const double factor = divides ? 1 / *number : *number;
    const bool fits = rewriter.dtype(x) == core::DType::f32 && std::isfinite(factor) &&
                      rewriter.shape(x) == rewriter.shape(step.outputs[0]);
    if (fits) return Scaled{x, step.inputs[side], factor};
  }
  return std::nullopt;
}

/// A product of two activations; a constant operand takes factors itself.
const MatMul* product_of(Rewriter& rewriter, std::size_t i) {
  const Step& step = rewriter.step(i);
  const auto* product = std::get_if<MatMul>(&step.operation);
  const bool weighs =
      product != nullptr && (rewriter.is_constant(step.inputs[0]) || rewriter.is_constant(step.inputs[1]));
  return weighs ? nullptr : product;
}

/// Number · (a · b), or (a · b) / number.
bool scale_result(Rewriter& rewriter, std::size_t i) {
  const auto scaled = scaled_by(rewriter, i);
  const auto maker = scaled ? rewriter.sole_maker<MatMul>(scaled->x) : std::nullopt;
  if (!maker || product_of(rewriter, *maker) == nullptr) return false;
  Step merged = rewriter.step(*maker);
  auto& product = std::get<MatMul>(merged.operation);
  if (product.activation != Activation{} || input(merged, 2) != kNone || input(merged, 3) != kNone)
    return false;
  product.alpha = static_cast<float>(product.alpha * scaled->factor);
  rewriter.bake(scaled->number);
  rewriter.merge(*maker, i, std::move(merged));
  return true;
}

/// The step that makes `id`, or of which that is the transpose or another shape, all of them read once.
std::optional<std::size_t> origin(Rewriter& rewriter, ValueId id) {
  while (true) {
    const auto maker = rewriter.maker(id);
    if (!maker || rewriter.readers(id) != 1) return std::nullopt;
    const Step& step = rewriter.step(*maker);
    if (!std::holds_alternative<Transpose>(step.operation) &&
        !std::holds_alternative<Reshape>(step.operation))
      return maker;
    id = step.inputs[0];
  }
}

/// (number · a) · b or a · (number · b), also where what is multiplied is transposed then.
bool scale_operand(Rewriter& rewriter, std::size_t i) {
  if (product_of(rewriter, i) == nullptr) return false;
  for (const std::size_t side : {std::size_t{0}, std::size_t{1}}) {
    const auto maker = origin(rewriter, rewriter.step(i).inputs[side]);
    const auto scaled = maker ? scaled_by(rewriter, *maker) : std::nullopt;
    if (!scaled) continue;
    auto& product = std::get<MatMul>(rewriter.step(i).operation);
    product.alpha = static_cast<float>(product.alpha * scaled->factor);
    rewriter.bake(scaled->number);
    rewriter.alias(*maker, rewriter.step(*maker).outputs[0], scaled->x);
    return true;
  }
  return false;
}

}  // namespace

bool fuse_scale(Rewriter& rewriter, std::size_t i) {
  return scale_result(rewriter, i) || scale_operand(rewriter, i);
}

}  // namespace rdquant::program
