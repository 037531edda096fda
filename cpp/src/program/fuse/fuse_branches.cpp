// Sums of convolutions of one image, and of its batch norm, into one convolution: blocks that train with branches
// (RepVGG, MobileOne) run as plain ones do.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "program/fuse/arithmetic.hpp"
#include "program/fuse/rewriter.hpp"

namespace rdquant::program {
namespace {

/// Whether a constant derives from levels, which a sum with others would not leave on their grid.
bool derives_from_levels(const Program& program, ValueId id) {
  const auto maker =
      std::ranges::find_if(program.prologue, [&](const Step& step) { return step.outputs[0] == id; });
  if (maker == program.prologue.end()) return false;
  return std::holds_alternative<Dequantize>(maker->operation) ||
         std::ranges::any_of(maker->inputs,
                             [&](ValueId input) { return derives_from_levels(program, input); });
}

/// The step that makes `id` for one reader, of constants and one image, with nothing after it.
std::optional<std::size_t> branch(Rewriter& rewriter, ValueId id) {
  const auto maker = rewriter.maker(id);
  if (!maker || rewriter.readers(id) != 1 || rewriter.dtype(id) != core::DType::f32) return std::nullopt;
  const Step& step = rewriter.step(*maker);
  const auto* conv = std::get_if<Convolution>(&step.operation);
  const auto* norm = std::get_if<BatchNormalization>(&step.operation);
  if (conv == nullptr && norm == nullptr) return std::nullopt;
  if ((conv != nullptr ? conv->activation : norm->activation) != Activation{}) return std::nullopt;
  const bool constant = std::all_of(step.inputs.begin() + 1, step.inputs.end(), [&](ValueId input) {
    return input == kNone || rewriter.is_constant(input);
  });
  if (!constant || (conv != nullptr &&
                    (input(step, 3) != kNone || derives_from_levels(rewriter.program(), step.inputs[1]))))
    return std::nullopt;
  return maker;
}

/// Taps of `host` before and after those of `guest` along one axis.
struct Room {
  std::int64_t before = 0, after = 0;
};

std::optional<Room> room_of(const Window& host, const Window& guest, std::size_t axis) {
  const std::int64_t step = host.dilations[axis], shift = host.pads_begin[axis] - guest.pads_begin[axis];
  const bool alike = guest.kernel[axis] == 1 || guest.dilations[axis] == step;
  if (!alike || host.strides[axis] != guest.strides[axis] || shift < 0 || shift % step != 0)
    return std::nullopt;
  const Room room{shift / step, host.kernel[axis] - guest.kernel[axis] - shift / step};
  if (room.after < 0) return std::nullopt;
  return room;
}

/// Weights of `guest` with zeros around them, as large as those of `host`; nullopt where they do not fit in.
std::optional<ValueId> widened(Rewriter& rewriter, const Step& host, const Step& guest) {
  const auto &outer = std::get<Convolution>(host.operation), &inner = std::get<Convolution>(guest.operation);
  const core::Shape to = rewriter.shape(host.inputs[1]), from = rewriter.shape(guest.inputs[1]);
  if (outer.groups != inner.groups || to.size() != from.size() || to[1] != from[1]) return std::nullopt;
  Pad pad;
  pad.begins.assign(to.size(), 0);
  pad.ends.assign(to.size(), 0);
  for (std::size_t axis = 0; axis + 2 < to.size(); ++axis) {
    const auto room = room_of(outer.window, inner.window, axis);
    if (!room) return std::nullopt;
    pad.begins[axis + 2] = room->before;
    pad.ends[axis + 2] = room->after;
  }
  if (to == from) return guest.inputs[1];
  return rewriter.builder().emit(std::move(pad), {guest.inputs[1]}, core::DType::f32, to, guest.node);
}

/// Weights with which `host` would give back what it reads, channel by channel; nullopt where there are none.
std::optional<core::Tensor> identity(Rewriter& rewriter, const Step& host) {
  const auto& op = std::get<Convolution>(host.operation);
  const core::Shape shape = rewriter.shape(host.inputs[1]);
  if (rewriter.shape(host.inputs[0]) != rewriter.shape(host.outputs[0])) return std::nullopt;
  std::int64_t place = 0, taps = 1;
  for (std::size_t axis = 0; axis + 2 < shape.size(); ++axis) {
    const std::int64_t pad = op.window.pads_begin[axis], step = op.window.dilations[axis];
    if (op.window.strides[axis] != 1 || pad % step != 0 || pad / step >= shape[axis + 2]) return std::nullopt;
    place = place * shape[axis + 2] + pad / step;
    taps *= shape[axis + 2];
  }
  core::Tensor weights(core::DType::f32, shape);
  auto* const all = static_cast<float*>(weights.write().data);
  for (std::int64_t k = 0; k < shape[0]; ++k) all[(k * shape[1] + k % shape[1]) * taps + place] = 1;
  return weights;
}

/// A branch as weights and bias of the convolution that stands for it and another one.
struct Share {
  ValueId weights = kNone, bias = kNone;
};

std::optional<Share> share_of(Rewriter& rewriter, const Step& host, const Step& guest) {
  if (std::holds_alternative<Convolution>(guest.operation)) {
    const auto weights = widened(rewriter, host, guest);
    if (!weights) return std::nullopt;
    return Share{*weights, input(guest, 2)};
  }
  auto same = identity(rewriter, host);
  if (!same) return std::nullopt;
  const Affine affine = of_batch_norm(rewriter, guest);
  Arithmetic make(rewriter, guest.node);
  core::Shape along(same->shape().size(), 1);
  along[0] = same->shape()[0];
  const ValueId weights = rewriter.builder().add_constant(std::move(*same));
  return Share{make.binary(BinaryFunction::mul, weights, make.reshape(affine.scale, along)), affine.shift};
}

}  // namespace

bool fuse_branches(Rewriter& rewriter, std::size_t i) {
  const Step sum = rewriter.step(i);
  const auto* op = std::get_if<Binary>(&sum.operation);
  if (op == nullptr || op->function != BinaryFunction::add || sum.inputs[0] == sum.inputs[1]) return false;
  if (rewriter.shape(sum.inputs[0]) != rewriter.shape(sum.inputs[1])) return false;
  auto host = branch(rewriter, sum.inputs[0]), guest = branch(rewriter, sum.inputs[1]);
  if (!host || !guest || rewriter.step(*host).inputs[0] != rewriter.step(*guest).inputs[0]) return false;
  const auto taps = [&](std::size_t step) {
    const bool convolves = std::holds_alternative<Convolution>(rewriter.step(step).operation);
    return convolves ? core::element_count(rewriter.shape(rewriter.step(step).inputs[1])) : 0;
  };
  if (taps(*guest) > taps(*host)) std::swap(host, guest);
  if (taps(*host) == 0) return false;
  Step merged = rewriter.step(*host);
  const auto share = share_of(rewriter, merged, rewriter.step(*guest));
  if (!share) return false;
  Arithmetic make(rewriter, merged.node);
  const ValueId own = input(merged, 2);
  ValueId bias = own == kNone ? share->bias : own;
  if (own != kNone && share->bias != kNone) bias = make.binary(BinaryFunction::add, own, share->bias);
  merged.inputs = {merged.inputs[0], make.binary(BinaryFunction::add, merged.inputs[1], share->weights),
                   bias};
  std::get<Convolution>(merged.operation).activation = op->activation;
  rewriter.merge(*host, i, std::move(merged));
  return true;
}

}  // namespace rdquant::program
