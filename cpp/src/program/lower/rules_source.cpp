// What is known before any data are: Constant, ConstantOfShape, Shape, Size, Range, EyeLike.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "program/lower/lowering.hpp"

namespace rdquant::program {
namespace {

core::Tensor floats(const std::vector<float>& numbers, core::Shape shape) {
  core::Tensor tensor(core::DType::f32, std::move(shape));
  std::ranges::copy(numbers, tensor.write().as<float>());
  return tensor;
}

void constant(Lowering& node) {
  const auto& attributes = node.node().attributes;
  if (attributes.size() != 1) node.invalid("one value is wanted");
  const auto& [name, value] = *attributes.begin();
  Builder& builder = node.builder();
  if (const auto* tensor = std::get_if<core::Tensor>(&value))
    return node.give(0, builder.add_constant(*tensor));
  if (const auto* number = std::get_if<float>(&value)) {
    return node.give(0, builder.add_constant(floats({*number}, {})));
  }
  if (const auto* numbers = std::get_if<std::vector<float>>(&value)) {
    return node.give(0, builder.add_constant(floats(*numbers, {std::ssize(*numbers)})));
  }
  if (const auto* number = std::get_if<std::int64_t>(&value)) {
    return node.give(0, node.reshape(builder.add_integers({*number}), {}));
  }
  if (const auto* numbers = std::get_if<std::vector<std::int64_t>>(&value)) {
    return node.give(0, builder.add_integers(*numbers));
  }
  node.unsupported("attribute '" + name + "'");
}

void constant_of_shape(Lowering& node) {
  core::Shape shape = node.integers_of(0);
  core::Tensor value(core::DType::f32, {1});
  if (node.has("value")) {
    const auto* given = std::get_if<core::Tensor>(&node.node().attributes.at("value"));
    node.check(given != nullptr && given->size() == 1, "value must be a tensor of one number");
    value = *given;
  }
  for (const std::int64_t size : shape)
    node.check(size >= 0, "shape " + core::shape_text(shape) + " is not valid");
  const core::DType dtype = value.dtype();
  const ValueId one = node.reshape(node.builder().add_constant(std::move(value)), {});
  node.give(0, node.emit(Expand{}, {one}, dtype, std::move(shape)));
}

void shape(Lowering& node) {
  const core::Shape& whole = node.shape(node.input(0));
  const auto rank = std::ssize(whole);
  const auto bound = [&](std::int64_t v) { return std::clamp<std::int64_t>(v < 0 ? v + rank : v, 0, rank); };
  const std::int64_t start = bound(node.integer("start", 0));
  const std::int64_t end = std::max(start, bound(node.integer("end", rank)));
  node.give(0, node.builder().add_integers({whole.begin() + start, whole.begin() + end}));
}

void size(Lowering& node) {
  const std::int64_t count = core::element_count(node.shape(node.input(0)));
  node.give(0, node.reshape(node.builder().add_integers({count}), {}));
}

template <typename T>
core::Tensor arithmetic_sequence(core::DType dtype, T start, T delta, std::int64_t count) {
  check_constant(dtype, {count}, 0);
  core::Tensor tensor(dtype, {count});
  T* out = tensor.write().as<T>();
  // Integers go modulo 2^64 on the way: a product may pass the range that the sum stays in.
  using Exact = std::conditional_t<std::is_integral_v<T>, std::uint64_t, T>;
  for (std::int64_t i = 0; i < count; ++i) {
    out[i] = static_cast<T>(static_cast<Exact>(start) + static_cast<Exact>(i) * static_cast<Exact>(delta));
  }
  return tensor;
}

void range(Lowering& node) {
  const auto start = node.numbers_of(0), limit = node.numbers_of(1), delta = node.numbers_of(2);
  node.check(start.size() == 1 && limit.size() == 1 && delta.size() == 1 && delta[0] != 0,
             "start, limit and delta must be numbers, delta not 0");
  const double steps = std::ceil((limit[0] - start[0]) / delta[0]);
  node.check(steps < static_cast<double>(kMostSize), "more than 2^31 numbers");
  const auto count = static_cast<std::int64_t>(std::max(0.0, steps));
  const core::DType dtype = node.dtype(node.input(0));
  Builder& builder = node.builder();
  const auto give = [&]<typename T>(T first, T step) {
    node.give(0, builder.add_constant(arithmetic_sequence(dtype, first, step, count)));
  };
  const auto give_integers = [&]<typename T>(T) {
    give(static_cast<T>(node.integers_of(0)[0]), static_cast<T>(node.integers_of(2)[0]));
  };
  switch (dtype) {
    case core::DType::f32:
      return give(static_cast<float>(start[0]), static_cast<float>(delta[0]));
    case core::DType::f64:
      return give(start[0], delta[0]);
    case core::DType::i64:
      return give_integers(std::int64_t{});
    case core::DType::i32:
      return give_integers(std::int32_t{});
    case core::DType::i16:
      return give_integers(std::int16_t{});
    default:
      node.unsupported("numbers of type " + std::string(core::dtype_name(dtype)));
  }
}

void eye_like(Lowering& node) {
  const ValueId x = node.input(0);
  node.check(node.rank(x) == 2, "the input must be a matrix");
  const core::DType dtype = node.has("dtype") ? dtype_of_onnx(node.integer("dtype", 1)) : node.dtype(x);
  const std::int64_t k = node.integer("k", 0), rows = node.shape(x)[0], columns = node.shape(x)[1];
  check_constant(dtype, {rows, columns}, 0);
  core::Tensor eye(core::DType::u8, {rows, columns});
  for (std::int64_t i = 0; i < rows; ++i) {
    if (k >= -i && k < columns - i) eye.write().as<std::uint8_t>()[i * columns + i + k] = 1;
  }
  const ValueId mask = node.builder().add_constant(std::move(eye));
  node.give(0, node.emit(Cast{}, {mask}, dtype, {rows, columns}));
}

}  // namespace

void add_source_rules(Rules& rules) {
  rules["Constant"] = constant;
  rules["ConstantOfShape"] = constant_of_shape;
  rules["Shape"] = shape;
  rules["Size"] = size;
  rules["Range"] = range;
  rules["EyeLike"] = eye_like;
}

}  // namespace rdquant::program
