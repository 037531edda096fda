// The program's steps in order; what is the same for all of them.
#include "emit/reader.hpp"

#include <algorithm>
#include <array>
#include <cctype>

#include "rdquant/core/error.hpp"

namespace rdquant::emit {
namespace {

using core::DType;
using core::Shape;
using program::Step;
using program::ValueId;

std::size_t at(ValueId id) { return static_cast<std::size_t>(id); }

bool is_identifier(const std::string& name) {
  const auto fits = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; };
  return !name.empty() && std::isdigit(static_cast<unsigned char>(name[0])) == 0 &&
         std::ranges::all_of(name, fits);
}

bool has_levels(DType dtype) { return dtype == DType::i8 || dtype == DType::u8; }

/// What a step does, for messages.
std::string called(const Step& step) {
  return step.node.empty() ? std::string(operation_name(step.operation))
                           : "node '" + step.node + "' (" + std::string(operation_name(step.operation)) + ")";
}

}  // namespace

Reader::Reader(const program::Program& program, const Options& options, std::int64_t room)
    : constants(options.name),
      program_(program),
      options_(options),
      room_(room),
      views_(program.values.size()),
      done_(program.steps.size(), 0) {
  if (!is_identifier(options.name))
    throw core::InvalidArgument("name '" + options.name +
                                "' is not a C identifier: letters, digits and _ are");
}

void Reader::refuse(const Step& step, const std::string& why) {
  throw core::Unsupported(called(step) + " cannot be emitted as C: " + why);
}

Network Reader::run() {
  bind_inputs();
  for (std::size_t i = 0; i < program_.steps.size(); ++i) {
    if (done_[i] == 0) translate(program_.steps[i]);
  }
  bind_outputs();
  write_helpers();
  network.constants = constants.text();
  network.bytes = constants.bytes();
  return std::move(network);
}

void Reader::translate(const Step& step) {
  using Rule = bool (*)(Reader&, const Step&);
  constexpr std::array<Rule, 5> kRules = {read_convolution, read_elementwise, read_pool, read_movement,
                                          read_edge};
  const std::int64_t before = constants.bytes();
  const std::size_t first = network.calls.size();
  for (const Rule rule : kRules) {
    if (!rule(*this, step)) continue;
    if (network.calls.size() > first) network.calls.back().constants = constants.bytes() - before;
    return;
  }
  for (const ValueId id : step.inputs) {
    if (id != program::kNone && !is_constant(id)) static_cast<void>(view(step, id));
  }
  refuse(step, "there is no kernel for it; see `rdquant emit-c --help` for those that there are");
}

const program::Value& Reader::value(ValueId id) const { return program_.values[at(id)]; }

bool Reader::is_constant(ValueId id) const { return value(id).role == program::Role::constant; }

const View& Reader::view(const Step& step, ValueId id) const {
  const View& found = views_[at(id)];
  if (found.buffer >= 0) return found;
  const Step* made = maker(id);
  std::string what = "its input '" + value(id).name + "'";  // names of steps' own values begin with #
  if (made != nullptr && value(id).name.starts_with('#')) what = "its input, made by " + called(*made) + ",";
  if (made != nullptr && std::holds_alternative<program::Dequantize>(made->operation))
    refuse(
        step,
        what + " is quantized, but it is computed in " + std::string(core::dtype_name(value(id).dtype)) +
            ": its weights or what it gives are not quantized, a function without an integer form stands " +
            "between it and its levels, or this operation has no integer form here; quantize those, or "
            "fold " +
            "constants into the layer before");
  refuse(step, what + " holds " + std::string(core::dtype_name(value(id).dtype)) +
                   "; only levels of 8 bits are computed with, so quantize the layers around it");
}

const core::Tensor& Reader::constant(const Step& step, ValueId id) const {
  if (!is_constant(id))
    refuse(step, "its input '" + value(id).name + "' is found at run time; it must be constant");
  return value(id).data;
}

const Step* Reader::only_reader(ValueId id) const {
  const Step* found = nullptr;
  for (const Step& step : program_.steps) {
    if (std::ranges::find(step.inputs, id) == step.inputs.end()) continue;
    if (found != nullptr) return nullptr;
    found = &step;
  }
  return found;
}

const Step* Reader::maker(ValueId id) const {
  const auto made = std::ranges::find_if(program_.steps, [&](const Step& step) {
    return std::ranges::find(step.outputs, id) != step.outputs.end();
  });
  return made == program_.steps.end() ? nullptr : &*made;
}

void Reader::skip(const Step& step) { done_[static_cast<std::size_t>(&step - program_.steps.data())] = 1; }

bool Reader::is_output(ValueId id) const {
  return std::ranges::find(program_.outputs, id) != program_.outputs.end();
}

int Reader::buffer(const std::string& name, std::int64_t bytes) {
  network.buffers.push_back({name, bytes, INT32_MAX, -1, {}, 0});
  return static_cast<int>(network.buffers.size()) - 1;
}

int Reader::scratch(std::int64_t bytes) { return buffer("scratch", bytes); }

View Reader::make(ValueId id) {
  const program::Value& v = value(id);
  View made{-1,
            0,
            v.shape,
            v.shape.size() == 4 ? channels_last(v.shape) : dense_strides(v.shape),
            has_levels(v.dtype),
            v.dtype == DType::u8,
            nullptr};
  made.buffer = buffer(v.name, core::element_count(v.shape) * made.element());
  return made;
}

bool Reader::is_made(ValueId id) const { return views_[at(id)].buffer >= 0; }

View Reader::make_part(ValueId id) {
  const program::Value& v = value(id);
  const Step* next = is_output(id) ? nullptr : only_reader(id);
  const auto* op = next == nullptr ? nullptr : std::get_if<program::Concat>(&next->operation);
  const bool joins = op != nullptr && op->axis == 1 && v.shape.size() == 4 && v.shape[0] == 1 &&
                     has_levels(v.dtype) && v.dtype == value(next->outputs[0]).dtype &&
                     std::ranges::count(next->inputs, id) == 1;
  if (!joins) return make(id);
  const ValueId whole = next->outputs[0];
  if (!is_made(whole)) set(whole, make(whole));
  View part = views_[at(whole)];
  for (const ValueId before : next->inputs) {
    if (before == id) break;
    part.offset += value(before).shape[1] * part.strides[1];
  }
  part.shape = v.shape;
  return part;
}

void Reader::set(ValueId id, View view) { views_[at(id)] = std::move(view); }

Call& Reader::call(const Step& step, const std::string& function) {
  Call& made = network.calls.emplace_back();
  made.node = step.node;
  made.function = function;
  return made;
}

void Reader::work(Call& call, int buffer, const std::string& type) {
  const auto now = static_cast<std::int32_t>(network.calls.size()) - 1;
  Buffer& used = network.buffers[static_cast<std::size_t>(buffer)];
  used.first = std::min(used.first, now);
  used.last = std::max(used.last, now);
  call.scratch = buffer;
  call.arguments.push_back({{}, buffer, 0, type, true});
}

void Reader::read(Call& call, const View& view, const std::string& type) {
  const auto now = static_cast<std::int32_t>(network.calls.size()) - 1;
  Buffer& used = network.buffers[static_cast<std::size_t>(view.buffer)];
  used.last = std::max(used.last, now);
  call.arguments.push_back({{}, view.buffer, view.offset * view.element(), type, false});
}

void Reader::write(Call& call, const View& view, const std::string& type) {
  const auto now = static_cast<std::int32_t>(network.calls.size()) - 1;
  Buffer& used = network.buffers[static_cast<std::size_t>(view.buffer)];
  used.first = std::min(used.first, now);
  used.last = std::max(used.last, now);
  call.output = view.buffer;
  call.outputs = core::element_count(view.shape);
  call.arguments.push_back({{}, view.buffer, view.offset * view.element(), type, true});
}

void Reader::move(const Step& step, const View& from, const View& to) {
  const std::vector<Axis> axes = merged(from.shape, from.strides, to.strides);
  if (axes.size() > 4) refuse(step, "elements move along more than four axes");
  const std::string path = constants.structure("rdq_path", "path", path_text(axes), 40);
  Call& copy = call(step, "rdq_move");
  pass(copy, path);
  pass(copy, std::to_string(from.element()));
  read(copy, from, "void");
  write(copy, to, "void");
}

View Reader::in_strides(const Step& step, const View& from, const Shape& strides) {
  if (from.flattened != nullptr) {
    View whole = in_strides(step, *from.flattened, dense_strides(from.flattened->shape));
    whole.shape = from.shape;
    whole.strides = dense_strides(from.shape);
    return in_strides(step, whole, strides);
  }
  if (has_strides(from, strides)) return from;
  View to = from;
  to.offset = 0;
  to.strides = strides;
  to.buffer = buffer(network.buffers[static_cast<std::size_t>(from.buffer)].name,
                     core::element_count(from.shape) * from.element());
  move(step, from, to);
  return to;
}

View Reader::image(const Step& step, const View& from) {
  return in_strides(step, from, channels_last(from.shape));
}

View Reader::vector(const Step& step, const View& from) {
  return in_strides(step, from, dense_strides(from.shape));
}

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

Network read(const program::Program& program, const Options& options, std::int64_t room) {
  return Reader(program, options, room).run();
}

}  // namespace rdquant::emit
