// Networks of one spatial axis as networks of images of one row, [n, c, 1, l]: kernels and the rules for levels are
// for images. A value is turned where a layer wants it so, and back where anything else reads it.
#include <algorithm>
#include <map>
#include <set>
#include <type_traits>
#include <utility>
#include <vector>

#include "program/fuse/fuse.hpp"
#include "program/lower/builder.hpp"

namespace rdquant::program {
namespace {

constexpr std::size_t kAxis = 2;  // of the row that is put in

template <typename List, typename Entry>
void put_in(List& list, Entry entry) {
  list.insert(list.begin() + static_cast<std::ptrdiff_t>(std::min(kAxis, list.size())), entry);
}

void widen(Window& window) {
  for (std::vector<std::int64_t>* const list : {&window.kernel, &window.strides, &window.dilations})
    list->insert(list->begin(), 1);
  for (std::vector<std::int64_t>* const list : {&window.pads_begin, &window.pads_end})
    list->insert(list->begin(), 0);
}

/// An axis of the line as an axis of its image.
std::int64_t widened(std::int64_t axis) { return axis < static_cast<std::int64_t>(kAxis) ? axis : axis + 1; }

class Widener {
 public:
  explicit Widener(Program& program)
      : program_(program), old_(std::exchange(program.steps, {})), builder_(program) {
    made_.insert(program.inputs.begin(), program.inputs.end());
  }

  void run() {
    for (const Step& step : old_) {
      if (!layer(step) && !between(step)) keep(step);
    }
    for (const ValueId id : program_.outputs) static_cast<void>(narrow(id));
  }

 private:
  [[nodiscard]] const core::Shape& shape(ValueId id) const { return builder_.value(id).shape; }
  [[nodiscard]] bool is_line(ValueId id) const { return id != kNone && shape(id).size() == 3; }
  [[nodiscard]] bool has_image(ValueId id) const { return images_.contains(id); }

  ValueId reshape(ValueId id, core::Shape to) { return emit(Reshape{}, id, std::move(to)); }

  /// A value as it was, computed by now.
  ValueId narrow(ValueId id) {
    if (id == kNone || builder_.is_constant(id) || !made_.insert(id).second) return id;
    program_.steps.push_back({Reshape{}, {images_.at(id)}, {id}, ""});
    return id;
  }

  /// A line as an image; numbers of each weight of a layer as of levels where they are made of such.
  ValueId image(ValueId id) {
    if (const auto found = images_.find(id); found != images_.end()) return found->second;
    core::Shape to = shape(id);
    put_in(to, 1);
    const ValueId made = builder_.is_constant(id) ? constant(id, std::move(to)) : reshape(id, std::move(to));
    images_[id] = made;
    return made;
  }

  ValueId constant(ValueId id, core::Shape to) {
    const auto maker = std::ranges::find_if(program_.prologue, [&](const Step& step) {
      return step.outputs[0] == id && std::holds_alternative<Dequantize>(step.operation);
    });
    if (maker == program_.prologue.end()) return reshape(id, std::move(to));
    Step step = *maker;
    step.inputs[0] = reshape(step.inputs[0], to);
    auto& op = std::get<Dequantize>(step.operation);
    op.axis = widened(op.axis);
    return builder_.emit(op, std::move(step.inputs), builder_.value(id).dtype, std::move(to), step.node);
  }

  /// Adds a step on images that makes the image of the old step's first output.
  bool write(const Step& old, Operation operation, std::vector<ValueId> inputs) {
    const ValueId y = old.outputs[0];
    core::Shape to = shape(y);
    put_in(to, 1);
    images_[y] = builder_.emit(std::move(operation), std::move(inputs), builder_.value(y).dtype,
                               std::move(to), old.node);
    return true;
  }

  /// Convolutions and pools, which make images.
  bool layer(const Step& step) {
    const bool single = step.outputs.size() == 1 || step.outputs[1] == kNone;
    if (step.inputs.empty() || !is_line(step.inputs[0]) || !single) return false;
    const auto convolution = [&](auto op) {
      if (!is_line(step.inputs[1]) || step.inputs.size() > 3) return false;
      if constexpr (std::is_same_v<decltype(op), Convolution>) {
        if (phases_pay(step, op)) return in_phases(step, std::move(op));
      } else {
        if (interleaving_pays(step, op)) return interleaved(step, op);
      }
      widen(op.window);
      std::vector<ValueId> inputs{image(step.inputs[0]), image(step.inputs[1])};
      if (step.inputs.size() > 2) inputs.push_back(narrow(step.inputs[2]));
      return write(step, std::move(op), std::move(inputs));
    };
    if (const auto* op = std::get_if<Convolution>(&step.operation)) return convolution(*op);
    if (const auto* op = std::get_if<TransposedConvolution>(&step.operation)) return convolution(*op);
    if (const auto* op = std::get_if<Pool>(&step.operation)) {
      Pool pool = *op;
      widen(pool.window);
      if (!pool.counted_pads_end.empty()) pool.counted_pads_end.insert(pool.counted_pads_end.begin(), 0);
      return write(step, std::move(pool), {image(step.inputs[0])});
    }
    return false;
  }

  /// A long stride over few channels, such as the first layer's over samples of sound: kernels that fill their
  /// lanes with channels would leave most of them empty.
  [[nodiscard]] bool phases_pay(const Step& step, const Convolution& op) const {
    const std::int64_t c = shape(step.inputs[0])[1], stride = op.window.strides[0];
    const bool plain = op.groups == 1 && op.window.dilations[0] == 1 && shape(step.outputs[0])[2] > 0;
    return plain && stride > 2 && stride <= 1024 && c <= 4 && !has_image(step.inputs[0]) &&
           !is_made_of_levels(step.inputs[0]);
  }

  /// Convolutions of levels are to stay so.
  [[nodiscard]] bool is_made_of_levels(ValueId id) const {
    return std::ranges::any_of(old_, [&](const Step& step) {
      return step.outputs[0] == id && std::holds_alternative<Dequantize>(step.operation);
    });
  }

  /// Samples `stride` apart as channels: x[c][t·stride + r] is x'[r·c][t], and the stride is 1.
  bool in_phases(const Step& step, Convolution op) {
    const std::int64_t stride = op.window.strides[0], length = shape(step.outputs[0])[2];
    const std::int64_t taps = (op.window.kernel[0] + stride - 1) / stride;
    const ValueId x =
        phases(fitted(narrow(step.inputs[0]), op.window.pads_begin[0], (length + taps - 1) * stride), stride);
    const ValueId w = phases(fitted(step.inputs[1], 0, taps * stride), stride);
    op.window = {{1, taps}, {1, 1}, {1, 1}, {0, 0}, {0, 0}};
    std::vector<ValueId> inputs{x, w};
    if (step.inputs.size() > 2) inputs.push_back(narrow(step.inputs[2]));
    return write(step, std::move(op), std::move(inputs));
  }

  /// A transposed convolution of few filters, such as the last layer that gives samples of sound.
  [[nodiscard]] bool interleaving_pays(const Step& step, const TransposedConvolution& op) const {
    const std::int64_t k = shape(step.outputs[0])[1], stride = op.window.strides[0];
    const bool plain = op.groups == 1 && op.window.dilations[0] == 1 && shape(step.outputs[0])[2] > 0;
    return plain && op.window.pads_begin[0] >= 0 && stride > 1 && stride <= 64 && k <= 4;
  }

  /// Entries t·stride + r of the result, for every r, as filters of a convolution of stride 1; then side by side.
  bool interleaved(const Step& step, const TransposedConvolution& op) {
    const core::Shape y = shape(step.outputs[0]), weights = shape(step.inputs[1]);
    const std::int64_t c = weights[0], k = y[1], stride = op.window.strides[0];
    const std::int64_t taps = (weights[2] + stride - 1) / stride;
    const ValueId w = fitted(step.inputs[1], 0, taps * stride);
    ValueId turned = emit(Slice{{0, 0, taps - 1, 0}, {1, 1, -1, 1}}, reshape(w, {c, k, taps, stride}),
                          {c, k, taps, stride});
    turned = emit(Transpose{{3, 1, 0, 2}}, turned, {stride, k, c, taps});
    std::vector<ValueId> inputs{image(step.inputs[0]), reshape(turned, {stride * k, c, 1, taps})};
    if (step.inputs.size() > 2 && step.inputs[2] != kNone)
      inputs.push_back(reshape(emit(Expand{}, narrow(step.inputs[2]), {stride, k}), {stride * k}));
    // as many places as reach the last entry, however many of the sums are of zeros
    const std::int64_t first = op.window.pads_begin[0], lines = shape(step.inputs[0])[2];
    const std::int64_t places = std::max(lines, (first + y[2] + stride - 1) / stride);
    Convolution sums{
        {{1, taps}, {1, 1}, {1, 1}, {0, taps - 1}, {0, places - lines}}, 1, op.activation, false};
    const core::DType dtype = builder_.value(step.outputs[0]).dtype;
    const ValueId made =
        builder_.emit(std::move(sums), std::move(inputs), dtype, {y[0], stride * k, 1, places}, step.node);
    turned =
        emit(Transpose{{0, 2, 3, 1}}, reshape(made, {y[0], stride, k, places}), {y[0], k, places, stride});
    turned = reshape(turned, {y[0], k, places * stride});
    if (shape(turned) != y) turned = emit(Slice{{0, 0, first}, {1, 1, 1}}, turned, y);
    images_[step.outputs[0]] = reshape(turned, {y[0], k, 1, y[2]});
    return true;
  }

  ValueId emit(Operation operation, ValueId x, core::Shape to) {
    const core::DType dtype = builder_.value(x).dtype;
    return builder_.emit(std::move(operation), {x}, dtype, std::move(to), "");
  }

  /// Zeros before a line and after it, or its end cut off, so that it has `length` entries.
  ValueId fitted(ValueId id, std::int64_t before, std::int64_t length) {
    core::Shape to = shape(id);
    const std::int64_t after = length - before - to[2];
    if (before == 0 && after == 0) return id;
    to[2] = length;
    const core::DType dtype = builder_.value(id).dtype;
    return builder_.emit(Pad{PadMode::constant, {0, 0, before}, {0, 0, after}}, {id}, dtype, std::move(to),
                         "");
  }

  /// [n, c, l·stride] as an image [n, stride·c, 1, l].
  ValueId phases(ValueId id, std::int64_t stride) {
    const core::Shape from = shape(id);
    const std::int64_t n = from[0], c = from[1], l = from[2] / stride;
    const ValueId apart = reshape(id, {n, c, l, stride});
    return reshape(emit(Transpose{{0, 3, 1, 2}}, apart, {n, stride, c, l}), {n, stride * c, 1, l});
  }

  /// What follows on images, and can be done on them.
  bool between(const Step& step) {
    if (std::holds_alternative<Binary>(step.operation)) return binary(step);
    if (std::holds_alternative<Concat>(step.operation)) return concat(step);
    if (std::holds_alternative<DynamicQuantize>(step.operation)) return dynamic_quantize(step);
    if (step.inputs.empty() || step.inputs[0] == kNone || !has_image(step.inputs[0])) return false;
    if (const auto* op = std::get_if<Reduce>(&step.operation)) return reduce(step, *op);
    if (step.outputs.size() != 1 || !is_line(step.outputs[0])) return false;
    const auto same = [&](Operation operation) {
      std::vector<ValueId> inputs = step.inputs;
      inputs[0] = image(inputs[0]);
      for (std::size_t i = 1; i < inputs.size(); ++i) inputs[i] = narrow(inputs[i]);
      return write(step, std::move(operation), std::move(inputs));
    };
    if (const auto* op = std::get_if<Pad>(&step.operation)) {
      Pad pad = *op;
      put_in(pad.begins, 0);
      put_in(pad.ends, 0);
      return same(std::move(pad));
    }
    if (const auto* op = std::get_if<Slice>(&step.operation)) {
      Slice slice = *op;
      put_in(slice.starts, 0);
      put_in(slice.steps, 1);
      return same(std::move(slice));
    }
    if (const auto* op = std::get_if<Resize>(&step.operation); op != nullptr && op->scales.size() == 3) {
      if (op->coordinates == Coordinates::crop_and_resize) return false;
      Resize resize = *op;
      put_in(resize.scales, 1.0F);
      resize.roi.clear();
      return same(std::move(resize));
    }
    if (std::holds_alternative<Cast>(step.operation)) return same(step.operation);
    if (const auto* op = std::get_if<Quantize>(&step.operation)) return same(Quantize{widened(op->axis)});
    if (const auto* op = std::get_if<Dequantize>(&step.operation)) return same(Dequantize{widened(op->axis)});
    if (const auto* op = std::get_if<Unary>(&step.operation))
      return op->activation.function != Function::prelu && same(*op);
    if (std::holds_alternative<BatchNormalization>(step.operation) ||
        std::holds_alternative<GroupNormalization>(step.operation))
      return same(step.operation);
    return false;
  }

  /// Whether a convolution reads levels, less what stands for 0.
  [[nodiscard]] bool is_convolved(ValueId levels) const {
    return std::ranges::any_of(old_, [&](const Step& step) {
      if (std::ranges::find(step.inputs, levels) == step.inputs.end()) return false;
      if (std::holds_alternative<Convolution>(step.operation)) return true;
      const auto* op = std::get_if<Binary>(&step.operation);
      const bool passes = std::holds_alternative<Cast>(step.operation) ||
                          (op != nullptr && op->function == BinaryFunction::sub);
      return passes && is_convolved(step.outputs[0]);
    });
  }

  /// Levels of images, for the convolutions after it; those of rows stay rows of matrices.
  bool dynamic_quantize(const Step& step) {
    if (step.outputs[0] == kNone || !is_line(step.inputs[0]) || !is_convolved(step.outputs[0])) return false;
    write(step, step.operation, {image(step.inputs[0])});
    std::vector<ValueId>& outputs = program_.steps.back().outputs;
    outputs.insert(outputs.end(), step.outputs.begin() + 1, step.outputs.end());
    made_.insert(step.outputs.begin() + 1, step.outputs.end());
    return true;
  }

  /// Of images, or of one and what is broadcast to it.
  bool binary(const Step& step) {
    const core::Shape& y = shape(step.outputs[0]);
    if (y.size() != 3 || std::ranges::none_of(step.inputs, [&](ValueId id) { return has_image(id); }))
      return false;
    std::vector<ValueId> inputs;
    for (const ValueId id : step.inputs) {
      core::Shape to = shape(id);
      if (to.size() == 3) {
        inputs.push_back(image(id));
      } else if (to.size() < 2) {
        inputs.push_back(narrow(id));
      } else {  // [c, l]
        to.insert(to.begin() + 1, 1);
        inputs.push_back(reshape(narrow(id), std::move(to)));
      }
    }
    return write(step, step.operation, std::move(inputs));
  }

  bool concat(const Step& step) {
    if (!std::ranges::all_of(step.inputs, [&](ValueId id) { return has_image(id); })) return false;
    std::vector<ValueId> inputs;
    for (const ValueId id : step.inputs) inputs.push_back(image(id));
    return write(step, Concat{widened(std::get<Concat>(step.operation).axis)}, std::move(inputs));
  }

  /// Over the line: the result is no image.
  bool reduce(const Step& step, const Reduce& op) {
    if (std::ranges::find(op.axes, std::int64_t{kAxis}) == op.axes.end()) return false;
    Reduce over{op.function, op.axes};
    over.axes.push_back(kAxis + 1);
    program_.steps.push_back({std::move(over), {image(step.inputs[0])}, step.outputs, step.node});
    made_.insert(step.outputs[0]);
    return true;
  }

  void keep(const Step& step) {
    for (const ValueId id : step.inputs) static_cast<void>(narrow(id));
    for (const ValueId id : step.outputs) made_.insert(id);
    program_.steps.push_back(step);
  }

  Program& program_;
  std::vector<Step> old_;
  Builder builder_;
  std::map<ValueId, ValueId> images_;  ///< of lines
  std::set<ValueId> made_;             ///< lines and others that steps made as they were
};

}  // namespace

void widen_lines(Program& program) {
  const auto shape = [&](ValueId id) -> const core::Shape& { return program.values[index(id)].shape; };
  const bool any = std::ranges::any_of(program.steps, [&](const Step& step) {
    const bool convolution = std::holds_alternative<Convolution>(step.operation) ||
                             std::holds_alternative<TransposedConvolution>(step.operation);
    return convolution && shape(step.inputs[0]).size() == 3;
  });
  if (!any) return;
  Widener(program).run();
  remove_dead(program);
}

}  // namespace rdquant::program
