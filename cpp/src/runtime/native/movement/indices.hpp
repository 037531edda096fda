#pragma once

#include <cstdint>
#include <string>

#include "rdquant/core/error.hpp"
#include "runtime/definition.hpp"

/// Indices as kernels of ours read them.
namespace rdquant::runtime::native {

/// `index` counted from the front. @throws InvalidArgument  outside [−size, size)
inline std::int64_t checked(const program::Step& step, std::int64_t index, std::int64_t size) {
  if (index < -size || index >= size) {
    throw core::InvalidArgument(label(step) + "index " + std::to_string(index) + " is outside [" +
                                std::to_string(-size) + ", " + std::to_string(size) + ")");
  }
  return index < 0 ? index + size : index;
}

/// The i-th of indices of 64 bits, where `wide`, or of 32.
inline std::int64_t number(const void* indices, bool wide, std::int64_t i) {
  return wide ? static_cast<const std::int64_t*>(indices)[i] : static_cast<const std::int32_t*>(indices)[i];
}

/// Product of the sizes [begin, end).
inline std::int64_t product(const core::Shape& shape, std::size_t begin, std::size_t end) {
  std::int64_t result = 1;
  for (std::size_t i = begin; i < end; ++i) result *= shape[i];
  return result;
}

}  // namespace rdquant::runtime::native
