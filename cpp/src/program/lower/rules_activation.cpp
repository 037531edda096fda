// Functions of one number, element by element.
#include <limits>
#include <utility>

#include "program/lower/lowering.hpp"

namespace rdquant::program {
namespace {

void unary(Lowering& node, const Activation& activation) {
  const ValueId x = node.input(0);
  node.give(0, node.emit_like(Unary{activation}, {x}, x));
}

template <Function function>
void plain(Lowering& node) {
  unary(node, {function});
}

template <Function function>
void test(Lowering& node) {
  const ValueId x = node.input(0);
  Activation activation{function};
  if (function == Function::is_inf) {
    activation.a = static_cast<float>(node.integer("detect_negative", 1));
    activation.b = static_cast<float>(node.integer("detect_positive", 1));
  }
  node.give(0, node.emit(Unary{activation}, {x}, core::DType::boolean, node.shape(x)));
}

void identity(Lowering& node) { node.give(0, node.input(0)); }

/// Inference keeps every element: the mask is true.
void dropout(Lowering& node) {
  const ValueId x = node.input(0);
  if (node.has_input(2) && node.integers_of(2).at(0) != 0) node.unsupported("training_mode = true");
  node.give(0, x);
  if (!node.wants(1)) return;
  const core::DType dtype = node.opset() < 10 ? node.dtype(x) : core::DType::boolean;
  const ValueId one = node.builder().add_scalar(dtype, 1);
  node.give(1, node.emit(Expand{}, {one}, dtype, node.shape(x)));
}

/// Limits that are no constants, or integers beyond what a float holds, become min and max.
void clip(Lowering& node) {
  const ValueId x = node.input(0);
  constexpr float kMost = std::numeric_limits<float>::max();
  if (node.opset() < 11)
    return unary(node, {Function::clip, node.real("min", -kMost), node.real("max", kMost)});
  const ValueId low = node.optional_input(1), high = node.optional_input(2);
  const auto constant = [&](ValueId id) { return id == kNone || node.builder().is_constant(id); };
  const core::DType dtype = node.dtype(x);
  const bool holds_limits =
      dtype == core::DType::f32 || dtype == core::DType::f16 || dtype == core::DType::bf16;
  if (holds_limits && constant(low) && constant(high)) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const auto limit = [&](std::size_t i, float otherwise) {
      if (!node.has_input(i)) return otherwise;
      const std::vector<double> numbers = node.numbers_of(i);
      node.check(numbers.size() == 1, "a limit must be one number");
      return static_cast<float>(numbers[0]);
    };
    return unary(node, {Function::clip, limit(1, -kInfinity), limit(2, kInfinity)});
  }
  ValueId y = x;
  if (low != kNone) y = node.emit_like(Binary{BinaryFunction::max, {}}, {y, low}, x);
  if (high != kNone) y = node.emit_like(Binary{BinaryFunction::min, {}}, {y, high}, x);
  node.give(0, y);
}

void gelu(Lowering& node) {
  const std::string approximate = node.text("approximate", "none");
  if (approximate != "none" && approximate != "tanh") node.unsupported("approximate = '" + approximate + "'");
  unary(node, {approximate == "tanh" ? Function::gelu_tanh : Function::gelu});
}

}  // namespace

void add_activation_rules(Rules& rules) {
  rules["Relu"] = plain<Function::relu>;
  rules["Sigmoid"] = plain<Function::sigmoid>;
  rules["HardSwish"] = plain<Function::hard_swish>;
  rules["Tanh"] = plain<Function::tanh>;
  rules["Mish"] = plain<Function::mish>;
  rules["Softplus"] = plain<Function::softplus>;
  rules["Softsign"] = plain<Function::softsign>;
  rules["Exp"] = plain<Function::exp>;
  rules["Log"] = plain<Function::log>;
  rules["Sqrt"] = plain<Function::sqrt>;
  rules["Reciprocal"] = plain<Function::reciprocal>;
  rules["Erf"] = plain<Function::erf>;
  rules["Abs"] = plain<Function::abs>;
  rules["Neg"] = plain<Function::neg>;
  rules["Sign"] = plain<Function::sign>;
  rules["Floor"] = plain<Function::floor>;
  rules["Ceil"] = plain<Function::ceil>;
  rules["Round"] = plain<Function::round>;
  rules["Sin"] = plain<Function::sin>;
  rules["Cos"] = plain<Function::cos>;
  rules["Tan"] = plain<Function::tan>;
  rules["Asin"] = plain<Function::asin>;
  rules["Acos"] = plain<Function::acos>;
  rules["Atan"] = plain<Function::atan>;
  rules["Sinh"] = plain<Function::sinh>;
  rules["Cosh"] = plain<Function::cosh>;
  rules["Asinh"] = plain<Function::asinh>;
  rules["Acosh"] = plain<Function::acosh>;
  rules["Atanh"] = plain<Function::atanh>;
  rules["Not"] = plain<Function::logical_not>;
  rules["BitwiseNot"] = plain<Function::bitwise_not>;
  rules["IsNaN"] = test<Function::is_nan>;
  rules["IsInf"] = test<Function::is_inf>;
  rules["Identity"] = identity;
  rules["Dropout"] = dropout;
  rules["Clip"] = clip;
  rules["Gelu"] = gelu;
  rules["LeakyRelu"] = [](Lowering& n) { unary(n, {Function::leaky_relu, n.real("alpha", 0.01F)}); };
  rules["HardSigmoid"] = [](Lowering& n) {
    unary(n, {Function::hard_sigmoid, n.real("alpha", 0.2F), n.real("beta", 0.5F)});
  };
  rules["Elu"] = [](Lowering& n) { unary(n, {Function::elu, n.real("alpha", 1)}); };
  rules["Selu"] = [](Lowering& n) {
    unary(n, {Function::selu, n.real("alpha", 1.67326319F), n.real("gamma", 1.05070102F)});
  };
  rules["Celu"] = [](Lowering& n) { unary(n, {Function::celu, n.real("alpha", 1)}); };
  rules["Swish"] = [](Lowering& n) { unary(n, {Function::swish, n.real("alpha", 1)}); };
  rules["ThresholdedRelu"] = [](Lowering& n) { unary(n, {Function::thresholded_relu, n.real("alpha", 1)}); };
  rules["Shrink"] = [](Lowering& n) {
    unary(n, {Function::shrink, n.real("lambd", 0.5F), n.real("bias", 0)});
  };
}

}  // namespace rdquant::program
