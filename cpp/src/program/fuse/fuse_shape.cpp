// Reshapes and transposes of one another, functions after reshapes, and expansions before functions of two.
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

using Permutation = std::vector<std::int64_t>;

/// An image [n, c, h, w] as rows of pixels [n, h·w, c], by way of [n, c, h·w]: as pixels [n, h, w, c] first, which
/// images in blocks of channels give at once.
bool image_to_rows(Rewriter& rewriter, std::size_t i) {
  const ValueId rows = rewriter.step(i).inputs[0];
  const auto maker = rewriter.sole_maker<Reshape>(rows);
  if (!maker || std::get<Transpose>(rewriter.step(i).operation).permutation != Permutation{0, 2, 1})
    return false;
  const ValueId image = rewriter.step(*maker).inputs[0];
  const core::Shape from = rewriter.shape(image), to = rewriter.shape(rows);
  if (rewriter.dtype(image) != core::DType::f32 || from.size() != 4 || from[0] != to[0] || from[1] != to[1])
    return false;
  rewriter.program().values[static_cast<std::size_t>(rows)].shape = {from[0], from[2], from[3], from[1]};
  rewriter.replace(*maker, Transpose{{0, 2, 3, 1}}, {image});
  rewriter.replace(i, Reshape{}, {rows});
  return true;
}

/// The way back.
bool rows_to_image(Rewriter& rewriter, std::size_t i) {
  const ValueId columns = rewriter.step(i).inputs[0];
  const auto maker = rewriter.sole_maker<Transpose>(columns);
  if (!maker || std::get<Transpose>(rewriter.step(*maker).operation).permutation != Permutation{0, 2, 1})
    return false;
  const ValueId rows = rewriter.step(*maker).inputs[0];
  const core::Shape from = rewriter.shape(columns), to = rewriter.shape(rewriter.step(i).outputs[0]);
  if (rewriter.dtype(rows) != core::DType::f32 || to.size() != 4 || from[0] != to[0] || from[1] != to[1])
    return false;
  rewriter.program().values[static_cast<std::size_t>(columns)].shape = {to[0], to[2], to[3], to[1]};
  rewriter.replace(*maker, Reshape{}, {rows});
  rewriter.replace(i, Transpose{{0, 3, 1, 2}}, {columns});
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
  if (before == nullptr) return image_to_rows(rewriter, i);
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
  if (!maker || !std::holds_alternative<Reshape>(rewriter.step(*maker).operation))
    return rows_to_image(rewriter, i);
  rewriter.replace(i, Reshape{}, {rewriter.step(*maker).inputs[0]});
  return true;
}

/// Whether a product or convolution makes the value, perhaps reshaped and transposed since, for one reader.
bool is_layer(Rewriter& rewriter, ValueId id) {
  if (rewriter.sole_maker<MatMul>(id) || rewriter.sole_maker<Convolution>(id)) return true;
  auto maker = rewriter.sole_maker<Reshape>(id);
  if (!maker) maker = rewriter.sole_maker<Transpose>(id);
  return maker && is_layer(rewriter, rewriter.step(*maker).inputs[0]);
}

/// A function of what a layer makes, reshaped or transposed: the function first, which then joins its maker.
bool fuse_unary(Rewriter& rewriter, std::size_t i) {
  const Step step = rewriter.step(i);
  if (step.inputs.size() != 1 || rewriter.dtype(step.inputs[0]) != rewriter.dtype(step.outputs[0]))
    return false;
  auto moved = rewriter.sole_maker<Reshape>(step.inputs[0]);
  if (!moved) moved = rewriter.sole_maker<Transpose>(step.inputs[0]);
  if (!moved) return false;
  const Step move = rewriter.step(*moved);
  const ValueId made = move.inputs[0];
  if (!is_layer(rewriter, made)) return false;
  rewriter.program().values[static_cast<std::size_t>(step.inputs[0])].shape = rewriter.shape(made);
  rewriter.replace(*moved, step.operation, {made});
  rewriter.replace(i, move.operation, {step.inputs[0]});
  return true;
}

/// What an Expand repeats, for functions of two that repeat it themselves.
bool fuse_expand(Rewriter& rewriter, std::size_t i) {
  for (const std::size_t k : {0U, 1U}) {
    const Step step = rewriter.step(i);
    const auto maker = rewriter.maker(step.inputs[k]);
    if (!maker || !std::holds_alternative<Expand>(rewriter.step(*maker).operation)) continue;
    const ValueId x = rewriter.step(*maker).inputs[0];
    if (rewriter.shape(step.inputs[1 - k]) != rewriter.shape(step.outputs[0]) ||
        rewriter.shape(x).size() > rewriter.shape(step.outputs[0]).size())
      continue;
    std::vector<ValueId> inputs = step.inputs;
    inputs[k] = x;
    rewriter.replace(i, step.operation, std::move(inputs));
    return true;
  }
  return false;
}

}  // namespace

bool fuse_shape(Rewriter& rewriter, std::size_t i) {
  const Operation& operation = rewriter.step(i).operation;
  if (std::holds_alternative<Transpose>(operation)) return fuse_transpose(rewriter, i);
  if (std::holds_alternative<Unary>(operation)) return fuse_unary(rewriter, i);
  if (std::holds_alternative<Binary>(operation)) return fuse_expand(rewriter, i);
  return std::holds_alternative<Reshape>(operation) && fuse_reshape(rewriter, i);
}

}  // namespace rdquant::program
