// What only moves elements: views where strides can say it, copies where not.
#include <algorithm>
#include <array>
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

/// Pixels of one image from rows and columns of another.
void pick(Reader& reader, const Step& step, const View& x, const View& y,
          const std::array<std::vector<std::int64_t>, 2>& places) {
  const auto stored = [&](const std::string& what, const std::vector<std::int64_t>& from) {
    return reader.constants.indices(what, std::vector<std::uint16_t>(from.begin(), from.end()));
  };
  const std::string rows = stored("rows", places[0]), columns = stored("columns", places[1]);
  const std::string text = "{" + std::to_string(x.shape[3]) + ", " + std::to_string(y.shape[2]) + ", " +
                           std::to_string(y.shape[3]) + ", " + std::to_string(x.shape[1]) + ", " + rows +
                           ", " + columns + "}";
  const std::string picks = reader.constants.structure("rdq_picks", "picks", text, 16);
  Call& call = reader.call(step, "rdq_pick");
  Reader::pass(call, picks);
  reader.read(call, x);
  reader.write(call, y);
  reader.set(step.outputs[0], y);
}

/// A frame of an image's own pixels.
bool read_mirror(Reader& reader, const Step& step) {
  const auto& op = std::get<program::Pad>(step.operation);
  const View& given = reader.view(step, step.inputs[0]);
  const View y = reader.make(step.outputs[0]);
  const bool image = given.shape.size() == 4 && given.shape[0] == 1 && y.shape[0] == 1 && op.begins[1] == 0 &&
                     op.ends[1] == 0 && given.flattened == nullptr;
  if (!image || !given.levels || op.mode == program::PadMode::wrap)
    Reader::refuse(
        step,
        "its frame is no constant; edge and reflect around the rows and columns of one image can be emitted");
  const auto places = [&](std::size_t axis) {
    std::vector<std::int64_t> found;
    const std::int64_t last = given.shape[axis] - 1, period = std::max<std::int64_t>(1, 2 * last);
    for (std::int64_t i = -op.begins[axis]; i < y.shape[axis] - op.begins[axis]; ++i) {
      const std::int64_t turn = (i % period + period) % period;
      found.push_back(op.mode == program::PadMode::edge ? std::clamp<std::int64_t>(i, 0, last)
                                                        : std::min({turn, period - turn, last}));
    }
    return found;
  };
  pick(reader, step, reader.image(step, given), y, {places(2), places(3)});
  return true;
}

bool read_pad(Reader& reader, const Step& step) {
  const auto* op = std::get_if<program::Pad>(&step.operation);
  if (op == nullptr) return false;
  if (op->mode != program::PadMode::constant) return read_mirror(reader, step);
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
  pick(
      reader, step, x, y,
      {program::nearest_places(*op, x.shape, y.shape, 2), program::nearest_places(*op, x.shape, y.shape, 3)});
  return true;
}

/// Places along one axis that lie evenly, or one alone: a view.
bool read_gather(Reader& reader, const Step& step) {
  const auto* op = std::get_if<program::Gather>(&step.operation);
  if (op == nullptr) return false;
  View y = plain(reader, step);
  const auto axis = static_cast<std::size_t>(op->axis);
  std::vector<std::int64_t> places = reader.constant(step, step.inputs[1]).integers();
  for (std::int64_t& place : places) place += place < 0 ? y.shape[axis] : 0;
  const std::int64_t by = places.size() > 1 ? places[1] - places[0] : 1;
  const bool even =
      std::ranges::adjacent_find(places, [&](auto a, auto b) { return b - a != by; }) == places.end();
  if (places.empty() || !even || reader.value(step.inputs[1]).shape.size() > 1)
    Reader::refuse(step, "its indices do not lie evenly along one axis; where they do, it can be emitted");
  y.offset += places[0] * y.strides[axis];
  y.strides[axis] *= by;
  if (reader.value(step.inputs[1]).shape.empty()) y.strides.erase(y.strides.begin() + op->axis);
  y.shape = reader.value(step.outputs[0]).shape;
  reader.set(step.outputs[0], std::move(y));
  return true;
}

/// Channels into blocks of pixels, or those into channels.
bool read_blocks(Reader& reader, const Step& step) {
  const auto* wide = std::get_if<program::DepthToSpace>(&step.operation);
  const auto* deep = std::get_if<program::SpaceToDepth>(&step.operation);
  if (wide == nullptr && deep == nullptr) return false;
  View x = plain(reader, step);
  const View y = reader.make(step.outputs[0]);
  View to = y;
  const std::int64_t b = wide != nullptr ? wide->block : deep->block;
  // Both as [block's row, block's column, channels, rows, columns] of the deeper one.
  const auto split = [&](View& v, bool rows_first, bool channels_outer) {
    const core::Shape s = v.strides;
    const std::int64_t depth = (rows_first ? v.shape[1] : v.shape[1] / (b * b));
    if (rows_first) {
      v.strides = {s[2], s[3], s[1], b * s[2], b * s[3]};
      v.shape = {b, b, depth, v.shape[2] / b, v.shape[3] / b};
    } else {
      const std::int64_t inner = channels_outer ? 1 : depth;
      v.strides = {b * inner * s[1], inner * s[1], (channels_outer ? b * b : 1) * s[1], s[2], s[3]};
      v.shape = {b, b, depth, v.shape[2], v.shape[3]};
    }
  };
  if (x.shape[0] != 1) Reader::refuse(step, "it runs over several images; one at a time can be emitted");
  split(x, deep != nullptr, wide != nullptr && wide->column_row_depth);
  split(to, wide != nullptr, false);
  reader.move(step, x, to);
  reader.set(step.outputs[0], y);
  return true;
}

}  // namespace

bool read_movement(Reader& reader, const Step& step) {
  return read_gather(reader, step) || read_blocks(reader, step) || read_reshape(reader, step) ||
         read_transpose(reader, step) || read_slice(reader, step) || read_split(reader, step) ||
         read_expand(reader, step) || read_concat(reader, step) || read_pad(reader, step) ||
         read_resize(reader, step);
}

}  // namespace rdquant::emit
