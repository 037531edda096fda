#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <span>
#include <vector>

#include "rdquant/core/error.hpp"

/// NumPy arrays as spans, without copies: the only place where dtype and layout are checked.
/// Coercion (float16, lists, strides) has been done in Python, in rdquant/_arrays.py.
namespace rdquant::bindings {

template <typename T>
[[nodiscard]] std::span<const T> view(const pybind11::array& array) {
  namespace py = pybind11;
  if (!py::isinstance<py::array_t<T, py::array::c_style>>(array)) {
    throw core::InvalidArgument("expected a C-contiguous array of " +
                                py::str(py::dtype::of<T>()).cast<std::string>() + ", got " +
                                py::str(array.dtype()).cast<std::string>());
  }
  return {static_cast<const T*>(array.data()), static_cast<std::size_t>(array.size())};
}

template <typename T>
[[nodiscard]] std::span<T> mutable_view(pybind11::array& array) {
  const std::span<const T> data = view<T>(array);
  if (!array.writeable()) throw core::InvalidArgument("the output array is read-only");
  return {static_cast<T*>(array.mutable_data()), data.size()};
}

using Bytes = std::span<const std::uint8_t>;

/// A contiguous buffer of bytes (bytes, bytearray, memoryview, mmap, uint8 array), which must outlive the
/// view.
class ByteView {
 public:
  explicit ByteView(const pybind11::buffer& from) : info_(from.request()) {
    if (info_.itemsize * info_.size != 0 && (info_.ndim != 1 || info_.strides[0] != info_.itemsize)) {
      throw core::InvalidArgument("expected contiguous bytes");
    }
  }
  [[nodiscard]] Bytes bytes() const {
    return {static_cast<const std::uint8_t*>(info_.ptr),
            static_cast<std::size_t>(info_.size * info_.itemsize)};
  }

 private:
  pybind11::buffer_info info_;
};

[[nodiscard]] inline pybind11::bytes to_bytes(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// A new uninitialised array of the shape of `like`.
template <typename T>
[[nodiscard]] pybind11::array_t<T> empty_like(const pybind11::array& like) {
  return pybind11::array_t<T>(std::vector<pybind11::ssize_t>(like.shape(), like.shape() + like.ndim()));
}

/// A new array of one axis.
template <typename T>
[[nodiscard]] pybind11::array_t<T> to_array(const std::vector<T>& values) {
  return pybind11::array_t<T>(static_cast<pybind11::ssize_t>(values.size()), values.data());
}

}  // namespace rdquant::bindings
