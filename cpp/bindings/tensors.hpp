#pragma once

#include <pybind11/numpy.h>

#include <memory>

#include "rdquant/core/tensor.hpp"

/// NumPy arrays as tensors and back, without copies.
namespace rdquant::bindings {

/// Owns a reference to a Python object from places that may not hold the GIL.
[[nodiscard]] std::shared_ptr<const void> keep(const pybind11::object& object);

/// The element type of a dtype. @throws Unsupported
[[nodiscard]] core::DType dtype_of(const pybind11::dtype& dtype);

/// A view of a C-contiguous array, which the tensor keeps alive; it may be dropped on any thread.
[[nodiscard]] core::Tensor tensor_of(const pybind11::array& array);

/// The same for bytes of another type: how ONNX keeps integers.
[[nodiscard]] core::Tensor tensor_of(const pybind11::array& bytes, core::DType dtype, core::Shape shape);

/// An array that shares the tensor's memory and keeps it alive.
[[nodiscard]] pybind11::array array_of(core::Tensor tensor);

}  // namespace rdquant::bindings
