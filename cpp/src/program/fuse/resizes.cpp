// Resizes of lines and of volumes as such of images, which kernels are for: a line is an image of one row; weights of
// a volume's axes are multiplied, so its two inner axes are resized first, then the outer one.
#include <algorithm>
#include <utility>
#include <vector>

#include "program/fuse/fuse.hpp"
#include "program/lower/builder.hpp"

namespace rdquant::program {
namespace {

/// The Resize of one or three axes behind those of images and channels that `step` is, or null.
const Resize* resize_of(const Builder& builder, const Step& step) {
  const auto* op = std::get_if<Resize>(&step.operation);
  if (op == nullptr || op->coordinates == Coordinates::crop_and_resize) return nullptr;
  const Value &x = builder.value(step.inputs[0]), &y = builder.value(step.outputs[0]);
  const std::size_t axes = x.shape.size();
  const bool known = (axes == 3 || axes == 5) && op->scales.size() == axes && x.dtype == core::DType::f32;
  const bool apart = known && op->scales[0] == 1 && op->scales[1] == 1 && x.shape[0] == y.shape[0] &&
                     x.shape[1] == y.shape[1];
  return apart && core::element_count(x.shape) > 0 && core::element_count(y.shape) > 0 ? op : nullptr;
}

class Resizer {
 public:
  explicit Resizer(Builder& builder) : builder_(builder) {}

  /// Adds the steps that make the output of `step`.
  void write(Program& program, const Step& step, const Resize& op) {
    const core::Shape x = builder_.value(step.inputs[0]).shape, y = builder_.value(step.outputs[0]).shape;
    ValueId made = step.inputs[0];
    if (x.size() == 3) {
      made = resize(step, op, made, {x[0], x[1], 1, x[2]}, {y[0], y[1], 1, y[2]}, {1, op.scales[2]});
    } else {
      made = resize(step, op, made, {x[0], x[1] * x[2], x[3], x[4]}, {x[0], x[1] * x[2], y[3], y[4]},
                    {op.scales[3], op.scales[4]});
      made = resize(step, op, made, {x[0], x[1], x[2], y[3] * y[4]}, {x[0], x[1], y[2], y[3] * y[4]},
                    {op.scales[2], 1});
    }
    program.steps.push_back({Reshape{}, {made}, step.outputs, step.node});
  }

 private:
  /// `id`, seen as images `from`, as images `to`.
  ValueId resize(const Step& step, Resize op, ValueId id, core::Shape from, core::Shape to,
                 std::vector<float> scales) {
    const ValueId images = builder_.emit(Reshape{}, {id}, core::DType::f32, std::move(from), step.node);
    op.scales = {1, 1, scales[0], scales[1]};
    op.roi.clear();
    return builder_.emit(std::move(op), {images}, core::DType::f32, std::move(to), step.node);
  }

  Builder& builder_;
};

}  // namespace

void flatten_resizes(Program& program) {
  std::vector<Step> old = std::exchange(program.steps, {});
  Builder builder(program);
  Resizer resizer(builder);
  for (Step& step : old) {
    if (const Resize* const op = resize_of(builder, step); op != nullptr) {
      resizer.write(program, step, *op);
    } else {
      program.steps.push_back(std::move(step));
    }
  }
}

}  // namespace rdquant::program
