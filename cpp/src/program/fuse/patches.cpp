// First layers with long strides, over channels too few for kernels that fill their lanes with them. Over patches
// that lie side by side, as in vision transformers, they are products of matrices where what follows wants a row for
// each patch; others run with stride 1 on an image whose channels are the pixels of a stride.
#include <algorithm>
#include <utility>

#include "program/fuse/fuse.hpp"
#include "program/lower/builder.hpp"

namespace rdquant::program {
namespace {

/// Whether the window is moved by its own size, without padding.
bool is_side_by_side(const Window& window) {
  const auto zero = [](std::int64_t pad) { return pad == 0; };
  const std::size_t axes = window.kernel.size();
  return (axes == 2 || axes == 3) && window.strides == window.kernel && window.kernel.back() > 2 &&
         std::ranges::all_of(window.pads_begin, zero) && std::ranges::all_of(window.pads_end, zero) &&
         std::ranges::all_of(window.dilations, [](std::int64_t dilation) { return dilation == 1; });
}

/// Whether the window is moved by more than kernels for few channels are made for.
bool has_long_stride(const Window& window) {
  if (window.kernel.size() != 2) return false;
  for (const std::size_t i : {std::size_t{0}, std::size_t{1}}) {
    const std::int64_t stride = window.strides[i];
    if (stride <= 2 || stride > 16 || window.kernel[i] < stride || window.dilations[i] != 1) return false;
  }
  return true;
}

class Patches {
 public:
  explicit Patches(Program& program)
      : program_(program), old_(std::exchange(program.steps, {})), builder_(program) {}

  void run() {
    for (const Step& step : old_) {
      const auto* op = std::get_if<Convolution>(&step.operation);
      if (op == nullptr || !takes(step, *op) || !(as_product(step, *op) || in_phases(step, *op)))
        program_.steps.push_back(step);
    }
  }

 private:
  [[nodiscard]] const core::Shape& shape(ValueId id) const { return builder_.value(id).shape; }

  /// Whether nothing but what moves or reshapes the value reads it, and it is no output.
  [[nodiscard]] bool is_only_moved(ValueId id) const {
    if (std::ranges::find(program_.outputs, id) != program_.outputs.end()) return false;
    return std::ranges::all_of(old_, [&](const Step& step) {
      return std::ranges::find(step.inputs, id) == step.inputs.end() ||
             std::holds_alternative<Reshape>(step.operation) ||
             std::holds_alternative<Transpose>(step.operation);
    });
  }

  [[nodiscard]] bool is_made_of_levels(ValueId id) const {
    const auto makes = [&](const Step& step) {
      return step.outputs[0] == id && std::holds_alternative<Dequantize>(step.operation);
    };
    return std::ranges::any_of(old_, makes) || std::ranges::any_of(program_.prologue, makes);
  }

  [[nodiscard]] bool takes(const Step& step, const Convolution& op) const {
    const ValueId x = step.inputs[0], w = step.inputs[1], y = step.outputs[0];
    return op.groups == 1 && builder_.value(x).dtype == core::DType::f32 && shape(x)[1] <= 4 &&
           builder_.is_constant(w) && core::element_count(shape(y)) > 0 && !is_made_of_levels(x) &&
           !is_made_of_levels(w);
  }

  bool as_product(const Step& step, const Convolution& op) {
    if (!is_side_by_side(op.window) || !is_only_moved(step.outputs[0])) return false;
    const core::Shape x = shape(step.inputs[0]), y = shape(step.outputs[0]);
    const std::int64_t depth = core::element_count(shape(step.inputs[1])) / y[1];
    const std::int64_t patches = core::element_count(y) / (y[0] * y[1]);
    const ValueId matrix = cut(step.inputs[0], op.window.kernel, y);
    ValueId rows = emit(Reshape{}, matrix, {x[0], patches, depth});
    MatMul product;
    product.transpose_b = true;
    std::vector<ValueId> inputs{rows, emit(Reshape{}, step.inputs[1], {y[1], depth})};
    if (step.inputs.size() > 2) inputs.push_back(step.inputs[2]);
    const core::DType dtype = builder_.value(step.outputs[0]).dtype;
    rows = builder_.emit(product, std::move(inputs), dtype, {x[0], patches, y[1]}, step.node);
    rows = emit(Transpose{{0, 2, 1}}, rows, {x[0], y[1], patches});
    program_.steps.push_back({Reshape{}, {rows}, step.outputs, ""});
    return true;
  }

  /// Images or volumes [n, c, …] as patches [n, those along each axis of `y` …, c, pixels along each axis …].
  ValueId cut(ValueId id, const std::vector<std::int64_t>& kernel, const core::Shape& y) {
    const core::Shape x = shape(id);
    const std::size_t axes = kernel.size();
    core::Shape whole{x[0], x[1]}, apart{x[0], x[1]}, moved{x[0]};
    Transpose order{{0}};
    for (std::size_t i = 0; i < axes; ++i) {
      whole.push_back(y[2 + i] * kernel[i]);
      apart.insert(apart.end(), {y[2 + i], kernel[i]});
      moved.push_back(y[2 + i]);
      order.permutation.push_back(static_cast<std::int64_t>(2 + 2 * i));
    }
    moved.push_back(x[1]);
    order.permutation.push_back(1);
    for (std::size_t i = 0; i < axes; ++i) {
      moved.push_back(kernel[i]);
      order.permutation.push_back(static_cast<std::int64_t>(3 + 2 * i));
    }
    if (whole != x) {
      const std::vector<std::int64_t> zeros(2 + axes, 0), ones(2 + axes, 1);
      id = emit(Slice{zeros, ones}, id, whole);
    }
    id = emit(Reshape{}, id, std::move(apart));
    return emit(std::move(order), id, std::move(moved));
  }

  bool in_phases(const Step& step, Convolution op) {
    if (!has_long_stride(op.window)) return false;
    const core::Shape y = shape(step.outputs[0]);
    const Window window = op.window;
    std::vector<std::int64_t> taps(2), whole(2);
    for (std::size_t i = 0; i < 2; ++i) {
      taps[i] = (window.kernel[i] + window.strides[i] - 1) / window.strides[i];
      whole[i] = (y[2 + i] + taps[i] - 1) * window.strides[i];
    }
    const ValueId x = phases(step.inputs[0], window.pads_begin, whole, window.strides);
    const ValueId w = phases(step.inputs[1], {0, 0},
                             {taps[0] * window.strides[0], taps[1] * window.strides[1]}, window.strides);
    op.window = {taps, {1, 1}, {1, 1}, {0, 0}, {0, 0}};
    Step changed = step;
    changed.operation = std::move(op);
    changed.inputs[0] = x;
    changed.inputs[1] = w;
    program_.steps.push_back(std::move(changed));
    return true;
  }

  /// [n, c, h, w], with `before` zeros before each of its last axes and as many after, or cut off, as make them
  /// `whole` long, as an image [n, sy·sx·c, h/sy, w/sx].
  ValueId phases(ValueId id, const std::vector<std::int64_t>& before, const std::vector<std::int64_t>& whole,
                 const std::vector<std::int64_t>& strides) {
    const core::Shape from = shape(id);
    const std::int64_t n = from[0], c = from[1], sy = strides[0], sx = strides[1];
    const std::int64_t h = whole[0] / sy, w = whole[1] / sx;
    const core::Shape padded{n, c, whole[0], whole[1]};
    if (padded != from || before[0] != 0 || before[1] != 0) {
      const Pad pad{PadMode::constant,
                    {0, 0, before[0], before[1]},
                    {0, 0, whole[0] - before[0] - from[2], whole[1] - before[1] - from[3]}};
      id = emit(pad, id, padded);
    }
    id = emit(Reshape{}, id, {n, c, h, sy, w, sx});
    id = emit(Transpose{{0, 3, 5, 1, 2, 4}}, id, {n, sy, sx, c, h, w});
    return emit(Reshape{}, id, {n, sy * sx * c, h, w});
  }

  ValueId emit(Operation operation, ValueId x, core::Shape to) {
    const core::DType dtype = builder_.value(x).dtype;
    return builder_.emit(std::move(operation), {x}, dtype, std::move(to), "");
  }

  Program& program_;
  std::vector<Step> old_;
  Builder builder_;
};

}  // namespace

void cut_patches(Program& program) {
  const bool any = std::ranges::any_of(program.steps, [](const Step& step) {
    const auto* op = std::get_if<Convolution>(&step.operation);
    return op != nullptr && (is_side_by_side(op->window) || has_long_stride(op->window));
  });
  if (!any) return;
  Patches(program).run();
  remove_dead(program);
}

}  // namespace rdquant::program
