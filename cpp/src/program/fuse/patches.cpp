// Convolutions over patches that lie side by side, the first layer of vision transformers, as products of matrices:
// what follows wants one row for each patch, and kernels for so few channels do not go with such strides.
#include <algorithm>
#include <utility>

#include "program/fuse/fuse.hpp"
#include "program/lower/builder.hpp"

namespace rdquant::program {
namespace {

/// Whether the window is moved by its own size, without padding.
bool is_side_by_side(const Window& window) {
  const auto zero = [](std::int64_t pad) { return pad == 0; };
  return window.kernel.size() == 2 && window.strides == window.kernel && window.kernel[1] > 2 &&
         std::ranges::all_of(window.pads_begin, zero) && std::ranges::all_of(window.pads_end, zero);
}

class Patches {
 public:
  explicit Patches(Program& program)
      : program_(program), old_(std::exchange(program.steps, {})), builder_(program) {}

  void run() {
    for (const Step& step : old_) {
      if (!write(step)) program_.steps.push_back(step);
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
    return is_side_by_side(op.window) && op.groups == 1 && shape(x)[1] <= 4 && builder_.is_constant(w) &&
           core::element_count(shape(y)) > 0 && is_only_moved(y) && !is_made_of_levels(x) &&
           !is_made_of_levels(w);
  }

  bool write(const Step& step) {
    const auto* op = std::get_if<Convolution>(&step.operation);
    if (op == nullptr || !takes(step, *op)) return false;
    const core::Shape x = shape(step.inputs[0]), y = shape(step.outputs[0]);
    const std::int64_t high = op->window.kernel[0], wide = op->window.kernel[1];
    const std::int64_t depth = x[1] * high * wide, patches = y[2] * y[3];
    const core::Shape whole = {x[0], x[1], y[2] * high, y[3] * wide};
    ValueId rows = step.inputs[0];
    if (whole != x) rows = emit(Slice{{0, 0, 0, 0}, {1, 1, 1, 1}}, rows, whole);
    rows = emit(Reshape{}, rows, {x[0], x[1], y[2], high, y[3], wide});
    rows = emit(Transpose{{0, 2, 4, 1, 3, 5}}, rows, {x[0], y[2], y[3], x[1], high, wide});
    rows = emit(Reshape{}, rows, {x[0], patches, depth});
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
    return op != nullptr && is_side_by_side(op->window);
  });
  if (!any) return;
  Patches(program).run();
  remove_dead(program);
}

}  // namespace rdquant::program
