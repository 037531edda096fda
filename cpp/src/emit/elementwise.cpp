// Tables, sums and products of levels.
#include <algorithm>
#include <cmath>

#include "emit/reader.hpp"

namespace rdquant::emit {
namespace {

using core::Shape;
using program::Step;

/// Strides of `view` along the axes of `shape`, 0 where it is repeated. @throws Unsupported  shapes that do not broadcast
Shape repeated(const Step& step, const View& view, const Shape& shape) {
  Shape strides(shape.size(), 0);
  const std::size_t missing = shape.size() - view.shape.size();
  for (std::size_t i = missing; i < shape.size(); ++i) {
    const std::int64_t size = view.shape[i - missing];
    if (size != shape[i] && size != 1) Reader::refuse(step, "its inputs' shapes differ");
    strides[i] = size == 1 ? 0 : view.strides[i - missing];
  }
  return strides;
}

/// Axes of two inputs and a dense output, outermost first.
struct PairAxis {
  std::int64_t size, a, b, y;
};

std::vector<PairAxis> pair_axes(const Step& step, const Shape& shape, const Shape& a, const Shape& b,
                                const Shape& y) {
  std::vector<PairAxis> axes, found;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] != 1) axes.push_back({shape[i], a[i], b[i], y[i]});
  }
  std::ranges::stable_sort(axes, [](const PairAxis& l, const PairAxis& r) { return l.y > r.y; });
  for (const PairAxis& axis : axes) {
    const bool joins = !found.empty() && found.back().y == axis.y * axis.size &&
                       found.back().a == axis.a * axis.size && found.back().b == axis.b * axis.size;
    if (joins && found.back().size * axis.size < 65536) {
      found.back() = {found.back().size * axis.size, axis.a, axis.b, axis.y};
    } else {
      found.push_back(axis);
    }
  }
  if (found.size() > 4) Reader::refuse(step, "its inputs are repeated along more than four axes");
  found.insert(found.begin(), 4 - found.size(), PairAxis{1, 0, 0, 0});
  return found;
}

std::string pair_text(const Step& step, const std::vector<PairAxis>& axes, const View& a, const View& b,
                      const View& y) {
  const auto& op = std::get<program::Int8Binary>(step.operation);
  std::string sizes, first, second;
  for (const PairAxis& axis : axes) {
    if (axis.size > 65535)
      Reader::refuse(step, "an axis of " + std::to_string(axis.size) + " elements is beyond 16 bits");
    const std::string comma = sizes.empty() ? "" : ", ";
    sizes += comma + std::to_string(axis.size);
    first += comma + std::to_string(axis.a);
    second += comma + std::to_string(axis.b);
  }
  if (op.function == program::BinaryFunction::mul) {
    check_range(step, "the product of its inputs' scales / scale of output", op.a_scale, 1e30F);
  } else {
    for (const float scale : {op.a_scale, op.b_scale})
      check_range(step, "scale of input / scale of output", scale, 4096);
  }
  std::string text = "{{" + sizes + "}, {" + first + "}, {" + second + "}";
  for (const std::int32_t n : {op.a_zero - shift_of(a), op.b_zero - shift_of(b), op.zero - shift_of(y),
                               op.low - shift_of(y), op.high - shift_of(y)})
    text += ", " + std::to_string(n);
  return text + ", " + float_text(op.a_scale) + ", " + float_text(op.b_scale) + "}";
}

bool read_pair(Reader& reader, const Step& step) {
  const auto* op = std::get_if<program::Int8Binary>(&step.operation);
  if (op == nullptr) return false;
  const View a = reader.levels(step, step.inputs[0]), b = reader.levels(step, step.inputs[1]),
             y = reader.make(step.outputs[0]);
  const Shape a_strides = repeated(step, a, y.shape), b_strides = repeated(step, b, y.shape);
  const std::string text =
      pair_text(step, pair_axes(step, y.shape, a_strides, b_strides, y.strides), a, b, y);
  constexpr std::int64_t kPairBytes = 60;
  const std::string pair = reader.constants.structure("rdq_pair", "pair", text, kPairBytes);
  Call& call = reader.call(step, op->function == program::BinaryFunction::mul ? "rdq_mul" : "rdq_add");
  Reader::pass(call, pair);
  reader.read(call, a);
  reader.read(call, b);
  reader.write(call, y);
  for (const View* v : {&a, &b}) {
    if (v->offset == 0 && v->shape == y.shape && has_strides(*v, y.strides))
      call.overlaps.push_back({v->buffer, 0, false});
  }
  reader.set(step.outputs[0], y);
  return true;
}

bool read_lookup(Reader& reader, const Step& step) {
  if (!std::holds_alternative<program::Lookup>(step.operation)) return false;
  View x = reader.view(step, step.inputs[0]);
  View y = reader.make(step.outputs[0]);
  x = x.flattened == nullptr && has_strides(x, y.strides) ? x : reader.in_strides(step, x, y.strides);
  const auto* from = reader.constant(step, step.inputs[1]).view().as<std::uint8_t>();
  std::vector<std::int8_t> table(256);
  for (std::size_t i = 0; i < 256; ++i)
    table[i] = static_cast<std::int8_t>(from[i ^ (x.moved ? 128U : 0U)] ^ (y.moved ? 128U : 0U));
  const std::string name = reader.constants.levels("table", table);
  Call& call = reader.call(step, "rdq_lookup");
  Reader::pass(call, name);
  reader.read(call, x);
  reader.write(call, y);
  Reader::pass(call, std::to_string(core::element_count(y.shape)));
  if (x.offset == 0) call.overlaps.push_back({x.buffer, 0, false});
  reader.set(step.outputs[0], y);
  return true;
}

}  // namespace

bool read_elementwise(Reader& reader, const Step& step) {
  return read_pair(reader, step) || read_lookup(reader, step);
}

}  // namespace rdquant::emit
