#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rdquant::core {

/// Element types of tensors: those of ONNX that a processor can compute with or convert from.
enum class DType : std::uint8_t { f32, f64, f16, bf16, i8, i16, i32, i64, u8, u16, u32, u64, boolean };

/// Bytes of one element.
[[nodiscard]] std::size_t size_of(DType dtype) noexcept;

/// NumPy's name: "float32", "bool", …
[[nodiscard]] std::string_view dtype_name(DType dtype) noexcept;

/// Sizes per axis, outermost first; empty for a scalar. Never negative.
using Shape = std::vector<std::int64_t>;

/// Number of elements: the product, 1 for a scalar.
/// @throws InvalidArgument  a negative size, or a product beyond 2^62
[[nodiscard]] std::int64_t element_count(std::span<const std::int64_t> shape);

/// "[1, 3, 224, 224]"
[[nodiscard]] std::string shape_text(std::span<const std::int64_t> shape);

/// A dense row-major array that somebody else owns.
struct TensorView {
  DType dtype = DType::f32;
  std::span<const std::int64_t> shape;
  const void* data = nullptr;

  template <typename T>
  [[nodiscard]] const T* as() const noexcept {
    return static_cast<const T*>(data);
  }
};

/// The same, to be written.
struct MutableTensorView {
  DType dtype = DType::f32;
  std::span<const std::int64_t> shape;
  void* data = nullptr;

  template <typename T>
  [[nodiscard]] T* as() const noexcept {
    return static_cast<T*>(data);
  }
  operator TensorView() const noexcept { return {dtype, shape, data}; }
};

/// A dense row-major array with shared, immutable data: copying one copies no elements. The owner may be
/// anything, a NumPy array for instance.
class Tensor {
 public:
  Tensor() = default;
  /// Views `data`, which `owner` keeps alive.
  Tensor(DType dtype, Shape shape, std::shared_ptr<const void> owner, const void* data);
  /// Owns new memory, aligned to 64 bytes, zeroed; `write` gives access until it is shared.
  Tensor(DType dtype, Shape shape);
  /// Owns `memory`, of as many bytes at least, whose values are as they are.
  Tensor(DType dtype, Shape shape, std::shared_ptr<void> memory);

  [[nodiscard]] DType dtype() const noexcept { return dtype_; }
  [[nodiscard]] const Shape& shape() const noexcept { return shape_; }
  [[nodiscard]] std::int64_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t bytes() const noexcept {
    return static_cast<std::size_t>(size_) * size_of(dtype_);
  }
  [[nodiscard]] const void* data() const noexcept { return data_; }
  [[nodiscard]] TensorView view() const noexcept { return {dtype_, shape_, data_}; }
  /// Writable view of memory that this object owns alone. @throws InvalidArgument  it views foreign memory
  [[nodiscard]] MutableTensorView write();
  /// True where nobody else shares the memory, which is this object's own.
  [[nodiscard]] bool exclusive() const noexcept { return writable_ && owner_.use_count() == 1; }
  /// The values as int64, for shapes and axes. @throws InvalidArgument  not an integer or boolean tensor
  [[nodiscard]] std::vector<std::int64_t> integers() const;
  /// The values as double, whatever the dtype.
  [[nodiscard]] std::vector<double> doubles() const;
  /// The same data under another shape of as many elements.
  [[nodiscard]] Tensor reshaped(Shape shape) const;

 private:
  DType dtype_ = DType::f32;
  bool writable_ = false;
  Shape shape_;
  std::int64_t size_ = 0;
  std::shared_ptr<const void> owner_;
  const void* data_ = nullptr;
};

}  // namespace rdquant::core
