// Functions of two numbers and more with broadcasting; Where, Cast.
#include <array>
#include <utility>

#include "program/lower/lowering.hpp"
#include "rdquant/core/error.hpp"

namespace rdquant::program {
namespace {

core::Shape common(const Lowering& node, const core::Shape& a, const core::Shape& b) {
  try {
    return broadcast(a, b);
  } catch (const std::exception& error) {
    node.invalid(error.what());
  }
}

ValueId apply(Lowering& node, BinaryFunction function, ValueId a, ValueId b) {
  return node.emit(Binary{function, {}}, {a, b}, node.dtype(a), common(node, node.shape(a), node.shape(b)));
}

template <BinaryFunction function>
void binary(Lowering& node) {
  node.give(0, apply(node, function, node.input(0), node.input(1)));
}

template <BinaryFunction function>
void comparison(Lowering& node) {
  const ValueId a = node.input(0), b = node.input(1);
  node.give(0, node.emit(Binary{function, {}}, {a, b}, core::DType::boolean,
                         common(node, node.shape(a), node.shape(b))));
}

template <BinaryFunction function>
void variadic(Lowering& node) {
  ValueId sum = node.input(0);
  for (std::size_t i = 1; i < node.inputs(); ++i) sum = apply(node, function, sum, node.input(i));
  node.give(0, sum);
}

void mean(Lowering& node) {
  ValueId sum = node.input(0);
  for (std::size_t i = 1; i < node.inputs(); ++i) sum = apply(node, BinaryFunction::add, sum, node.input(i));
  const ValueId count = node.builder().add_scalar(node.dtype(sum), static_cast<double>(node.inputs()));
  node.give(0, apply(node, BinaryFunction::div, sum, count));
}

void modulo(Lowering& node) {
  const bool dividend = node.integer("fmod", 0) != 0;
  node.give(0,
            apply(node, dividend ? BinaryFunction::fmod : BinaryFunction::mod, node.input(0), node.input(1)));
}

void shift(Lowering& node) {
  const bool left = node.text("direction", "") == "LEFT";
  node.give(0, apply(node, left ? BinaryFunction::shift_left : BinaryFunction::shift_right, node.input(0),
                     node.input(1)));
}

void prelu(Lowering& node) {
  const ValueId x = node.input(0), slope = node.input(1);
  node.check(broadcasts_to(node.shape(slope), node.shape(x)),
             "slopes of shape " + core::shape_text(node.shape(slope)) + " do not broadcast to " +
                 core::shape_text(node.shape(x)));
  node.give(0, node.emit_like(Binary{BinaryFunction::prelu, {}}, {x, slope}, x));
}

void where(Lowering& node) {
  const ValueId condition = node.input(0), x = node.input(1), y = node.input(2);
  node.check(node.dtype(condition) == core::DType::boolean, "the condition must be boolean");
  node.check_same_type(std::array{x, y});
  core::Shape shape = common(node, common(node, node.shape(condition), node.shape(x)), node.shape(y));
  node.give(0, node.emit(Where{}, {condition, x, y}, node.dtype(x), std::move(shape)));
}

void cast_to(Lowering& node, core::DType to) {
  const ValueId x = node.input(0);
  if (node.dtype(x) == to) return node.give(0, x);
  node.give(0, node.emit(Cast{node.integer("saturate", 1) != 0}, {x}, to, node.shape(x)));
}

void cast(Lowering& node) {
  const std::int64_t number = node.integer("to", 0);
  try {
    cast_to(node, dtype_of_onnx(number));
  } catch (const core::Unsupported& error) {
    node.unsupported(error.what());
  }
}

}  // namespace

void add_arithmetic_rules(Rules& rules) {
  rules["Add"] = binary<BinaryFunction::add>;
  rules["Sub"] = binary<BinaryFunction::sub>;
  rules["Mul"] = binary<BinaryFunction::mul>;
  rules["Div"] = binary<BinaryFunction::div>;
  rules["Pow"] = binary<BinaryFunction::pow>;
  rules["And"] = binary<BinaryFunction::logical_and>;
  rules["Or"] = binary<BinaryFunction::logical_or>;
  rules["Xor"] = binary<BinaryFunction::logical_xor>;
  rules["BitwiseAnd"] = binary<BinaryFunction::bitwise_and>;
  rules["BitwiseOr"] = binary<BinaryFunction::bitwise_or>;
  rules["BitwiseXor"] = binary<BinaryFunction::bitwise_xor>;
  rules["Equal"] = comparison<BinaryFunction::equal>;
  rules["Less"] = comparison<BinaryFunction::less>;
  rules["LessOrEqual"] = comparison<BinaryFunction::less_equal>;
  rules["Greater"] = comparison<BinaryFunction::greater>;
  rules["GreaterOrEqual"] = comparison<BinaryFunction::greater_equal>;
  rules["Min"] = variadic<BinaryFunction::min>;
  rules["Max"] = variadic<BinaryFunction::max>;
  rules["Sum"] = variadic<BinaryFunction::add>;
  rules["Mean"] = mean;
  rules["Mod"] = modulo;
  rules["BitShift"] = shift;
  rules["PRelu"] = prelu;
  rules["Where"] = where;
  rules["Cast"] = cast;
  rules["CastLike"] = [](Lowering& node) { cast_to(node, node.dtype(node.input(1))); };
}

}  // namespace rdquant::program
