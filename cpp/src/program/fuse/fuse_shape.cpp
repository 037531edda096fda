// Reshapes and transposes of one another, and functions after reshapes.
#include <utility>

#include "program/fuse/rewriter.hpp"

namespace rdquant::program {
namespace {

/// Axes larger than one keep their order: the bytes stay where they are.
bool moves_nothing(const Transpose& op, const core::Shape& from) {
  std::int64_t last = -1;
  for (const std::int64_t axis : op.permutation) {
    if (from[static_cast<std::size_t>(axis)] == 1) continue;
    if (axis < last) return false;
    last = axis;
  }
  return true;
}

bool fuse_transpose(Rewriter& rewriter, std::size_t i) {
  const Step step = rewriter.step(i);
  const auto& op = std::get<Transpose>(step.operation);
  const ValueId x = step.inputs[0];
  if (moves_nothing(op, rewriter.shape(x))) {
    rewriter.replace(i, Reshape{}, {x});
    return true;
  }
  const auto maker = rewriter.maker(x);
  if (!maker) return false;
  const auto* before = std::get_if<Transpose>(&rewriter.step(*maker).operation);
  if (before == nullptr) return false;
  Transpose both;
  for (const std::int64_t axis : op.permutation)
    both.permutation.push_back(before->permutation[static_cast<std::size_t>(axis)]);
  rewriter.replace(i, std::move(both), {rewriter.step(*maker).inputs[0]});
  return true;
}

bool fuse_reshape(Rewriter& rewriter, std::size_t i) {
  const ValueId x = rewriter.step(i).inputs[0], y = rewriter.step(i).outputs[0];
  if (rewriter.shape(x) == rewriter.shape(y)) {
    rewriter.alias(i, y, x);
    return true;
  }
  const auto maker = rewriter.maker(x);
  if (!maker || !std::holds_alternative<Reshape>(rewriter.step(*maker).operation)) return false;
  rewriter.replace(i, Reshape{}, {rewriter.step(*maker).inputs[0]});
  return true;
}

/// A function of what a product or convolution makes, reshaped: the function first, which then joins its maker.
bool fuse_unary(Rewriter& rewriter, std::size_t i) {
  const Step step = rewriter.step(i);
  if (step.inputs.size() != 1 || rewriter.dtype(step.inputs[0]) != rewriter.dtype(step.outputs[0]))
    return false;
  const auto reshaped = rewriter.sole_maker<Reshape>(step.inputs[0]);
  if (!reshaped) return false;
  const ValueId made = rewriter.step(*reshaped).inputs[0];
  if (!rewriter.sole_maker<MatMul>(made) && !rewriter.sole_maker<Convolution>(made)) return false;
  rewriter.program().values[static_cast<std::size_t>(step.inputs[0])].shape = rewriter.shape(made);
  rewriter.replace(*reshaped, step.operation, {made});
  rewriter.replace(i, Reshape{}, {step.inputs[0]});
  return true;
}

}  // namespace

bool fuse_shape(Rewriter& rewriter, std::size_t i) {
  const Operation& operation = rewriter.step(i).operation;
  if (std::holds_alternative<Transpose>(operation)) return fuse_transpose(rewriter, i);
  if (std::holds_alternative<Unary>(operation)) return fuse_unary(rewriter, i);
  return std::holds_alternative<Reshape>(operation) && fuse_reshape(rewriter, i);
}

}  // namespace rdquant::program
