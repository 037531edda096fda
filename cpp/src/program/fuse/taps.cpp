// Taps that meet nothing but padding wherever the window is, as those of long dilations do.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "program/fuse/fuse.hpp"
#include "program/lower/builder.hpp"

namespace rdquant::program {
namespace {

/// Taps of one axis that are dropped before and after those that stay.
struct Dropped {
  std::int64_t before = 0, after = 0;
};

/// @param in,out  lengths of the image before and after
Dropped dropped(const Window& window, std::size_t axis, std::int64_t in, std::int64_t out) {
  const std::int64_t step = window.dilations[axis], travel = (out - 1) * window.strides[axis];
  const std::int64_t first = -window.pads_begin[axis];
  Dropped result;
  std::int64_t kept = window.kernel[axis];
  while (kept > 1 && first + result.before * step + travel < 0 &&
         window.pads_begin[axis] >= (result.before + 1) * step) {
    ++result.before;
    --kept;
  }
  while (kept > 1 && first + (result.before + kept - 1) * step >= in &&
         window.pads_end[axis] >= (result.after + 1) * step) {
    ++result.after;
    --kept;
  }
  return result;
}

/// The step that makes the constant `id` of levels of 8 bits, before the first run; null where it is not so made.
const Step* dequantizer(const Program& program, ValueId id) {
  const auto made = std::ranges::find_if(program.prologue, [&](const Step& step) {
    return step.outputs[0] == id && std::holds_alternative<Dequantize>(step.operation);
  });
  return made == program.prologue.end() ? nullptr : &*made;
}

/// The weights that `slice` leaves of `id`, of shape `to`; kNone where they cannot be taken apart.
ValueId sliced(Builder& builder, const Program& program, ValueId id, const Slice& slice,
               const core::Shape& to, const std::string& node) {
  if (!builder.is_constant(id) || builder.value(id).dtype != core::DType::f32) return kNone;
  const Step* const found = dequantizer(program, id);
  if (found == nullptr) return builder.emit(slice, {id}, core::DType::f32, to, node);
  const Step made = *found;
  const core::DType dtype = builder.value(made.inputs[0]).dtype;
  const bool whole = core::element_count(builder.value(made.inputs[1]).shape) == 1 ||
                     std::get<Dequantize>(made.operation).axis < 2;
  if (!whole || (dtype != core::DType::i8 && dtype != core::DType::u8)) return kNone;
  std::vector<ValueId> inputs = made.inputs;
  inputs[0] = builder.emit(slice, {inputs[0]}, dtype, to, node);
  return builder.emit(made.operation, std::move(inputs), core::DType::f32, to, node);
}

}  // namespace

void drop_taps(Program& program) {
  Builder builder(program);
  for (std::size_t i = 0; i < program.steps.size(); ++i) {
    const auto* op = std::get_if<Convolution>(&program.steps[i].operation);
    if (op == nullptr) continue;
    const Step step = program.steps[i];
    const core::Shape x = builder.value(step.inputs[0]).shape, y = builder.value(step.outputs[0]).shape;
    Window window = op->window;
    const core::Shape from = builder.value(step.inputs[1]).shape;
    core::Shape to = from;
    Slice slice{std::vector<std::int64_t>(from.size(), 0), std::vector<std::int64_t>(from.size(), 1)};
    if (core::element_count(y) == 0) continue;
    for (std::size_t axis = 0; axis < window.kernel.size(); ++axis) {
      const Dropped taps = dropped(window, axis, x[2 + axis], y[2 + axis]);
      slice.starts[2 + axis] = taps.before;
      to[2 + axis] -= taps.before + taps.after;
      window.kernel[axis] = to[2 + axis];
      window.pads_begin[axis] -= taps.before * window.dilations[axis];
      window.pads_end[axis] -= taps.after * window.dilations[axis];
    }
    if (to == from) continue;
    const ValueId weights = sliced(builder, program, step.inputs[1], slice, to, step.node);
    if (weights == kNone) continue;
    Step& changed = program.steps[i];
    std::get<Convolution>(changed.operation).window = std::move(window);
    changed.inputs[1] = weights;
  }
}

}  // namespace rdquant::program
