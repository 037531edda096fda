// Levels of 8 bits in place of the numbers that they stand for.
#include "program/int8/int8.hpp"

#include <algorithm>
#include <utility>

#include "program/fuse/fuse.hpp"

namespace rdquant::program {
namespace {

using Rule = bool (*)(Int8Writer&, const Step&);
constexpr std::array<Rule, 11> kRules = {write_dynamic_layer, write_dynamic_product, write_int8_convolution,
                                         write_int8_product,  write_int8_function,   write_int8_binary,
                                         write_int8_pool,     write_int8_reduction,  write_int8_concat,
                                         write_int8_movement, write_int8_recurrence};

bool is_int8(core::DType dtype) { return dtype == core::DType::u8 || dtype == core::DType::i8; }

}  // namespace

Int8Writer::Int8Writer(Program& program)
    : program_(program),
      old_(std::exchange(program.steps, {})),
      builder_(program),
      made_(program.values.size(), 0),
      readers_(program.values.size()),
      makers_(program.values.size(), old_.size()),
      done_(old_.size(), false) {
  for (std::size_t v = 0; v < program.values.size(); ++v) now_.push_back(static_cast<ValueId>(v));
  for (std::size_t s = 0; s < old_.size(); ++s) {
    for (const ValueId id : old_[s].inputs) {
      if (id != kNone) readers_[index(id)].push_back(s);
    }
    for (const ValueId id : old_[s].outputs) {
      if (id != kNone) makers_[index(id)] = s;
    }
  }
  for (const ValueId id : program.outputs) readers_[index(id)].push_back(old_.size());
}

void Int8Writer::run() {
  for (std::size_t i = 0; i < old_.size(); ++i) translate(i);
  for (ValueId& id : program_.outputs) id = number(id);
}

void Int8Writer::translate(std::size_t i) {
  if (done_[i]) return;
  const Step& step = old_[i];
  if (dequantize(step) || quantize(step)) return;
  for (const Rule rule : kRules) {
    if (rule(*this, step)) return;
  }
  Step same = step;
  for (ValueId& id : same.inputs) id = number(id);
  program_.steps.push_back(std::move(same));
}

std::optional<Grid> Int8Writer::grid(const Step& step, ValueId levels) const {
  const ValueId scale = step.inputs[1], zero = input(step, 2);
  if (!is_int8(value(levels).dtype) || !builder_.is_constant(scale)) return std::nullopt;
  if (value(scale).dtype != core::DType::f32 || !is_scalar(scale)) return std::nullopt;
  if (zero != kNone && (!builder_.is_constant(zero) || !is_scalar(zero))) return std::nullopt;
  const auto s = static_cast<float>(builder_.data(scale).doubles().front());
  if (!(s > 0) || s - s != 0) return std::nullopt;
  const std::int64_t z = zero == kNone ? 0 : builder_.data(zero).integers().front();
  return Grid{s, static_cast<std::int32_t>(z), value(levels).dtype};
}

bool Int8Writer::dequantize(const Step& step) {
  if (!std::holds_alternative<Dequantize>(step.operation)) return false;
  const auto found = grid(step, step.inputs[0]);
  if (!found || value(step.outputs[0]).dtype != core::DType::f32) return false;
  sources_[step.outputs[0]] = {renamed(step.inputs[0]), *found, step.inputs[1], input(step, 2)};
  return true;
}

bool Int8Writer::quantize(const Step& step) {
  if (!std::holds_alternative<Quantize>(step.operation)) return false;
  const Source* from = source(step.inputs[0]);
  const auto to = grid(step, step.outputs[0]);
  if (from == nullptr || !to) return false;
  for (const ValueId id : {step.inputs[1], input(step, 2), from->scale, from->zero}) {
    if (id != kNone) static_cast<void>(builder_.bake(id));
  }
  if (from->grid == *to) {
    now_[index(step.outputs[0])] = from->levels;
  } else {
    look_up(from->levels, table_between(from->grid, *to), step.outputs[0], step.node);
  }
  return true;
}

const Int8Writer::Source* Int8Writer::source(ValueId id) const {
  const auto found = sources_.find(id);
  return found == sources_.end() ? nullptr : &found->second;
}

std::optional<Int8Writer::Source> Int8Writer::constant_source(ValueId id) const {
  const auto made =
      std::ranges::find_if(program_.prologue, [&](const Step& s) { return s.outputs[0] == id; });
  if (made == program_.prologue.end() || !std::holds_alternative<Dequantize>(made->operation))
    return std::nullopt;
  const auto found = grid(*made, made->inputs[0]);
  if (!found || value(id).dtype != core::DType::f32) return std::nullopt;
  return Source{made->inputs[0], *found, made->inputs[1], input(*made, 2)};
}

void Int8Writer::bake(const Source& source) {
  for (const ValueId id : {source.scale, source.zero}) {
    if (id != kNone) static_cast<void>(builder_.bake(id));
  }
}

std::optional<Int8Writer::Target> Int8Writer::target(ValueId id) const {
  const std::vector<std::size_t>& readers = readers_[index(id)];
  if (readers.size() != 1 || readers[0] >= old_.size()) return std::nullopt;
  const Step& step = old_[readers[0]];
  if (!std::holds_alternative<Quantize>(step.operation)) return std::nullopt;
  const auto found = grid(step, step.outputs[0]);
  if (!found) return std::nullopt;
  return Target{readers[0], step.outputs[0], *found};
}

Int8Writer::Source Int8Writer::quantize_early(ValueId id, const Target& target) {
  const Step& step = old_[target.step];
  std::vector<ValueId> inputs = step.inputs;
  inputs[0] = number(id);
  core::Shape shape = value(id).shape;
  const ValueId levels =
      write(Quantize{0}, std::move(inputs), target.grid.dtype, std::move(shape), step.node);
  return {levels, target.grid, step.inputs[1], input(step, 2)};
}

const Step* Int8Writer::maker(ValueId id) const {
  if (id == kNone || index(id) >= makers_.size() || makers_[index(id)] == old_.size()) return nullptr;
  return &old_[makers_[index(id)]];
}

const Step* Int8Writer::reader(ValueId id) const {
  const std::vector<std::size_t>& readers = readers_[index(id)];
  return readers.size() == 1 && readers[0] < old_.size() ? &old_[readers[0]] : nullptr;
}

void Int8Writer::skip(const Step& step) { done_[static_cast<std::size_t>(&step - old_.data())] = true; }

void Int8Writer::reach(const Target& target) {
  const Step& step = old_[target.step];
  done_[target.step] = true;
  for (const ValueId id : {step.inputs[1], input(step, 2)}) {
    if (id != kNone) static_cast<void>(builder_.bake(id));
  }
}

void Int8Writer::set_source(ValueId id, ValueId levels, const Source& like) {
  sources_[id] = {levels, like.grid, like.scale, like.zero};
}

ValueId Int8Writer::renamed(ValueId id) const {
  return id == kNone || index(id) >= now_.size() ? id : now_[index(id)];
}

ValueId Int8Writer::number(ValueId id) {
  const Source* from = id == kNone ? nullptr : source(id);
  if (from == nullptr) return renamed(id);
  if (made_[index(id)] == 0) {
    made_[index(id)] = 1;
    std::vector<ValueId> inputs{from->levels, from->scale};
    if (from->zero != kNone) inputs.push_back(from->zero);
    program_.steps.push_back({Dequantize{0}, std::move(inputs), {id}, value(from->levels).name});
  }
  return id;
}

void Int8Writer::write(Step step) { program_.steps.push_back(std::move(step)); }

void Int8Writer::write(Operation operation, std::vector<ValueId> inputs, ValueId output,
                       const std::string& node) {
  while (!inputs.empty() && inputs.back() == kNone) inputs.pop_back();
  program_.steps.push_back({std::move(operation), std::move(inputs), {output}, node});
}

ValueId Int8Writer::write(Operation operation, std::vector<ValueId> inputs, core::DType dtype,
                          core::Shape shape, const std::string& node) {
  return builder_.emit(std::move(operation), std::move(inputs), dtype, std::move(shape), node);
}

void Int8Writer::look_up(ValueId from, core::Tensor table, ValueId to, const std::string& node) {
  roots_[to] = {from, table};
  write(Lookup{}, {from, builder_.add_constant(std::move(table))}, to, node);
}

Int8Writer::Root Int8Writer::root(ValueId levels) const {
  const auto found = roots_.find(levels);
  return found == roots_.end() ? Root{levels, {}} : found->second;
}

namespace {

/// Levels less the zero of their entry along `axis`, as i8; nullopt where that does not hold them.
std::optional<core::Tensor> without_zeros(const core::Tensor& levels, const std::vector<std::int64_t>& zeros,
                                          std::int64_t axis) {
  std::int64_t inner = 1;
  for (std::size_t i = static_cast<std::size_t>(axis) + 1; i < levels.shape().size(); ++i)
    inner *= levels.shape()[i];
  core::Tensor shifted(core::DType::i8, levels.shape());
  auto* to = shifted.write().as<std::int8_t>();
  const std::vector<std::int64_t> numbers = levels.integers();
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const std::int64_t level = numbers[i] - zeros[i / static_cast<std::size_t>(inner) % zeros.size()];
    if (level < -128 || level > 127) return std::nullopt;
    to[i] = static_cast<std::int8_t>(level);
  }
  return shifted;
}

}  // namespace

std::optional<Int8Weights> Int8Writer::weights(ValueId id, std::int64_t axis) {
  const auto made =
      std::ranges::find_if(program_.prologue, [&](const Step& s) { return s.outputs[0] == id; });
  if (made == program_.prologue.end() || !std::holds_alternative<Dequantize>(made->operation))
    return std::nullopt;
  const ValueId q = made->inputs[0], scale = made->inputs[1], zero = input(*made, 2);
  if (!is_int8(value(q).dtype) || value(scale).dtype != core::DType::f32) return std::nullopt;
  const std::int64_t count = core::element_count(value(scale).shape);
  if (count != 1 && std::get<Dequantize>(made->operation).axis != axis) return std::nullopt;
  const std::vector<std::int64_t> zeros =
      zero == kNone ? std::vector<std::int64_t>{0} : builder_.data(zero).integers();
  Int8Weights found;
  for (const double s : builder_.bake(scale).doubles()) found.scales.push_back(static_cast<float>(s));
  if (value(q).dtype == core::DType::i8 && std::ranges::all_of(zeros, [](auto z) { return z == 0; })) {
    found.levels = q;
    static_cast<void>(builder_.data(q));  // which layers look at
    return found;
  }
  std::optional<core::Tensor> shifted = without_zeros(builder_.data(q), zeros, axis);
  if (!shifted) return std::nullopt;
  found.levels = builder_.add_constant(std::move(*shifted));
  return found;
}

std::optional<Requantize> clamped(const Activation& activation, const Grid& grid) {
  Requantize to{{}, 1, grid.zero, grid.low(), grid.high()};
  const auto level = [&](float number) {
    const float least = static_cast<float>(grid.low() - grid.zero),
                most = static_cast<float>(grid.high() - grid.zero);
    constexpr float kShift = 1.5F * (1U << 23U);
    const float clamped = std::min(std::max(least, number / grid.scale), most);
    return static_cast<std::int32_t>((clamped + kShift) - kShift) + grid.zero;
  };
  switch (activation.function) {
    case Function::identity:
      return to;
    case Function::relu:
      to.low = std::max(to.low, grid.zero);
      return to;
    case Function::clip:
      to.high = level(activation.b);
      to.low = std::min(level(activation.a), to.high);
      return to;
    default:
      return std::nullopt;
  }
}

void fuse_int8(Program& program) {
  Int8Writer(program).run();
  remove_dead(program);
  join_levels(program);
}

}  // namespace rdquant::program
