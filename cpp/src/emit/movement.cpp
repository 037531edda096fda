// What only moves elements: views where strides can say it, copies where not.
#include <algorithm>
#include <limits>

#include "emit/reader.hpp"
#include "rdquant/program/evaluate.hpp"

namespace rdquant::emit {
namespace {

using core::Shape;
using program::Step;

/// The input as a view whose strides say where its elements are.
View plain(Reader& reader, const Step& step) {
  const View& x = reader.view(step, step.inputs[0]);
  return x.flattened == nullptr ? x : reader.vector(step, x);
}

bool read_reshape(Reader& reader, const Step& step) {
  if (!std::holds_alternative<program::Reshape>(step.operation)) return false;
  View x = reader.view(step, step.inputs[0]);
  const Shape& shape = reader.value(step.outputs[0]).shape;
  const auto vectors = std::ranges::count_if(shape, [](auto n) { return n != 1; });
  if (x.flattened == nullptr && !has_strides(x, dense_strides(x.shape))) {
    const bool image =
        x.shape.size() == 4 && x.shape[0] == 1 && has_strides(x, channels_last(x.shape)) && vectors <= 1;
    if (image) {
      x.flattened = std::make_shared<View>(x);
    } else {
      x = reader.vector(step, x);
    }
  }
  if (x.flattened != nullptr && vectors > 1) x = reader.vector(step, x);
  x.shape = shape;
  x.strides = dense_strides(shape);
  reader.set(step.outputs[0], std::move(x));
  return true;
}

bool read_transpose(Reader& reader, const Step& step) {
  const auto* op = std::get_if<program::Transpose>(&step.operation);
  if (op == nullptr) return false;
  const View x = plain(reader, step);
  View y = x;
  for (std::size_t i = 0; i < y.shape.size(); ++i) {
    const auto from = static_cast<std::size_t>(op->permutation[i]);
    y.shape[i] = x.shape[from];
    y.strides[i] = x.strides[from];
  }
  reader.set(step.outputs[0], std::move(y));
  return true;
}

bool read_slice(Reader& reader, const Step& step) {
  const auto* op = std::get_if<program::Slice>(&step.operation);
  if (op == nullptr) return false;
  View y = plain(reader, step);
  for (std::size_t i = 0; i < y.shape.size(); ++i) {
    y.offset += op->starts[i] * y.strides[i];
    y.strides[i] *= op->steps[i];
  }
  y.shape = reader.value(step.outputs[0]).shape;
  reader.set(step.outputs[0], std::move(y));
  return true;
}

bool read_split(Reader& reader, const Step& step) {
  const auto* op = std::get_if<program::Split>(&step.operation);
  if (op == nullptr) return false;
  View y = plain(reader, step);
  for (const program::ValueId id : step.outputs) {
    if (id == program::kNone) Reader::refuse(step, "a part of it is left out");
    y.shape = reader.value(id).shape;
    reader.set(id, y);
    const auto axis = static_cast<std::size_t>(op->axis);
    y.offset += y.shape[axis] * y.strides[axis];
  }
  return true;
}

bool read_expand(Reader& reader, const Step& step) {
  if (!std::holds_alternative<program::Expand>(step.operation)) return false;
  View y = plain(reader, step);
  const Shape& shape = reader.value(step.outputs[0]).shape;
  Shape strides(shape.size(), 0);
  const std::size_t missing = shape.size() - y.shape.size();
  for (std::size_t i = missing; i < shape.size(); ++i) {
    if (y.shape[i - missing] == shape[i]) strides[i] = y.strides[i - missing];
  }
  y.shape = shape;
  y.strides = std::move(strides);
  reader.set(step.outputs[0], std::move(y));
  return true;
}

/// The part of `whole` from `begin` along `axis` on, of another shape.
View part(const View& whole, const Shape& shape, const Shape& begins) {
  View found = whole;
  found.shape = shape;
  for (std::size_t i = 0; i < begins.size(); ++i) found.offset += begins[i] * whole.strides[i];
  return found;
}

bool read_concat(Reader& reader, const Step& step) {
  const auto* op = std::get_if<program::Concat>(&step.operation);
  if (op == nullptr) return false;
  const bool begun = reader.is_made(step.outputs[0]);  // some of its inputs were written where they belong
  const View y = begun ? reader.view(step, step.outputs[0]) : reader.make(step.outputs[0]);
  Shape begins(y.shape.size(), 0);
  for (const program::ValueId id : step.inputs) {
    const View& given = reader.view(step, id);
    const View x = given.flattened == nullptr ? given : reader.vector(step, given);
    if (x.moved != y.moved || x.levels != y.levels)
      Reader::refuse(step, "it joins levels of different types");
    if (x.buffer != y.buffer) reader.move(step, x, part(y, x.shape, begins));
    begins[static_cast<std::size_t>(op->axis)] += x.shape[static_cast<std::size_t>(op->axis)];
  }
  reader.set(step.outputs[0], y);
  return true;
}

bool read_pad(Reader& reader, const Step& step) {
  const auto* op = std::get_if<program::Pad>(&step.operation);
  if (op == nullptr) return false;
  if (op->mode != program::PadMode::constant)
    Reader::refuse(step, "it pads with other elements than a constant");
  View x = plain(reader, step);
  if (!x.levels) Reader::refuse(step, "it pads floats");
  const View y = reader.make(step.outputs[0]);
  const program::ValueId fill = program::input(step, 1);
  const std::int64_t level = fill == program::kNone ? 0 : reader.constant(step, fill).integers().front();
  Shape begins(y.shape.size(), 0);
  for (std::size_t i = 0; i < begins.size(); ++i) {
    const std::int64_t first = std::max<std::int64_t>(0, -op->begins[i]),
                       last = std::max<std::int64_t>(0, -op->ends[i]);
    begins[i] = std::max<std::int64_t>(0, op->begins[i]);
    x.offset += first * x.strides[i];
    x.shape[i] -= first + last;
  }
  Call& call = reader.call(step, "rdq_fill");
  Reader::pass(call, std::to_string(level - shift_of(y)));
  reader.write(call, y);
  Reader::pass(call, std::to_string(core::element_count(y.shape)));
  reader.move(step, x, part(y, x.shape, begins));
  reader.set(step.outputs[0], y);
  return true;
}

std::vector<std::uint16_t> places(const program::Resize& op, const Shape& from, const Shape& to,
                                  std::size_t axis) {
  std::vector<std::uint16_t> found;
  for (const std::int64_t i : program::nearest_places(op, from, to, axis))
    found.push_back(static_cast<std::uint16_t>(i));
  return found;
}

bool read_resize(Reader& reader, const Step& step) {
  const auto* op = std::get_if<program::Resize>(&step.operation);
  if (op == nullptr) return false;
  if (op->mode != program::ResizeMode::nearest || !op->roi.empty())
    Reader::refuse(step, "it interpolates; nearest can be emitted");
  const View& given = reader.view(step, step.inputs[0]);
  const View y = reader.make(step.outputs[0]);
  if (given.shape.size() != 4 || given.shape[0] != 1 || y.shape[0] != 1 || given.shape[1] != y.shape[1])
    Reader::refuse(step, "it resizes other axes than rows and columns of one image");
  const View x = reader.image(step, given);
  const std::string rows = reader.constants.indices("rows", places(*op, x.shape, y.shape, 2));
  const std::string columns = reader.constants.indices("columns", places(*op, x.shape, y.shape, 3));
  const std::string text = "{" + std::to_string(x.shape[3]) + ", " + std::to_string(y.shape[2]) + ", " +
                           std::to_string(y.shape[3]) + ", " + std::to_string(x.shape[1]) + ", " + rows +
                           ", " + columns + "}";
  const std::string picks = reader.constants.structure("rdq_picks", "picks", text, 16);
  Call& call = reader.call(step, "rdq_pick");
  Reader::pass(call, picks);
  reader.read(call, x);
  reader.write(call, y);
  reader.set(step.outputs[0], y);
  return true;
}

}  // namespace

bool read_movement(Reader& reader, const Step& step) {
  return read_reshape(reader, step) || read_transpose(reader, step) || read_slice(reader, step) ||
         read_split(reader, step) || read_expand(reader, step) || read_concat(reader, step) ||
         read_pad(reader, step) || read_resize(reader, step);
}

}  // namespace rdquant::emit
