#include "rdquant/core/tensor.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "rdquant/core/error.hpp"
#include "rdquant/core/half.hpp"
#include "rdquant/core/memory.hpp"

namespace rdquant::core {
namespace {

constexpr std::int64_t kMostElements = std::int64_t{1} << 62U;

struct Kind {
  std::string_view name;
  std::size_t bytes;
};

constexpr std::array<Kind, 13> kKinds = {{{"float32", 4},
                                          {"float64", 8},
                                          {"float16", 2},
                                          {"bfloat16", 2},
                                          {"int8", 1},
                                          {"int16", 2},
                                          {"int32", 4},
                                          {"int64", 8},
                                          {"uint8", 1},
                                          {"uint16", 2},
                                          {"uint32", 4},
                                          {"uint64", 8},
                                          {"bool", 1}}};

/// Calls `visit` with every element as the C++ type that holds its value.
template <typename Visit>
void each(const Tensor& tensor, Visit visit) {
  const auto all = [&]<typename T>(T, auto convert) {
    const T* values = static_cast<const T*>(tensor.data());
    for (std::int64_t i = 0; i < tensor.size(); ++i) visit(convert(values[i]));
  };
  const auto same = [](auto v) { return v; };
  switch (tensor.dtype()) {
    case DType::f32:
      return all(float{}, same);
    case DType::f64:
      return all(double{}, same);
    case DType::f16:
      return all(std::uint16_t{}, half_to_float);
    case DType::bf16:
      return all(std::uint16_t{}, bfloat_to_float);
    case DType::i8:
      return all(std::int8_t{}, same);
    case DType::i16:
      return all(std::int16_t{}, same);
    case DType::i32:
      return all(std::int32_t{}, same);
    case DType::i64:
      return all(std::int64_t{}, same);
    case DType::u8:
      return all(std::uint8_t{}, same);
    case DType::u16:
      return all(std::uint16_t{}, same);
    case DType::u32:
      return all(std::uint32_t{}, same);
    case DType::u64:
      return all(std::uint64_t{}, same);
    case DType::boolean:
      return all(std::uint8_t{}, same);
  }
}

}  // namespace

std::size_t size_of(DType dtype) noexcept { return kKinds[static_cast<std::size_t>(dtype)].bytes; }

std::string_view dtype_name(DType dtype) noexcept { return kKinds[static_cast<std::size_t>(dtype)].name; }

std::int64_t element_count(std::span<const std::int64_t> shape) {
  std::int64_t count = 1;
  const bool empty = std::ranges::find(shape, 0) != shape.end();
  for (const std::int64_t size : shape) {
    if (size < 0) throw InvalidArgument("shape " + shape_text(shape) + " has a negative size");
    if (!empty && size > kMostElements / count) {
      throw InvalidArgument("shape " + shape_text(shape) + " has more than 2^62 elements");
    }
    count *= empty ? 0 : size;
  }
  return count;
}

std::string shape_text(std::span<const std::int64_t> shape) {
  std::string text = "[";
  for (const std::int64_t size : shape) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(size);
  }
  return text + "]";
}

Tensor::Tensor(DType dtype, Shape shape, std::shared_ptr<const void> owner, const void* data)
    : dtype_(dtype),
      shape_(std::move(shape)),
      size_(element_count(shape_)),
      owner_(std::move(owner)),
      data_(data) {}

Tensor::Tensor(DType dtype, Shape shape)
    : dtype_(dtype), writable_(true), shape_(std::move(shape)), size_(element_count(shape_)) {
  if (size_ > (std::int64_t{1} << 59U))
    throw InvalidArgument("tensor of shape " + shape_text(shape_) + " is too large");
  Memory memory = allocate_zeros(bytes());
  data_ = memory.get();
  owner_ = std::move(memory);
}

Tensor::Tensor(DType dtype, Shape shape, std::shared_ptr<void> memory)
    : dtype_(dtype), writable_(true), shape_(std::move(shape)), size_(element_count(shape_)) {
  data_ = memory.get();
  owner_ = std::move(memory);
}

MutableTensorView Tensor::write() {
  if (!writable_) throw InvalidArgument("a tensor that views foreign memory cannot be written");
  return {dtype_, shape_, const_cast<void*>(data_)};
}

std::vector<std::int64_t> Tensor::integers() const {
  if (dtype_ == DType::f32 || dtype_ == DType::f64 || dtype_ == DType::f16 || dtype_ == DType::bf16) {
    throw InvalidArgument("expected a tensor of integers, got " + std::string(dtype_name(dtype_)));
  }
  std::vector<std::int64_t> values;
  values.reserve(static_cast<std::size_t>(size_));
  each(*this, [&](auto v) { values.push_back(static_cast<std::int64_t>(v)); });
  return values;
}

std::vector<double> Tensor::doubles() const {
  std::vector<double> values;
  values.reserve(static_cast<std::size_t>(size_));
  each(*this, [&](auto v) { values.push_back(static_cast<double>(v)); });
  return values;
}

Tensor Tensor::reshaped(Shape shape) const {
  if (element_count(shape) != size_) {
    throw InvalidArgument("cannot view " + shape_text(shape_) + " as " + shape_text(shape));
  }
  Tensor other = *this;
  other.shape_ = std::move(shape);
  other.writable_ = false;
  return other;
}

}  // namespace rdquant::core
