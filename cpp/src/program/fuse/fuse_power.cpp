// Powers with exponents that need no logarithm.
#include "program/fuse/rewriter.hpp"

namespace rdquant::program {

bool fuse_power(Rewriter& rewriter, std::size_t i) {
  const Step step = rewriter.step(i);
  const auto* op = std::get_if<Binary>(&step.operation);
  if (op == nullptr || op->function != BinaryFunction::pow) return false;
  const ValueId x = step.inputs[0], exponent = step.inputs[1];
  const auto number = rewriter.scalar(exponent);
  if (!number || rewriter.dtype(x) != core::DType::f32 ||
      rewriter.dtype(step.outputs[0]) != core::DType::f32 ||
      rewriter.shape(x) != rewriter.shape(step.outputs[0]))
    return false;
  if (*number == 1.0) {
    rewriter.replace(i, Unary{op->activation}, {x});
  } else if (*number == 2.0) {
    rewriter.replace(i, Binary{BinaryFunction::mul, op->activation}, {x, x});
  } else if (*number == -1.0 && op->activation == Activation{}) {
    rewriter.replace(i, Unary{{Function::reciprocal}}, {x});
  } else {
    return false;
  }
  rewriter.bake(exponent);
  return true;
}

}  // namespace rdquant::program
