#include "program/lower/builder.hpp"

#include <algorithm>
#include <utility>

#include "rdquant/core/error.hpp"
#include "rdquant/core/half.hpp"
#include "rdquant/program/evaluate.hpp"

namespace rdquant::program {
namespace {

constexpr std::int64_t kMostConstant = std::int64_t{1} << 30U;  // bytes
constexpr std::int64_t kLarge = std::int64_t{1} << 16U;         // bytes

bool is_float(core::DType dtype) {
  return dtype == core::DType::f32 || dtype == core::DType::f64 || dtype == core::DType::f16 ||
         dtype == core::DType::bf16;
}

void store(const core::MutableTensorView& to, double number) {
  switch (to.dtype) {
    case core::DType::f32:
      *to.as<float>() = static_cast<float>(number);
      return;
    case core::DType::f64:
      *to.as<double>() = number;
      return;
    case core::DType::f16:
      *to.as<std::uint16_t>() = core::float_to_half(static_cast<float>(number));
      return;
    case core::DType::bf16:
      *to.as<std::uint16_t>() = core::float_to_bfloat(static_cast<float>(number));
      return;
    case core::DType::i64:
      *to.as<std::int64_t>() = static_cast<std::int64_t>(number);
      return;
    case core::DType::i32:
      *to.as<std::int32_t>() = static_cast<std::int32_t>(number);
      return;
    case core::DType::i16:
      *to.as<std::int16_t>() = static_cast<std::int16_t>(number);
      return;
    case core::DType::i8:
      *to.as<std::int8_t>() = static_cast<std::int8_t>(number);
      return;
    case core::DType::u64:
      *to.as<std::uint64_t>() = static_cast<std::uint64_t>(number);
      return;
    case core::DType::u32:
      *to.as<std::uint32_t>() = static_cast<std::uint32_t>(number);
      return;
    case core::DType::u16:
      *to.as<std::uint16_t>() = static_cast<std::uint16_t>(number);
      return;
    case core::DType::u8:
      *to.as<std::uint8_t>() = static_cast<std::uint8_t>(number);
      return;
    case core::DType::boolean:
      *to.as<std::uint8_t>() = number != 0 ? 1 : 0;
      return;
  }
}

}  // namespace

std::int64_t checked_bytes(core::DType dtype, const core::Shape& shape) {
  const std::int64_t count = core::element_count(shape);
  if (count > kMostElements || std::ranges::any_of(shape, [](std::int64_t s) { return s > kMostSize; })) {
    throw core::InvalidArgument("a tensor of shape " + core::shape_text(shape) +
                                " is too large: sizes may be 2^31 at most, all elements 2^40");
  }
  return count * static_cast<std::int64_t>(core::size_of(dtype));
}

void check_constant(core::DType dtype, const core::Shape& shape, std::int64_t source) {
  const std::int64_t bytes = checked_bytes(dtype, shape);
  const std::int64_t most = std::max(kMostConstant, 4 * source);
  if (bytes <= most) return;
  throw core::InvalidArgument("a constant of " + std::string(core::dtype_name(dtype)) + " and shape " +
                              core::shape_text(shape) + " would take " + std::to_string(bytes) +
                              " bytes; allowed are " + std::to_string(most));
}

Builder::Builder(Program& program) : program_(program), variable_(program.values.size(), false) {
  for (const auto& [name, id] : program.weights) variable_[index(id)] = true;
  for (const Step& step : program.prologue) {
    for (const ValueId id : step.outputs) {
      if (id != kNone) variable_[index(id)] = true;
    }
  }
}

ValueId Builder::add(Value value, bool variable) {
  static_cast<void>(checked_bytes(value.dtype, value.shape));
  program_.values.push_back(std::move(value));
  variable_.push_back(variable);
  return static_cast<ValueId>(program_.values.size() - 1);
}

ValueId Builder::add_input(std::string name, core::DType dtype, core::Shape shape) {
  return add({std::move(name), dtype, std::move(shape), Role::input, {}}, false);
}

ValueId Builder::add_initializer(const std::string& name, const core::Tensor& tensor) {
  const bool weight = is_float(tensor.dtype());
  const ValueId id = add({name, tensor.dtype(), tensor.shape(), Role::constant, tensor}, weight);
  if (weight) {
    program_.weights.emplace(name, id);
  } else {
    program_.baked.insert(name);
  }
  return id;
}

ValueId Builder::add_constant(core::Tensor data) {
  const core::DType dtype = data.dtype();
  core::Shape shape = data.shape();
  return add({"", dtype, std::move(shape), Role::constant, std::move(data)}, false);
}

ValueId Builder::add_scalar(core::DType dtype, double number) {
  core::Tensor tensor(dtype, {});
  store(tensor.write(), number);
  return add_constant(std::move(tensor));
}

ValueId Builder::add_integers(const std::vector<std::int64_t>& numbers) {
  core::Tensor tensor(core::DType::i64, {static_cast<std::int64_t>(numbers.size())});
  std::ranges::copy(numbers, tensor.write().as<std::int64_t>());
  return add_constant(std::move(tensor));
}

ValueId Builder::emit(Operation operation, std::vector<ValueId> inputs, core::DType dtype, core::Shape shape,
                      const std::string& node) {
  return emit(std::move(operation), std::move(inputs), {{dtype, std::move(shape)}}, node).front();
}

std::vector<ValueId> Builder::emit(Operation operation, std::vector<ValueId> inputs,
                                   const std::vector<Output>& outputs, const std::string& node) {
  bool constant = true, variable = false;
  std::int64_t source = 0, size = 0;
  for (const ValueId id : inputs) {
    if (id == kNone) continue;
    constant = constant && is_constant(id);
    variable = variable || is_variable(id);
    source += checked_bytes(value(id).dtype, value(id).shape);
  }
  Step step{std::move(operation), std::move(inputs), {}, node};
  while (!step.inputs.empty() && step.inputs.back() == kNone) step.inputs.pop_back();
  for (const Output& output : outputs) {
    if (constant) check_constant(output.dtype, output.shape, source);
    if (constant && output.wanted) size += checked_bytes(output.dtype, output.shape);
    const Role role = constant ? Role::constant : Role::activation;
    step.outputs.push_back(
        output.wanted ? add({"", output.dtype, output.shape, role, {}}, constant && variable) : kNone);
  }
  std::vector<ValueId> made = step.outputs;
  if (!constant) {
    program_.steps.push_back(std::move(step));
  } else if (variable || size >= kLarge || std::holds_alternative<Dequantize>(step.operation)) {
    // what was made of levels stays known, so that layers can compute with these
    program_.prologue.push_back(std::move(step));
  } else {
    compute(step);
  }
  return made;
}

void Builder::compute(const Step& step) const {
  for (const ValueId id : step.inputs) {
    if (id != kNone) static_cast<void>(data(id));
  }
  run_on_constants(program_, step);
}

const core::Tensor& Builder::data(ValueId id) const {
  if (value(id).data.data() == nullptr) make_constant(program_, id);
  return value(id).data;
}

void Builder::drop(ValueId id) const {
  std::vector<bool> dropped(program_.values.size(), false);
  dropped[index(id)] = true;
  for (auto step = program_.prologue.rbegin(); step != program_.prologue.rend(); ++step) {
    const auto hit = [&](ValueId o) { return o != kNone && dropped[index(o)]; };
    if (std::ranges::none_of(step->outputs, hit)) continue;
    for (const ValueId o : step->outputs) {
      if (o != kNone) program_.values[index(o)].data = {};
    }
    for (const ValueId i : step->inputs) {
      if (i != kNone) dropped[index(i)] = true;
    }
  }
}

const core::Tensor& Builder::bake(ValueId id) {
  if (is_variable(id)) {
    std::vector<bool> needed(program_.values.size(), false);
    needed[index(id)] = true;
    for (auto step = program_.prologue.rbegin(); step != program_.prologue.rend(); ++step) {
      const bool hit =
          std::ranges::any_of(step->outputs, [&](ValueId o) { return o != kNone && needed[index(o)]; });
      for (const ValueId i : step->inputs) {
        if (hit && i != kNone) needed[index(i)] = true;
      }
    }
    for (const auto& [name, weight] : program_.weights) {
      if (needed[index(weight)]) program_.baked.insert(name);
    }
  }
  return data(id);
}

void run_on_constants(Program& program, const Step& step) {
  if (std::holds_alternative<Reshape>(step.operation)) {
    Value& value = program.values[index(step.outputs[0])];
    value.data = program.values[index(step.inputs[0])].data.reshaped(value.shape);
    return;
  }
  std::vector<core::TensorView> inputs;
  for (const ValueId id : step.inputs) {
    inputs.push_back(id == kNone ? core::TensorView{} : program.values[index(id)].data.view());
  }
  std::vector<core::MutableTensorView> outputs;
  for (const ValueId id : step.outputs) {
    if (id == kNone) {
      outputs.push_back({});
      continue;
    }
    Value& value = program.values[index(id)];
    // Data that nobody else sees is written again in place.
    if (value.data.data() == nullptr || !value.data.exclusive())
      value.data = core::Tensor(value.dtype, value.shape);
    outputs.push_back(value.data.write());
  }
  evaluate(step, inputs, outputs);
}

}  // namespace rdquant::program
