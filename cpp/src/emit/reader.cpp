// The program's steps in order; what is the same for all of them.
#include "emit/reader.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <sstream>

#include "rdquant/core/error.hpp"

namespace rdquant::emit {
namespace {

using core::DType;
using core::Shape;
using program::Step;
using program::ValueId;

bool is_identifier(const std::string& name) {
  const auto fits = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; };
  return !name.empty() && std::isdigit(static_cast<unsigned char>(name[0])) == 0 &&
         std::ranges::all_of(name, fits);
}

/// What a step does, for messages.
std::string called(const Step& step) {
  return step.node.empty() ? std::string(operation_name(step.operation))
                           : "node '" + step.node + "' (" + std::string(operation_name(step.operation)) + ")";
}

bool has_integer_form(const program::Operation& op) {
  return std::holds_alternative<program::Convolution>(op) || std::holds_alternative<program::MatMul>(op) ||
         std::holds_alternative<program::Pool>(op) || std::holds_alternative<program::Reduce>(op) ||
         std::holds_alternative<program::Unary>(op) || std::holds_alternative<program::Concat>(op) ||
         std::holds_alternative<program::Softmax>(op) || std::holds_alternative<program::Pad>(op);
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
    throw core::InvalidArgument("name: '" + options.name +
                                "' is not a C identifier; expected letters, digits and _, no digit first");
}

void Reader::refuse(const Step& step, const std::string& why) {
  throw core::Unsupported(called(step) + " cannot be emitted as C: " + why);
}

void check_range(const Step& step, const std::string& what, float number, float most) {
  if (std::abs(number) < most) return;
  std::ostringstream text;
  text << what << " is " << number << ", and only magnitudes below " << most
       << " can be computed; check the scales of its inputs and of its output";
  Reader::refuse(step, text.str());
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

/// Why a step that reads levels is computed in floats, and what to do about it.
std::string Reader::why_numbers(const Step& step) const {
  const auto* binary = std::get_if<program::Binary>(&step.operation);
  for (const ValueId id : step.inputs) {
    if (binary != nullptr && is_constant(id) && value(id).dtype == DType::f32)
      return "its input '" + value(id).name +
             "' is a constant of floats; quantize that with one scale, or fold it into the layer before";
  }
  using enum program::BinaryFunction;
  const bool known =
      binary != nullptr && (binary->function == add || binary->function == sub || binary->function == mul);
  if (!known && !has_integer_form(step.operation))
    return "it has no integer form here; let the model end before it, or replace it there by what `rdquant "
           "emit-c --help` names";
  return "its weights or what it gives are not quantized, or a function without an integer form stands "
         "between it and its levels; quantize those, or fold constants into the layer before";
}

const View& Reader::view(const Step& step, ValueId id) const {
  const View& found = views_[at(id)];
  if (found.buffer >= 0) return found;
  const Step* made = maker(id);
  std::string what = "its input '" + value(id).name + "'";  // names of steps' own values begin with #
  if (made != nullptr && value(id).name.starts_with('#')) what = "its input, made by " + called(*made) + ",";
  if (made != nullptr && std::holds_alternative<program::Dequantize>(made->operation))
    refuse(step, what + " is quantized, but it is computed in " +
                     std::string(core::dtype_name(value(id).dtype)) + ": " + why_numbers(step));
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
  if (axes.size() > 4) return move_in_parts(step, from, to, axes);
  const std::string path = constants.structure("rdq_path", "path", path_text(axes), 40);
  Call& copy = call(step, "rdq_move");
  pass(copy, path);
  pass(copy, std::to_string(from.element()));
  read(copy, from, "void");
  write(copy, to, "void");
}

// One call for each place along the shortest axis.
void Reader::move_in_parts(const Step& step, View from, View to, std::vector<Axis> axes) {
  constexpr std::int64_t kMostParts = 8;
  const auto shortest = std::ranges::min_element(axes, {}, &Axis::size);
  const Axis taken = *shortest;
  if (taken.size > kMostParts) refuse(step, "its elements move along more than four axes");
  axes.erase(shortest);
  from.shape.clear();
  from.strides.clear();
  to.strides.clear();
  for (const Axis& axis : axes) {
    from.shape.push_back(axis.size);
    from.strides.push_back(axis.from);
    to.strides.push_back(axis.to);
  }
  to.shape = from.shape;
  for (std::int64_t i = 0; i < taken.size; ++i) {
    move(step, from, to);
    from.offset += taken.from;
    to.offset += taken.to;
  }
}

View Reader::levels(const Step& step, ValueId id) {
  if (!is_constant(id)) {
    const View& found = view(step, id);
    return found.flattened == nullptr ? found : vector(step, found);
  }
  if (!has_levels(value(id).dtype)) return view(step, id);
  View made = make(id);
  const core::Tensor& data = constant(step, id);
  const Shape dense = dense_strides(made.shape);
  std::vector<std::int8_t> stored(static_cast<std::size_t>(data.size()));
  for (std::int64_t i = 0; i < data.size(); ++i) {
    std::int64_t place = 0;
    for (std::size_t axis = 0; axis < dense.size(); ++axis)
      place += i / dense[axis] % made.shape[axis] * made.strides[axis];
    const int byte = data.view().as<std::uint8_t>()[i] ^ (made.moved ? 128 : 0);
    stored[static_cast<std::size_t>(place)] = static_cast<std::int8_t>(byte);
  }
  network.buffers[static_cast<std::size_t>(made.buffer)].outside = constants.levels("levels", stored);
  return made;
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

Network read(const program::Program& program, const Options& options, std::int64_t room) {
  return Reader(program, options, room).run();
}

}  // namespace rdquant::emit
