// Group normalization from what older operators make of it: instance normalization of groups that were reshaped to
// channels.
#include <utility>

#include "program/fuse/rewriter.hpp"

namespace rdquant::program {
namespace {

/// [few] → [many], each number for many / few neighbours.
ValueId spread(Rewriter& rewriter, ValueId constant, std::int64_t many, const std::string& node) {
  const std::int64_t few = rewriter.shape(constant)[0];
  if (few == many) return constant;
  Builder& builder = rewriter.builder();
  const core::DType dtype = rewriter.dtype(constant);
  const ValueId column = builder.emit(Reshape{}, {constant}, dtype, {few, 1}, node);
  const ValueId wide = builder.emit(Expand{}, {column}, dtype, {few, many / few}, node);
  return builder.emit(Reshape{}, {wide}, dtype, {many}, node);
}

/// What `grouped` is, as an image of `shape`: what it was reshaped from, or another reshape of that.
ValueId image_of(Rewriter& rewriter, ValueId grouped, const core::Shape& shape) {
  const auto maker = rewriter.maker(grouped);
  if (!maker || !std::holds_alternative<Reshape>(rewriter.step(*maker).operation)) return kNone;
  const ValueId before = rewriter.step(*maker).inputs[0];
  if (rewriter.shape(before) == shape) return before;
  if (rewriter.readers(grouped) != 1) return kNone;
  rewriter.program().values[static_cast<std::size_t>(grouped)].shape = shape;
  return grouped;
}

}  // namespace

bool fuse_group(Rewriter& rewriter, std::size_t i) {
  if (!std::holds_alternative<Reshape>(rewriter.step(i).operation)) return false;
  const auto maker = rewriter.sole_maker<GroupNormalization>(rewriter.step(i).inputs[0]);
  if (!maker) return false;
  Step norm = rewriter.step(*maker);
  const auto& op = std::get<GroupNormalization>(norm.operation);
  const core::Shape from = rewriter.shape(norm.inputs[0]), to = rewriter.shape(rewriter.step(i).outputs[0]);
  // every group, and every channel with a scale of its own, is a run of whole channels of one image
  const bool whole = to.size() >= 2 && to[0] == from[0] && to[1] > 0 && to[1] % from[1] == 0;
  if (!whole || op.groups > to[1] || !rewriter.is_constant(norm.inputs[1]) ||
      !rewriter.is_constant(norm.inputs[2]))
    return false;
  const ValueId x = image_of(rewriter, norm.inputs[0], to);
  if (x == kNone) return false;
  norm.inputs = {x, spread(rewriter, norm.inputs[1], to[1], norm.node),
                 spread(rewriter, norm.inputs[2], to[1], norm.node)};
  rewriter.merge(*maker, i, std::move(norm));
  return true;
}

}  // namespace rdquant::program
