// Functions of levels, their sums and products, and what only moves them.
#include <algorithm>
#include <numeric>
#include <utility>

#include "program/int8/int8.hpp"
#include "rdquant/program/evaluate.hpp"

namespace rdquant::program {
namespace {

using core::DType;
using core::Shape;
using Source = Int8Writer::Source;

constexpr std::int64_t kLevels = 256;

/// What all bytes stand for: (level − zero) · scale, in the order of the bytes.
core::Tensor numbers_of(const Grid& grid) {
  core::Tensor numbers(DType::f32, {kLevels});
  auto* to = numbers.write().as<float>();
  for (std::int32_t byte = 0; byte < kLevels; ++byte) {
    const std::int32_t level = grid.dtype == DType::u8 || byte < 128 ? byte : byte - 256;
    to[byte] = static_cast<float>(level - grid.zero) * grid.scale;
  }
  return numbers;
}

/// The table of bytes that quantizing `numbers` to `grid` gives.
core::Tensor quantized(const core::Tensor& numbers, const Grid& grid) {
  core::Tensor scale(DType::f32, {}), zero(grid.dtype, {}), levels(grid.dtype, {kLevels}),
      table(DType::u8, {kLevels});
  *scale.write().as<float>() = grid.scale;
  *zero.write().as<std::uint8_t>() = static_cast<std::uint8_t>(grid.zero);
  const std::array<core::TensorView, 3> inputs = {numbers.view(), scale.view(), zero.view()};
  const std::array<core::MutableTensorView, 1> outputs = {levels.write()};
  evaluate({Quantize{0}, {}, {}, ""}, inputs, outputs);
  std::copy_n(static_cast<const std::uint8_t*>(levels.data()), kLevels, table.write().as<std::uint8_t>());
  return table;
}

/// `numbers` reordered by a table of bytes.
core::Tensor through(const core::Tensor& table, const core::Tensor& numbers) {
  if (table.size() == 0) return numbers;
  core::Tensor result(DType::f32, {kLevels});
  for (std::int64_t i = 0; i < kLevels; ++i) {
    result.write().as<float>()[i] = numbers.view().as<float>()[table.view().as<std::uint8_t>()[i]];
  }
  return result;
}

core::Tensor computed(const Operation& operation, const core::Tensor& a, const core::Tensor* b) {
  core::Tensor y(DType::f32, {kLevels});
  std::vector<core::TensorView> inputs{a.view()};
  if (b != nullptr) inputs.push_back(b->view());
  const std::array<core::MutableTensorView, 1> outputs = {y.write()};
  evaluate({operation, {}, {}, ""}, inputs, outputs);
  return y;
}

/// A number that a function of two takes beside levels.
bool is_number(Int8Writer& writer, ValueId id) {
  return writer.builder().is_constant(id) && writer.is_scalar(id) && writer.value(id).dtype == DType::f32;
}

/// Looks levels up: `numbers` is what each byte of `from` becomes.
void finish(Int8Writer& writer, const Step& step, ValueId from, const core::Tensor& numbers,
            const Int8Writer::Target& target) {
  writer.reach(target);
  writer.look_up(from, quantized(numbers, target.grid), target.levels, step.node);
}

}  // namespace

core::Tensor table_between(const Grid& from, const Grid& to) { return quantized(numbers_of(from), to); }

bool write_int8_function(Int8Writer& writer, const Step& step) {
  const auto* unary = std::get_if<Unary>(&step.operation);
  const auto* binary = std::get_if<Binary>(&step.operation);
  if (unary == nullptr && binary == nullptr) return false;
  if (unary != nullptr && unary->activation.function == Function::prelu) return false;
  const Source *a = writer.source(step.inputs[0]),
               *b = binary == nullptr ? nullptr : writer.source(step.inputs[1]);
  if (a == nullptr && b == nullptr) return false;
  const auto target = writer.target(step.outputs[0]);
  if (!target) return false;
  const Source& x = a != nullptr ? *a : *b;
  if (unary != nullptr) {
    writer.bake(x);
    finish(writer, step, x.levels, computed(step.operation, numbers_of(x.grid), nullptr), *target);
    return true;
  }
  if (writer.value(x.levels).shape != writer.value(step.outputs[0]).shape) return false;
  if (a == nullptr || b == nullptr) {
    const ValueId other = step.inputs[a == nullptr ? 0 : 1];
    if (!is_number(writer, other)) return false;
    writer.bake(x);
    const core::Tensor number = writer.builder().bake(other).reshaped({1}), all = numbers_of(x.grid);
    finish(writer, step, x.levels,
           a == nullptr ? computed(step.operation, number, &all) : computed(step.operation, all, &number),
           *target);
    return true;
  }
  const Int8Writer::Root first = writer.root(a->levels), second = writer.root(b->levels);
  if (first.levels != second.levels) return false;
  writer.bake(*a);
  writer.bake(*b);
  const core::Tensor second_floats = through(second.table, numbers_of(b->grid));
  finish(writer, step, first.levels,
         computed(step.operation, through(first.table, numbers_of(a->grid)), &second_floats), *target);
  return true;
}

bool write_int8_binary(Int8Writer& writer, const Step& step) {
  const auto* binary = std::get_if<Binary>(&step.operation);
  if (binary == nullptr) return false;
  const bool less = binary->function == BinaryFunction::sub;
  const bool sum = less || binary->function == BinaryFunction::add;
  if (!sum && binary->function != BinaryFunction::mul) return false;
  const auto source = [&](ValueId id) {
    const Source* made = writer.source(id);
    return made != nullptr ? std::optional<Source>(*made) : writer.constant_source(id);
  };
  const auto a = source(step.inputs[0]), b = source(step.inputs[1]);
  const auto target = writer.target(step.outputs[0]);
  if (!a || !b || !target) return false;
  const auto clamp = clamped(binary->activation, target->grid);
  if (!clamp) return false;
  const double to = target->grid.scale, a_scale = a->grid.scale,
               b_scale = less ? -static_cast<double>(b->grid.scale) : static_cast<double>(b->grid.scale);
  const Int8Binary op{sum ? BinaryFunction::add : BinaryFunction::mul,
                      static_cast<float>(sum ? a_scale / to : a_scale * b_scale / to),
                      sum ? static_cast<float>(b_scale / to) : 1.0F,
                      a->grid.zero,
                      b->grid.zero,
                      clamp->zero,
                      clamp->low,
                      clamp->high};
  writer.bake(*a);
  writer.bake(*b);
  writer.reach(*target);
  writer.write(op, {a->levels, b->levels}, target->levels, step.node);
  return true;
}

bool write_int8_concat(Int8Writer& writer, const Step& step) {
  if (!std::holds_alternative<Concat>(step.operation)) return false;
  std::vector<const Source*> parts;
  for (const ValueId id : step.inputs) parts.push_back(writer.source(id));
  if (std::ranges::any_of(parts, [](const Source* s) { return s == nullptr; })) return false;
  std::vector<ValueId> inputs;
  const bool same = std::ranges::all_of(parts, [&](const Source* s) { return s->grid == parts[0]->grid; });
  if (same) {
    for (const Source* part : parts) inputs.push_back(part->levels);
    const Shape& shape = writer.value(step.outputs[0]).shape;
    const ValueId whole = writer.write(step.operation, inputs, parts[0]->grid.dtype, shape, step.node);
    writer.set_source(step.outputs[0], whole, *parts[0]);
    return true;
  }
  const auto target = writer.target(step.outputs[0]);
  if (!target) return false;
  for (const Source* part : parts) {
    if (part->grid == target->grid) {
      inputs.push_back(part->levels);
      continue;
    }
    writer.bake(*part);
    const ValueId table = writer.builder().add_constant(table_between(part->grid, target->grid));
    inputs.push_back(writer.write(Lookup{}, {part->levels, table}, target->grid.dtype,
                                  writer.value(part->levels).shape, step.node));
  }
  writer.reach(*target);
  writer.write(step.operation, std::move(inputs), target->levels, step.node);
  return true;
}

namespace {

/// Steps whose outputs hold elements of their first input, all alike, and nothing else.
struct Moves {
  bool operator()(const Reshape&) const { return true; }
  bool operator()(const Transpose&) const { return true; }
  bool operator()(const Slice&) const { return true; }
  bool operator()(const Pad&) const { return true; }
  bool operator()(const Split&) const { return true; }
  bool operator()(const Expand&) const { return true; }
  bool operator()(const Tile&) const { return true; }
  bool operator()(const DepthToSpace&) const { return true; }
  bool operator()(const SpaceToDepth&) const { return true; }
  bool operator()(const Resize& op) const { return op.mode == ResizeMode::nearest && op.roi.empty(); }
  bool operator()(const Pool& op) const {
    const Window& window = op.window;
    const bool dilated = window.kernel.size() == 3 && window.kernel[1] > 1 && window.dilations[1] > 1;
    return op.function == PoolFunction::max && (!dilated || window.kernel[0] == 1);
  }
  bool operator()(const Gather&) const { return true; }
  template <typename Other>
  bool operator()(const Other&) const {
    return false;
  }
};

}  // namespace

namespace {

/// The frame of a Pad as levels of `grid`; nullopt where its number is none of them and `exact` is wanted.
std::optional<ValueId> fill_of(Int8Writer& writer, const Step& step, const Grid& grid, bool exact) {
  if (std::get<Pad>(step.operation).mode != PadMode::constant) return kNone;
  const ValueId value = input(step, 1);
  std::int32_t level = grid.zero;
  if (value != kNone) {
    if (!is_number(writer, value)) return std::nullopt;
    core::Tensor number(DType::f32, {kLevels});
    std::ranges::fill_n(number.write().as<float>(), kLevels,
                        writer.builder().bake(value).view().as<float>()[0]);
    const std::uint8_t byte = quantized(number, grid).view().as<std::uint8_t>()[0];
    if (exact && numbers_of(grid).view().as<float>()[byte] != number.view().as<float>()[0])
      return std::nullopt;
    level = grid.dtype == DType::u8 || byte < 128 ? byte : byte - 256;
  }
  return writer.builder().add_scalar(grid.dtype, level);
}

/// A Pad with a number that is no level of its input but becomes one of its output, on another grid.
bool write_int8_frame(Int8Writer& writer, const Step& step, const Source& x) {
  const auto target = writer.target(step.outputs[0]);
  const auto fill = target ? fill_of(writer, step, target->grid, false) : std::nullopt;
  if (!fill) return false;
  ValueId levels = x.levels;
  if (x.grid != target->grid) {
    writer.bake(x);
    const ValueId table = writer.builder().add_constant(table_between(x.grid, target->grid));
    levels =
        writer.write(Lookup{}, {levels, table}, target->grid.dtype, writer.value(levels).shape, step.node);
  }
  writer.reach(*target);
  writer.write(step.operation, {levels, *fill}, target->levels, step.node);
  return true;
}

/// Whether the step only puts all elements of a value elsewhere.
bool permutes(const Step& step) {
  return std::holds_alternative<Transpose>(step.operation) ||
         std::holds_alternative<Reshape>(step.operation) ||
         std::holds_alternative<DepthToSpace>(step.operation) ||
         std::holds_alternative<SpaceToDepth>(step.operation);
}

/// Levels of a step's floats where those, once moved, become levels and nothing else: bytes are moved in their
/// place.
std::optional<Source> source_ahead(Int8Writer& writer, const Step& step) {
  const Step* last = &step;
  bool exchanges = false;
  while (last != nullptr && permutes(*last)) {
    exchanges = exchanges || !std::holds_alternative<Reshape>(last->operation);
    const auto target = writer.target(last->outputs[0]);
    if (target && exchanges) return writer.quantize_early(step.inputs[0], *target);
    last = writer.reader(last->outputs[0]);
  }
  return std::nullopt;
}

}  // namespace

bool write_int8_movement(Int8Writer& writer, const Step& step) {
  if (!std::visit(Moves{}, step.operation)) return false;
  const Source* known = writer.source(step.inputs[0]);
  const std::optional<Source> found = known != nullptr ? std::optional(*known) : source_ahead(writer, step);
  if (!found) return false;
  const Source x = *found;
  const bool pool = std::holds_alternative<Pool>(step.operation);
  if (pool && step.outputs.size() > 1 && step.outputs[1] != kNone) return false;
  std::vector<ValueId> inputs{x.levels};
  if (std::holds_alternative<Pad>(step.operation)) {
    const auto fill = fill_of(writer, step, x.grid, true);
    if (!fill) return write_int8_frame(writer, step, x);
    inputs.push_back(*fill);
  }
  for (std::size_t i = inputs.size(); i < step.inputs.size(); ++i)
    inputs.push_back(writer.number(step.inputs[i]));
  std::vector<Builder::Output> outputs;
  for (const ValueId id : step.outputs) {
    if (id == kNone) {
      outputs.push_back({x.grid.dtype, {}, false});
    } else {
      outputs.push_back({x.grid.dtype, writer.value(id).shape});
    }
  }
  const std::vector<ValueId> made = writer.builder().emit(step.operation, inputs, outputs, step.node);
  for (std::size_t i = 0; i < made.size(); ++i) {
    if (made[i] != kNone) writer.set_source(step.outputs[i], made[i], x);
  }
  return true;
}

}  // namespace rdquant::program
