#include <algorithm>
#include <array>
#include <charconv>
#include <type_traits>
#include <utility>

#include "program/lower/builder.hpp"

namespace rdquant::program {
namespace {

std::string number(float value) {
  std::array<char, 32> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value);
  return {digits.data(), end.ptr};
}

/// Parameters of an operation as " name=value", defaults left out.
class Parameters {
 public:
  std::string take() && { return std::move(text_); }

  void operator()(const Convolution& op) {
    window(op.window);
    add("groups", op.groups, 1);
    activation(op.activation);
    flag("residual_last", op.residual_last);
  }
  void operator()(const TransposedConvolution& op) {
    window(op.window);
    add("groups", op.groups, 1);
    activation(op.activation);
  }
  void operator()(const MatMul& op) {
    flag("transpose_a", op.transpose_a);
    flag("transpose_b", op.transpose_b);
    real("alpha", op.alpha, 1);
    real("beta", op.beta, 1);
    activation(op.activation);
    flag("residual_last", op.residual_last);
  }
  void operator()(const Pool& op) {
    constexpr std::array<std::string_view, 3> names = {"max", "average", "lp"};
    word("function", names[static_cast<std::size_t>(op.function)]);
    window(op.window);
    flag("count_include_pad", op.count_include_pad);
    if (op.counted_pads_end != op.window.pads_end) list("counted_pads_end", op.counted_pads_end);
    if (op.function == PoolFunction::lp) add("p", op.p, 2);
    flag("column_major_indices", op.column_major_indices);
  }
  void operator()(const Int8Convolution& op) {
    window(op.window);
    add("groups", op.groups, 1);
    add("x_zero", op.x_zero, 0);
    requantize(op.requantize);
    if (op.sum.high != op.sum.low) (*this)(op.sum);
    flag("residual_last", op.residual_last);
  }
  void operator()(const Int8Binary& op) {
    word("function", function_name(op.function));
    real("a_scale", op.a_scale, 1);
    real("b_scale", op.b_scale, 1);
    add("a_zero", op.a_zero, 0);
    add("b_zero", op.b_zero, 0);
    limits(op.zero, op.low, op.high);
  }
  void operator()(const Int8Pool& op) {
    window(op.window);
    flag("count_include_pad", op.count_include_pad);
    add("x_zero", op.x_zero, 0);
    real("scale", op.scale, 1);
    requantize(op.requantize);
  }
  void operator()(const Unary& op) { activation(op.activation); }
  void operator()(const Binary& op) {
    word("function", function_name(op.function));
    activation(op.activation);
  }
  void operator()(const Cast& op) { flag("wrap", !op.saturate); }
  void operator()(const Reduce& op) {
    word("function", function_name(op.function));
    list("axes", op.axes);
  }
  void operator()(const ArgExtreme& op) {
    axis(op.axis);
    flag("smallest", !op.largest);
    flag("last", op.last);
  }
  void operator()(const TopK& op) {
    axis(op.axis);
    flag("smallest", !op.largest);
  }
  void operator()(const CumulativeSum& op) {
    axis(op.axis);
    flag("exclusive", op.exclusive);
    flag("reverse", op.reverse);
    flag("product", op.product);
  }
  void operator()(const Softmax& op) {
    axis(op.axis);
    flag("logarithm", op.logarithm);
  }
  void operator()(const LayerNormalization& op) {
    axis(op.axis);
    real("epsilon", op.epsilon, 0);
    flag("root_mean_square", op.root_mean_square);
  }
  void operator()(const BatchNormalization& op) {
    real("epsilon", op.epsilon, 0);
    activation(op.activation);
  }
  void operator()(const GroupNormalization& op) {
    add("groups", op.groups, 0);
    real("epsilon", op.epsilon, 0);
    activation(op.activation);
  }
  void operator()(const LpNormalization& op) {
    axis(op.axis);
    add("p", op.p, 0);
  }
  void operator()(const LocalResponseNormalization& op) {
    add("size", op.size, 0);
    real("alpha", op.alpha, 0);
    real("beta", op.beta, 0);
    real("bias", op.bias, 0);
  }
  void operator()(const Slice& op) {
    list("starts", op.starts);
    list("steps", op.steps);
  }
  void operator()(const Pad& op) {
    constexpr std::array<std::string_view, 4> names = {"constant", "edge", "reflect", "wrap"};
    word("mode", names[static_cast<std::size_t>(op.mode)]);
    list("begins", op.begins);
    list("ends", op.ends);
  }
  void operator()(const Transpose& op) { list("permutation", op.permutation); }
  void operator()(const Tile& op) { list("repeats", op.repeats); }
  void operator()(const GatherNd& op) { add("batch_axes", op.batch_axes, 0); }
  void operator()(const ScatterNd& op) { reduction(op.reduction); }
  void operator()(const ScatterElements& op) {
    add("axis", op.axis, 0);
    reduction(op.reduction);
  }
  void operator()(const GridSample& op) {
    constexpr std::array<std::string_view, 3> modes = {"nearest", "linear", "cubic"};
    constexpr std::array<std::string_view, 3> paddings = {"zeros", "border", "reflection"};
    word("mode", modes[static_cast<std::size_t>(op.mode)]);
    word("padding", paddings[static_cast<std::size_t>(op.padding)]);
    flag("align_corners", op.align_corners);
  }
  void operator()(const RoiPool& op) {
    constexpr std::array<std::string_view, 3> functions = {"average", "max", "elements"};
    word("function", functions[static_cast<std::size_t>(op.function)]);
    real("scale", op.scale, 1);
    real("offset", op.offset, 0);
    add("samples", op.samples, 0);
  }
  void operator()(const Triangle& op) { flag("lower", !op.upper); }
  void operator()(const DepthToSpace& op) {
    add("block", op.block, 0);
    flag("column_row_depth", op.column_row_depth);
  }
  void operator()(const SpaceToDepth& op) { add("block", op.block, 0); }
  void operator()(const Recurrence& op) {
    constexpr std::array<std::string_view, 3> cells = {"rnn", "gru", "lstm"};
    word("cell", cells[static_cast<std::size_t>(op.cell)]);
    for (const Activation& f : op.activations) activation(f);
    real("clip", op.clip, 0);
    flag("reverse", op.reverse);
    flag("linear_before_reset", op.linear_before_reset);
    flag("input_forget", op.input_forget);
  }
  void operator()(const Resize& op) {
    constexpr std::array<std::string_view, 3> modes = {"nearest", "linear", "cubic"};
    constexpr std::array<std::string_view, 6> coordinates = {"half_pixel",         "half_pixel_symmetric",
                                                             "pytorch_half_pixel", "align_corners",
                                                             "asymmetric",         "crop_and_resize"};
    constexpr std::array<std::string_view, 4> nearest = {"round_prefer_floor", "round_prefer_ceil", "floor",
                                                         "ceil"};
    word("mode", modes[static_cast<std::size_t>(op.mode)]);
    word("coordinates", coordinates[static_cast<std::size_t>(op.coordinates)]);
    if (op.mode == ResizeMode::nearest) word("nearest", nearest[static_cast<std::size_t>(op.nearest)]);
    if (op.mode == ResizeMode::cubic) real("cubic_coefficient", op.cubic_coefficient, 0);
    list("scales", op.scales);
    if (!op.roi.empty()) list("roi", op.roi);
    if (!op.roi.empty()) real("extrapolation", op.extrapolation, 0);
    flag("exclude_outside", op.exclude_outside);
    flag("antialias", op.antialias);
  }
  /// Concat, Split, Gather, OneHot … have an axis or nothing.
  template <typename Other>
  void operator()(const Other& op) {
    if constexpr (requires { op.axis; }) axis(op.axis);
  }

 private:
  void word(std::string_view name, std::string_view value) {
    text_.append(" ").append(name).append("=").append(value);
  }
  void reduction(Reduction value) {
    constexpr std::array<std::string_view, 5> names = {"none", "add", "mul", "min", "max"};
    word("reduction", names[static_cast<std::size_t>(value)]);
  }
  void axis(std::int64_t value) { word("axis", std::to_string(value)); }
  void add(std::string_view name, std::int64_t value, std::int64_t otherwise) {
    if (value != otherwise) word(name, std::to_string(value));
  }
  void real(std::string_view name, float value, float otherwise) {
    if (value != otherwise) word(name, number(value));
  }
  void flag(std::string_view name, bool value) {
    if (value) text_.append(" ").append(name);
  }
  template <typename T>
  void list(std::string_view name, const std::vector<T>& values) {
    std::string joined;
    for (const T& value : values) {
      if (!joined.empty()) joined += ',';
      if constexpr (std::is_same_v<T, float>) {
        joined += number(value);
      } else {
        joined += std::to_string(value);
      }
    }
    word(name, joined);
  }
  void window(const Window& w) {
    const auto all = [](const std::vector<std::int64_t>& v, std::int64_t n) {
      return std::ranges::all_of(v, [n](std::int64_t x) { return x == n; });
    };
    list("kernel", w.kernel);
    if (!all(w.strides, 1)) list("strides", w.strides);
    if (!all(w.dilations, 1)) list("dilations", w.dilations);
    if (!all(w.pads_begin, 0) || !all(w.pads_end, 0)) {
      list("pads_begin", w.pads_begin);
      list("pads_end", w.pads_end);
    }
  }
  void requantize(const Requantize& to) {
    activation(to.activation);
    real("requantize", to.scale, 1);
    limits(to.zero, to.low, to.high);
  }
  void limits(std::int32_t zero, std::int32_t low, std::int32_t high) {
    add("zero", zero, 0);
    add("low", low, 0);
    add("high", high, 255);
  }
  void activation(const Activation& a) {
    if (a == Activation{}) return;
    std::string value(function_name(a.function));
    if (a.a != 0 || a.b != 0)
      value.append("(").append(number(a.a)).append(",").append(number(a.b)).append(")");
    word("activation", value);
  }

  std::string text_;
};

std::string names(const Program& program, const std::vector<ValueId>& ids) {
  std::string text;
  for (const ValueId id : ids) {
    text.append(text.empty() ? "" : ", ").append(id == kNone ? "-" : program.values[index(id)].name);
  }
  return text;
}

std::string typed(const Value& value) {
  return value.name + " " + std::string(core::dtype_name(value.dtype)) + core::shape_text(value.shape);
}

void write_steps(std::string& text, const Program& program, std::string_view title,
                 const std::vector<Step>& steps) {
  for (const Step& step : steps) {
    Parameters parameters;
    std::visit(parameters, step.operation);
    text.append(title);
    for (std::size_t i = 0; i < step.outputs.size(); ++i) {
      const ValueId id = step.outputs[i];
      text.append(i == 0 ? " " : ", ").append(id == kNone ? "-" : typed(program.values[index(id)]));
    }
    text.append(" = ").append(operation_name(step.operation));
    text.append("(").append(names(program, step.inputs)).append(")").append(std::move(parameters).take());
    text.append("\n");
  }
}

void write_value(std::string& text, std::string_view title, const Value& value) {
  text.append(title).append(" ").append(typed(value)).append("\n");
}

}  // namespace

std::string dump(const Program& program) {
  std::string text = "program " + program.name + "\n";
  for (const ValueId id : program.inputs) write_value(text, "input", program.values[index(id)]);
  std::vector<bool> made(program.values.size(), false);
  for (const Step& step : program.prologue) {
    for (const ValueId id : step.outputs) {
      if (id != kNone) made[index(id)] = true;
    }
  }
  std::vector<bool> weight(program.values.size(), false);
  for (const auto& [name, id] : program.weights) weight[index(id)] = true;
  for (std::size_t i = 0; i < program.values.size(); ++i) {
    if (program.values[i].role != Role::constant || made[i]) continue;
    write_value(text, weight[i] ? "weight" : "constant", program.values[i]);
  }
  write_steps(text, program, "before", program.prologue);
  write_steps(text, program, "step", program.steps);
  return text.append("output ").append(names(program, program.outputs)).append("\n");
}

}  // namespace rdquant::program
