#include "program/lower/lowering.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "rdquant/core/error.hpp"

namespace rdquant::program {

ValueId Lowering::optional_input(std::size_t i) {
  if (!has_input(i)) return kNone;
  const auto found = names_.find(node_.inputs[i]);
  if (found == names_.end()) invalid("input '" + node_.inputs[i] + "' is made by no earlier node");
  return found->second;
}

ValueId Lowering::input(std::size_t i) {
  if (!has_input(i)) invalid("input " + std::to_string(i) + " is missing");
  return optional_input(i);
}

void Lowering::check_operands(const Operation& operation, std::span<const ValueId> inputs,
                              const core::Shape& output) const {
  const auto* const binary = std::get_if<Binary>(&operation);
  const bool one_type = binary != nullptr ? binary->function != BinaryFunction::pow
                                          : std::holds_alternative<Concat>(operation) ||
                                                std::holds_alternative<MatMul>(operation) ||
                                                std::holds_alternative<Convolution>(operation) ||
                                                std::holds_alternative<TransposedConvolution>(operation);
  if (one_type) check_same_type(inputs);
  if (binary == nullptr) return;
  for (const ValueId input : inputs) {
    check(broadcasts_to(shape(input), output), "an operand of shape " + core::shape_text(shape(input)) +
                                                   " does not broadcast to " + core::shape_text(output));
  }
}

void Lowering::check_same_type(std::span<const ValueId> values) const {
  for (const ValueId value : values) {
    if (value == kNone || dtype(value) == dtype(values[0])) continue;
    invalid("its inputs must have one element type, but are " +
            std::string(core::dtype_name(dtype(values[0]))) + " and " +
            std::string(core::dtype_name(dtype(value))));
  }
}

std::vector<std::int64_t> Lowering::integers_of(std::size_t i) {
  const ValueId id = input(i);
  if (!builder_.is_constant(id)) {
    unsupported("input '" + node_.inputs[i] + "' must be a constant; here it is computed from data");
  }
  return builder_.bake(id).integers();
}

std::vector<double> Lowering::numbers_of(std::size_t i) {
  const ValueId id = input(i);
  if (!builder_.is_constant(id)) {
    unsupported("input '" + node_.inputs[i] + "' must be a constant; here it is computed from data");
  }
  return builder_.bake(id).doubles();
}

template <typename T>
const T* Lowering::attribute(const std::string& name) const {
  const auto found = node_.attributes.find(name);
  if (found == node_.attributes.end()) return nullptr;
  const T* value = std::get_if<T>(&found->second);
  if (value == nullptr) invalid("attribute '" + name + "' has the wrong type");
  return value;
}

std::int64_t Lowering::integer(const std::string& name, std::int64_t otherwise) const {
  const auto* value = attribute<std::int64_t>(name);
  return value != nullptr ? *value : otherwise;
}

float Lowering::real(const std::string& name, float otherwise) const {
  const auto* value = attribute<float>(name);
  return value != nullptr ? *value : otherwise;
}

std::string Lowering::text(const std::string& name, std::string otherwise) const {
  const auto* value = attribute<std::string>(name);
  return value != nullptr ? *value : otherwise;
}

std::vector<std::int64_t> Lowering::integers(const std::string& name,
                                             std::vector<std::int64_t> otherwise) const {
  const auto* value = attribute<std::vector<std::int64_t>>(name);
  return value != nullptr ? *value : otherwise;
}

std::vector<float> Lowering::reals(const std::string& name) const {
  const auto* value = attribute<std::vector<float>>(name);
  return value != nullptr ? *value : std::vector<float>{};
}

std::vector<std::string> Lowering::texts(const std::string& name) const {
  const auto* value = attribute<std::vector<std::string>>(name);
  return value != nullptr ? *value : std::vector<std::string>{};
}

std::optional<std::vector<std::int64_t>> Lowering::integers(const std::string& name, int since,
                                                            std::size_t i) {
  if (opset_ >= since) {
    if (!has_input(i)) return std::nullopt;
    return integers_of(i);
  }
  if (!has(name)) return std::nullopt;
  return integers(name);
}

std::int64_t Lowering::axis(std::int64_t axis, std::int64_t rank) const {
  if (axis < -rank || axis >= rank) {
    invalid("axis " + std::to_string(axis) + " is outside a tensor of rank " + std::to_string(rank));
  }
  return axis < 0 ? axis + rank : axis;
}

std::vector<std::int64_t> Lowering::axes(std::vector<std::int64_t> axes, std::int64_t rank) const {
  for (std::int64_t& a : axes) a = axis(a, rank);
  std::ranges::sort(axes);
  check(std::ranges::adjacent_find(axes) == axes.end(), "an axis is given twice");
  return axes;
}

void Lowering::give(std::size_t i, ValueId id) {
  if (!wants(i)) return;
  std::string& name = builder_.program().values[index(id)].name;
  if (name.empty()) name = node_.outputs[i];
  if (!names_.emplace(node_.outputs[i], id).second) invalid("'" + node_.outputs[i] + "' is made twice");
}

void Lowering::give_all(Operation operation, std::vector<ValueId> inputs,
                        std::vector<Builder::Output> outputs) {
  for (std::size_t i = 0; i < outputs.size(); ++i) outputs[i].wanted = wants(i) || i == 0;
  const std::vector<ValueId> made = builder_.emit(std::move(operation), std::move(inputs), outputs, label_);
  for (std::size_t i = 0; i < made.size(); ++i) {
    if (made[i] != kNone) give(i, made[i]);
  }
}

ValueId Lowering::constant(core::Tensor data, core::DType to) {
  const ValueId id = builder_.add_constant(std::move(data));
  return dtype(id) == to ? id : emit(Cast{}, {id}, to, shape(id));
}

ValueId Lowering::reshape(ValueId x, core::Shape to) {
  if (shape(x) == to) return x;
  return emit(Reshape{}, {x}, dtype(x), std::move(to));
}

void Lowering::unsupported(const std::string& what) const {
  throw core::Unsupported(graph::describe(node_) + ": " + what);
}

void Lowering::invalid(const std::string& what) const {
  throw core::InvalidArgument(graph::describe(node_) + ": " + what);
}

bool broadcasts_to(const core::Shape& from, const core::Shape& to) {
  if (from.size() > to.size()) return false;
  return std::equal(from.rbegin(), from.rend(), to.rbegin(),
                    [](std::int64_t size, std::int64_t wanted) { return size == 1 || size == wanted; });
}

core::Shape broadcast(const core::Shape& a, const core::Shape& b) {
  core::Shape out(std::max(a.size(), b.size()));
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::int64_t left = i < a.size() ? a[a.size() - 1 - i] : 1;
    const std::int64_t right = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (left != right && left != 1 && right != 1) {
      throw core::InvalidArgument("shapes " + core::shape_text(a) + " and " + core::shape_text(b) +
                                  " do not broadcast");
    }
    out[out.size() - 1 - i] = left == 1 ? right : left;
  }
  return out;
}

ValueId combined(Lowering& node, BinaryFunction function, ValueId a, ValueId b) {
  core::Shape shape = broadcast(node.shape(a), node.shape(b));
  return node.emit(Binary{function, {}}, {a, b}, node.dtype(a), std::move(shape));
}

ValueId compared(Lowering& node, BinaryFunction function, ValueId a, ValueId b) {
  core::Shape shape = broadcast(node.shape(a), node.shape(b));
  return node.emit(Binary{function, {}}, {a, b}, core::DType::boolean, std::move(shape));
}

core::DType dtype_of_onnx(std::int64_t number) {
  using core::DType;
  constexpr std::array<std::pair<std::int64_t, DType>, 13> known = {{{1, DType::f32},
                                                                     {2, DType::u8},
                                                                     {3, DType::i8},
                                                                     {4, DType::u16},
                                                                     {5, DType::i16},
                                                                     {6, DType::i32},
                                                                     {7, DType::i64},
                                                                     {9, DType::boolean},
                                                                     {10, DType::f16},
                                                                     {11, DType::f64},
                                                                     {12, DType::u32},
                                                                     {13, DType::u64},
                                                                     {16, DType::bf16}}};
  const auto found = std::ranges::find(known, number, &std::pair<std::int64_t, DType>::first);
  if (found == known.end()) {
    throw core::Unsupported("ONNX element type " + std::to_string(number) + " is not supported");
  }
  return found->second;
}

}  // namespace rdquant::program
