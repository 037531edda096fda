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

/// An image that is normalized as lines of pixels, then turned to rows of channels: the norm first, in the image's
/// layout, whose lines then become rows at once.
bool image_first(Rewriter& rewriter, std::size_t i) {
  const std::vector<std::int64_t> swapped{0, 2, 1};
  if (std::get<Transpose>(rewriter.step(i).operation).permutation != swapped) return false;
  const auto maker = rewriter.sole_maker<GroupNormalization>(rewriter.step(i).inputs[0]);
  if (!maker) return false;
  const Step norm = rewriter.step(*maker);
  const ValueId lines = norm.inputs[0];
  const auto reshaped = rewriter.sole_maker<Reshape>(lines);
  if (!reshaped || !rewriter.is_constant(norm.inputs[1]) || !rewriter.is_constant(norm.inputs[2]) ||
      input(norm, 3) != kNone)
    return false;
  const ValueId image = rewriter.step(*reshaped).inputs[0];
  const core::Shape from = rewriter.shape(image), to = rewriter.shape(lines);
  if (from.size() != 4 || from[0] != to[0] || from[1] != to[1]) return false;
  rewriter.program().values[static_cast<std::size_t>(lines)].shape = from;
  rewriter.replace(*reshaped, norm.operation, {image, norm.inputs[1], norm.inputs[2]});
  rewriter.replace(*maker, Reshape{}, {lines});
  return true;
}

/// Reshape, norm of the groups as channels, Reshape.
bool from_channels(Rewriter& rewriter, std::size_t i) {
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

}  // namespace

bool fuse_group(Rewriter& rewriter, std::size_t i) {
  const Operation& operation = rewriter.step(i).operation;
  if (std::holds_alternative<Transpose>(operation)) return image_first(rewriter, i);
  return std::holds_alternative<Reshape>(operation) && from_channels(rewriter, i);
}

}  // namespace rdquant::program
