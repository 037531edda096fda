#include "tensors.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "rdquant/core/error.hpp"

namespace py = pybind11;

namespace rdquant::bindings {
namespace {

bool is_dense(const py::array& array) { return (array.flags() & py::array::c_style) != 0; }

constexpr int kHalf = 23;  // NumPy's number of float16, the last of its own numbers

/// NumPy has no bfloat16 itself. By NumPy's numbers where it has one: to read a name takes longer than a small network.
py::dtype numpy_dtype(core::DType dtype) {
  switch (dtype) {
    case core::DType::f32:
      return py::dtype::of<float>();
    case core::DType::f64:
      return py::dtype::of<double>();
    case core::DType::i8:
      return py::dtype::of<std::int8_t>();
    case core::DType::i16:
      return py::dtype::of<std::int16_t>();
    case core::DType::i32:
      return py::dtype::of<std::int32_t>();
    case core::DType::i64:
      return py::dtype::of<std::int64_t>();
    case core::DType::u8:
      return py::dtype::of<std::uint8_t>();
    case core::DType::u16:
      return py::dtype::of<std::uint16_t>();
    case core::DType::u32:
      return py::dtype::of<std::uint32_t>();
    case core::DType::u64:
      return py::dtype::of<std::uint64_t>();
    case core::DType::boolean:
      return py::dtype::of<bool>();
    case core::DType::f16:
      return py::dtype(kHalf);
    case core::DType::bf16:
      break;
  }
  try {
    return py::dtype::from_args(py::module_::import("ml_dtypes").attr("bfloat16"));
  } catch (const py::error_already_set&) {
    throw core::Unsupported("arrays of bfloat16 need the package ml_dtypes, which is not installed");
  }
}

/// What dtypes of NumPy's own are, without their names, which NumPy makes in Python; None for others.
std::optional<core::DType> own_dtype(const py::dtype& dtype) {
  if (dtype.num() < 0 || dtype.num() > kHalf) return std::nullopt;
  using core::DType;
  const auto of_size = [&](DType one, DType two, DType four, DType eight) -> std::optional<DType> {
    const auto size = dtype.itemsize();
    if (size == 1) return one;
    if (size == 2) return two;
    if (size == 4) return four;
    return eight;
  };
  switch (dtype.kind()) {
    case 'b':
      return DType::boolean;
    case 'i':
      return of_size(DType::i8, DType::i16, DType::i32, DType::i64);
    case 'u':
      return of_size(DType::u8, DType::u16, DType::u32, DType::u64);
    default:
      break;
  }
  if (dtype.kind() == 'f' && dtype.itemsize() <= 8)
    return of_size(DType::f16, DType::f16, DType::f32, DType::f64);
  return std::nullopt;
}

}  // namespace

std::shared_ptr<const void> keep(const py::object& object) {
  return {static_cast<const void*>(object.inc_ref().ptr()), [](const void* p) {
            if (Py_IsInitialized() == 0) return;  // the interpreter has taken its objects with it
            const py::gil_scoped_acquire locked;
            Py_DECREF(static_cast<PyObject*>(const_cast<void*>(p)));
          }};
}

core::DType dtype_of(const py::dtype& dtype) {
  if (const auto own = own_dtype(dtype)) return *own;
  const std::string name = py::str(dtype.attr("name"));
  for (int i = 0; i <= static_cast<int>(core::DType::boolean); ++i) {
    const auto candidate = static_cast<core::DType>(i);
    if (core::dtype_name(candidate) == name) return candidate;
  }
  throw core::Unsupported("dtype " + name + " is not supported");
}

core::Tensor tensor_of(const py::array& array) {
  core::Shape shape(array.shape(), array.shape() + array.ndim());
  return tensor_of(array, dtype_of(array.dtype()), std::move(shape));
}

core::Tensor tensor_of(const py::array& bytes, core::DType dtype, core::Shape shape) {
  if (!is_dense(bytes)) throw core::InvalidArgument("expected a C-contiguous array");
  core::Tensor tensor(dtype, std::move(shape), keep(bytes), bytes.data());
  if (tensor.bytes() != static_cast<std::size_t>(bytes.nbytes())) {
    throw core::InvalidArgument("a tensor of " + std::string(core::dtype_name(dtype)) + " and shape " +
                                core::shape_text(tensor.shape()) + " needs " +
                                std::to_string(tensor.bytes()) + " bytes, got " +
                                std::to_string(bytes.nbytes()));
  }
  return tensor;
}

py::array array_of(core::Tensor tensor) {
  const py::dtype dtype = numpy_dtype(tensor.dtype());
  auto owner = std::make_unique<core::Tensor>(std::move(tensor));
  const core::Tensor& kept = *owner;
  const py::capsule capsule(owner.release(), [](void* p) { delete static_cast<core::Tensor*>(p); });
  py::array array(dtype, std::vector<py::ssize_t>(kept.shape().begin(), kept.shape().end()), kept.data(),
                  capsule);
  return array;
}

}  // namespace rdquant::bindings
