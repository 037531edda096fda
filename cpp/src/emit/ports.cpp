// Inputs and outputs of a network, and what changes the order and the type of their elements.
#include <algorithm>

#include "emit/reader.hpp"
#include "rdquant/core/error.hpp"

namespace rdquant::emit {

using core::DType;
using core::Shape;
using program::Step;
using program::ValueId;

// Images stay as the model has them where the first thing that it does is to reorder them.
Shape Reader::port_strides(ValueId id) const {
  const Shape& shape = value(id).shape;
  if (shape.size() != 4) return dense_strides(shape);
  for (const Step& step : program_.steps) {
    const bool reads = std::ranges::find(step.inputs, id) != step.inputs.end();
    const bool reorders = std::holds_alternative<program::Transpose>(step.operation) ||
                          std::holds_alternative<program::Reshape>(step.operation);
    if (reads && reorders) return dense_strides(shape);
  }
  return channels_last(shape);
}

void Reader::bind_inputs() {
  for (const ValueId id : program_.inputs) bind_input(id);
}

void Reader::bind_input(ValueId id) {
  const program::Value& given = value(id);
  Port port{given.name, given.dtype, given.shape, true, 1, 0, 0};
  ValueId levels = id;
  if (!has_levels(given.dtype)) {
    const Step* reader = only_reader(id);
    const bool quantized = reader != nullptr &&
                           std::holds_alternative<program::Quantize>(reader->operation) &&
                           given.dtype == DType::f32 && value(reader->inputs[1]).data.size() == 1;
    if (!quantized)
      throw core::Unsupported(
          "input '" + given.name + "' holds " + std::string(core::dtype_name(given.dtype)) +
          " and is not quantized with one scale before it is used; only such inputs, and " +
          "levels of 8 bits, can be emitted as C; `rdquant quantize --mode static` makes such networks");
    levels = reader->outputs[0];
    skip(*reader);
    const ValueId zero = program::input(*reader, 2);
    port.scale = static_cast<float>(constant(*reader, reader->inputs[1]).doubles().front());
    port.zero =
        zero == program::kNone ? 0 : static_cast<std::int32_t>(constant(*reader, zero).integers().front());
    if (!has_levels(value(levels).dtype)) refuse(*reader, "it makes levels of more than 8 bits");
    if (value(levels).dtype == DType::u8) port.zero -= 128;
  }
  View made = make(levels);
  made.strides = port_strides(levels);
  port.bytes = core::element_count(made.shape);
  Buffer& used = network.buffers[static_cast<std::size_t>(made.buffer)];
  used.first = -1;
  if (options_.ports == Ports::caller) used.outside = "input" + std::to_string(network.inputs.size());
  network.inputs.push_back(std::move(port));
  network.input_views.push_back(made);
  set(levels, std::move(made));
}

// The caller's memory holds one output and nothing else.
View Reader::alone(const Step& step, const View& from) {
  Buffer& used = network.buffers[static_cast<std::size_t>(from.buffer)];
  const std::int64_t bytes = core::element_count(from.shape) * from.element();
  View to = from;
  if (!used.outside.empty() || used.bytes != bytes || !has_strides(from, channels_last(from.shape))) {
    to.offset = 0;
    to.strides = channels_last(from.shape);
    to.buffer = buffer(used.name, bytes);
    move(step, from, to);
  }
  network.buffers[static_cast<std::size_t>(to.buffer)].outside =
      "output" + std::to_string(network.outputs.size());
  return to;
}

void Reader::bind_outputs() {
  for (const ValueId id : program_.outputs) {
    const program::Value& given = value(id);
    Port port{given.name, given.dtype, given.shape, true, 1, 0, 0};
    const Step* made = maker(id);
    if (made == nullptr)
      throw core::Unsupported("output '" + given.name +
                              "' is an input or a constant of the model; nothing computes it");
    ValueId levels = id;
    if (std::holds_alternative<program::Dequantize>(made->operation) && views_[at(id)].buffer < 0) {
      const ValueId zero = program::input(*made, 2);
      levels = made->inputs[0];
      port.scale = static_cast<float>(constant(*made, made->inputs[1]).doubles().front());
      port.zero =
          zero == program::kNone ? 0 : static_cast<std::int32_t>(constant(*made, zero).integers().front());
    }
    View found = view(*made, levels);
    if (found.flattened != nullptr) found = vector(*made, found);
    if (options_.ports == Ports::caller) found = alone(*made, found);
    if (has_levels(value(levels).dtype)) port.zero -= shift_of(found);
    port.levels = found.levels;
    Buffer& used = network.buffers[static_cast<std::size_t>(found.buffer)];
    port.bytes = core::element_count(found.shape) * found.element();
    used.last = static_cast<std::int32_t>(network.calls.size());
    network.outputs.push_back(std::move(port));
    network.output_views.push_back(std::move(found));
  }
}

/// What changes the order and the type of elements at the edges.
void Reader::write_helpers() {
  constants.comment("Helpers of inputs and outputs");
  const auto helper = [&](const Port& port, const View& view, bool input) {
    const Shape dense = dense_strides(view.shape);
    const std::vector<Axis> axes =
        input ? merged(view.shape, dense, view.strides) : merged(view.shape, view.strides, dense);
    if (axes.size() > 4) throw core::Unsupported("'" + port.name + "' has more than four axes");
    const std::string path = constants.structure("rdq_path", "path", path_text(axes), 40);
    if (!view.levels) return "rdq_move(" + path + ", 4, X, Y)";
    if (has_levels(port.dtype)) return "rdq_bytes(" + path + ", " + (view.moved ? "0x80" : "0") + ", X, Y)";
    const std::string text = "{" + float_text(port.scale) + ", " + std::to_string(port.zero) + "}";
    const std::string grid = constants.structure("rdq_grid", "grid", text, 8);
    return std::string(input ? "rdq_quantize(" : "rdq_dequantize(") + grid + ", " + path + ", X, Y)";
  };
  for (std::size_t i = 0; i < network.inputs.size(); ++i)
    network.input_helpers.push_back(helper(network.inputs[i], network.input_views[i], true));
  for (std::size_t i = 0; i < network.outputs.size(); ++i)
    network.output_helpers.push_back(helper(network.outputs[i], network.output_views[i], false));
}

}  // namespace rdquant::emit
