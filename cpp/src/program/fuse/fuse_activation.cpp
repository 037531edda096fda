// Activations from their pieces, and into the step before them.
#include <algorithm>
#include <cmath>
#include <utility>

#include "program/fuse/rewriter.hpp"

namespace rdquant::program {
namespace {

bool near(double a, double b) { return std::abs(a - b) <= 1e-4 * std::abs(b); }

/// The same for the constants of GELU, which models in half precision hold rounded to its 11 bits.
bool near_in_half(double a, double b) { return std::abs(a - b) <= 5e-4 * std::abs(b); }

/// A product written as factor · Π values, with the constants that went into the factor.
struct Product {
  double factor = 1;
  std::vector<ValueId> values, constants;
};

/// Takes `id` apart as long as nobody else reads the parts. `root`: `id` is what the product makes.
void collect(Rewriter& rewriter, ValueId id, Product& product, bool root) {
  if (const auto number = rewriter.scalar(id)) {
    product.factor *= *number;
    product.constants.push_back(id);
    return;
  }
  const auto maker = rewriter.maker(id);
  const Binary* op = maker ? std::get_if<Binary>(&rewriter.step(*maker).operation) : nullptr;
  const bool open = op != nullptr && op->activation == Activation{} && (root || rewriter.readers(id) == 1) &&
                    product.values.size() < 4;
  if (open && op->function == BinaryFunction::mul) {
    const Step step = rewriter.step(*maker);
    collect(rewriter, step.inputs[0], product, false);
    collect(rewriter, step.inputs[1], product, false);
    return;
  }
  if (open && op->function == BinaryFunction::div) {
    const Step step = rewriter.step(*maker);
    if (const auto divisor = rewriter.scalar(step.inputs[1]); divisor && *divisor != 0) {
      collect(rewriter, step.inputs[0], product, false);
      product.factor /= *divisor;
      product.constants.push_back(step.inputs[1]);
      return;
    }
  }
  product.values.push_back(id);
}

/// x of a value made by `function(x)` alone.
std::optional<ValueId> argument(Rewriter& rewriter, ValueId id, Function function) {
  const auto maker = rewriter.sole_maker<Unary>(id);
  if (!maker || std::get<Unary>(rewriter.step(*maker).operation).activation.function != function)
    return std::nullopt;
  return rewriter.step(*maker).inputs[0];
}

/// x of a value made by x + number alone.
std::optional<ValueId> plus(Rewriter& rewriter, ValueId id, double number, std::vector<ValueId>& constants) {
  const auto maker = rewriter.sole_maker<Binary>(id);
  if (!maker) return std::nullopt;
  const Step step = rewriter.step(*maker);
  const auto& op = std::get<Binary>(step.operation);
  if (op.function != BinaryFunction::add || op.activation != Activation{}) return std::nullopt;
  for (const std::size_t side : {std::size_t{0}, std::size_t{1}}) {
    const auto constant = rewriter.scalar(step.inputs[1 - side]);
    if (!constant || !near(*constant, number)) continue;
    constants.push_back(step.inputs[1 - side]);
    return step.inputs[side];
  }
  return std::nullopt;
}

/// c of c · x; nullopt where the value is not that.
std::optional<double> multiple(Rewriter& rewriter, ValueId id, ValueId x, std::vector<ValueId>& constants) {
  if (id == x) return 1.0;
  if (rewriter.readers(id) != 1) return std::nullopt;
  Product product;
  collect(rewriter, id, product, true);
  if (product.values != std::vector<ValueId>{x}) return std::nullopt;
  std::ranges::copy(product.constants, std::back_inserter(constants));
  return product.factor;
}

/// c of c · x³, by multiplication or pow.
std::optional<double> cube(Rewriter& rewriter, ValueId id, ValueId x, std::vector<ValueId>& constants) {
  Product product;
  collect(rewriter, id, product, true);
  std::ranges::copy(product.constants, std::back_inserter(constants));
  if (product.values == std::vector<ValueId>{x, x, x}) return product.factor;
  if (product.values.size() != 1) return std::nullopt;
  const auto maker = rewriter.sole_maker<Binary>(product.values[0]);
  if (!maker) return std::nullopt;
  const Step power = rewriter.step(*maker);
  if (std::get<Binary>(power.operation).function != BinaryFunction::pow || power.inputs[0] != x ||
      rewriter.scalar(power.inputs[1]) != 3.0) {
    return std::nullopt;
  }
  constants.push_back(power.inputs[1]);
  return product.factor;
}

/// √(2/π) (x + 0.044715 x³)
bool is_gelu_argument(Rewriter& rewriter, ValueId id, ValueId x, std::vector<ValueId>& constants) {
  Product product;
  collect(rewriter, id, product, true);
  if (product.values.size() != 1 || !near_in_half(product.factor, 0.7978845608)) return false;
  std::ranges::copy(product.constants, std::back_inserter(constants));
  const auto maker = rewriter.sole_maker<Binary>(product.values[0]);
  if (!maker || std::get<Binary>(rewriter.step(*maker).operation).function != BinaryFunction::add)
    return false;
  const Step sum = rewriter.step(*maker);
  const ValueId cubic = sum.inputs[0] == x ? sum.inputs[1] : sum.inputs[0];
  if (sum.inputs[0] != x && sum.inputs[1] != x) return false;
  const auto factor = cube(rewriter, cubic, x, constants);
  return factor && near_in_half(*factor, 0.044715);
}

/// The activation that factor · x · gate is.
std::optional<Activation> gated(Rewriter& rewriter, double factor, ValueId x, ValueId gate,
                                std::vector<ValueId>& constants) {
  if (const auto inner = argument(rewriter, gate, Function::sigmoid); inner && near(factor, 1)) {
    const auto slope = multiple(rewriter, *inner, x, constants);
    if (!slope) return std::nullopt;
    if (*slope == 1.0) return Activation{Function::silu};
    return Activation{Function::swish, static_cast<float>(*slope)};
  }
  if (const auto inner = argument(rewriter, gate, Function::tanh); inner && near(factor, 1)) {
    if (argument(rewriter, *inner, Function::softplus) == x) return Activation{Function::mish};
  }
  if (const auto inner = argument(rewriter, gate, Function::hard_sigmoid); inner == x && near(factor, 1)) {
    const Activation& a = std::get<Unary>(rewriter.step(*rewriter.maker(gate)).operation).activation;
    if (near(a.a, 1.0 / 6) && near(a.b, 0.5)) return Activation{Function::hard_swish};
  }
  if (const auto inner = argument(rewriter, gate, Function::clip); inner && near(factor, 1.0 / 6)) {
    const Activation& a = std::get<Unary>(rewriter.step(*rewriter.maker(gate)).operation).activation;
    if (a.a == 0 && a.b == 6 && plus(rewriter, *inner, 3, constants) == x)
      return Activation{Function::hard_swish};
  }
  const auto raised = near(factor, 0.5) ? plus(rewriter, gate, 1, constants) : std::nullopt;
  if (!raised) return std::nullopt;
  if (const auto inner = argument(rewriter, *raised, Function::erf)) {
    const auto slope = multiple(rewriter, *inner, x, constants);
    if (slope && near_in_half(*slope, 0.70710678)) return Activation{Function::gelu};
  }
  if (const auto inner = argument(rewriter, *raised, Function::tanh)) {
    if (is_gelu_argument(rewriter, *inner, x, constants)) return Activation{Function::gelu_tanh};
  }
  return std::nullopt;
}

/// clip(x + 3, 0, 6) / 6
std::optional<ValueId> hard_sigmoid(Rewriter& rewriter, const Product& product,
                                    std::vector<ValueId>& constants) {
  if (product.values.size() != 1 || !near(product.factor, 1.0 / 6)) return std::nullopt;
  const auto inner = argument(rewriter, product.values[0], Function::clip);
  if (!inner) return std::nullopt;
  const Activation& a =
      std::get<Unary>(rewriter.step(*rewriter.maker(product.values[0])).operation).activation;
  if (a.a != 0 || a.b != 6) return std::nullopt;
  return plus(rewriter, *inner, 3, constants);
}

bool takes_any(Function function) {
  switch (function) {
    case Function::relu:
    case Function::clip:
    case Function::leaky_relu:
    case Function::sigmoid:
    case Function::silu:
    case Function::hard_sigmoid:
    case Function::hard_swish:
    case Function::tanh:
    case Function::elu:
    case Function::gelu:
    case Function::gelu_tanh:
    case Function::mish:
    case Function::swish:
      return true;
    default:
      return false;
  }
}

Activation* activation_of(Operation& operation) {
  return std::visit(
      [](auto& op) -> Activation* {
        using Op = std::decay_t<decltype(op)>;
        if constexpr (std::is_same_v<Op, Unary>) {
          return nullptr;
        } else if constexpr (requires { op.activation; }) {
          return &op.activation;
        } else {
          return nullptr;
        }
      },
      operation);
}

/// True where the step's last function is still free.
bool is_open(Operation& operation) {
  const Activation* activation = activation_of(operation);
  if (activation == nullptr || *activation != Activation{}) return false;
  const auto* conv = std::get_if<Convolution>(&operation);
  const auto* product = std::get_if<MatMul>(&operation);
  return !(conv != nullptr && conv->residual_last) && !(product != nullptr && product->residual_last);
}

/// PRelu with a slope per channel into the convolution that makes x.
bool fuse_slopes(Rewriter& rewriter, std::size_t i) {
  const Step prelu = rewriter.step(i);
  const auto& op = std::get<Binary>(prelu.operation);
  if (op.function != BinaryFunction::prelu || op.activation != Activation{}) return false;
  const auto maker = rewriter.sole_maker<Convolution>(prelu.inputs[0]);
  if (!maker || !rewriter.is_constant(prelu.inputs[1]) || !is_open(rewriter.step(*maker).operation))
    return false;
  const std::int64_t channels = rewriter.shape(prelu.outputs[0])[1];
  const core::Shape slopes = rewriter.shape(prelu.inputs[1]), image = rewriter.shape(prelu.outputs[0]);
  const std::int64_t count = core::element_count(slopes);
  const bool fits = count == 1 || (count == channels && slopes.size() + 1 >= image.size() &&
                                   slopes[slopes.size() + 1 - image.size()] == channels);
  if (!fits) return false;
  Builder& builder = rewriter.builder();
  const core::DType dtype = rewriter.dtype(prelu.inputs[1]);
  ValueId vector = builder.emit(Reshape{}, {prelu.inputs[1]}, dtype, {count}, prelu.node);
  if (count != channels) vector = builder.emit(Expand{}, {vector}, dtype, {channels}, prelu.node);
  Step merged = rewriter.step(*maker);
  merged.inputs.resize(5, kNone);
  merged.inputs[4] = vector;
  std::get<Convolution>(merged.operation).activation = {Function::prelu};
  rewriter.merge(*maker, i, std::move(merged));
  return true;
}

/// A function of concatenated values into all that make them.
bool fuse_parts(Rewriter& rewriter, std::size_t i, std::size_t joint) {
  const std::vector<ValueId> parts = rewriter.step(joint).inputs;
  for (const ValueId part : parts) {
    const auto maker = rewriter.maker(part);
    if (!maker || rewriter.readers(part) != 1 || !is_open(rewriter.step(*maker).operation)) return false;
  }
  const Activation activation = std::get<Unary>(rewriter.step(i).operation).activation;
  for (const ValueId part : parts)
    *activation_of(rewriter.step(*rewriter.maker(part)).operation) = activation;
  rewriter.alias(i, rewriter.step(i).outputs[0], rewriter.step(joint).outputs[0]);
  return true;
}

}  // namespace

bool fuse_pieces(Rewriter& rewriter, std::size_t i) {
  const auto* op = std::get_if<Binary>(&rewriter.step(i).operation);
  const bool product_like = op != nullptr && op->activation == Activation{} &&
                            (op->function == BinaryFunction::mul || op->function == BinaryFunction::div);
  const ValueId made = rewriter.step(i).outputs[0];
  if (!product_like || rewriter.dtype(made) != core::DType::f32) return false;
  Product product;
  collect(rewriter, made, product, true);
  if (product.constants.size() + product.values.size() < 2 || product.values.size() > 2) return false;
  std::vector<ValueId> constants = product.constants;
  if (const auto x = hard_sigmoid(rewriter, product, constants)) {
    for (const ValueId id : constants) rewriter.bake(id);
    rewriter.replace(i, Unary{{Function::hard_sigmoid, 1.0F / 6, 0.5F}}, {*x});
    return true;
  }
  if (product.values.size() != 2) return false;
  for (const std::size_t side : {std::size_t{0}, std::size_t{1}}) {
    constants = product.constants;
    const ValueId x = product.values[side];
    if (rewriter.shape(x) != rewriter.shape(made)) continue;
    const auto activation = gated(rewriter, product.factor, x, product.values[1 - side], constants);
    if (!activation) continue;
    for (const ValueId id : constants) rewriter.bake(id);
    rewriter.replace(i, Unary{*activation}, {x});
    return true;
  }
  return false;
}

bool fuse_activation(Rewriter& rewriter, std::size_t i) {
  if (std::holds_alternative<Binary>(rewriter.step(i).operation)) return fuse_slopes(rewriter, i);
  const auto* unary = std::get_if<Unary>(&rewriter.step(i).operation);
  if (unary == nullptr || !takes_any(unary->activation.function)) return false;
  const ValueId x = rewriter.step(i).inputs[0];
  const auto maker = rewriter.maker(x);
  if (!maker || rewriter.readers(x) != 1 || rewriter.dtype(x) != core::DType::f32) return false;
  if (std::holds_alternative<Concat>(rewriter.step(*maker).operation)) return fuse_parts(rewriter, i, *maker);
  if (!is_open(rewriter.step(*maker).operation)) return false;
  Step merged = rewriter.step(*maker);
  *activation_of(merged.operation) = unary->activation;
  rewriter.merge(*maker, i, std::move(merged));
  return true;
}

}  // namespace rdquant::program
