#pragma once

#include <functional>
#include <string>

#include "rdquant/core/parallel.hpp"
#include "runtime/native/kernel.hpp"

namespace rdquant::runtime::native {

/// A kernel of our own: `work` gets its operands' addresses.
using Work = std::function<void(void* const* operands)>;
[[nodiscard]] std::shared_ptr<const Kernel> make_native(std::string name, std::size_t operands, Work work);

/// The same for work that is the definition of a step.
[[nodiscard]] std::shared_ptr<const Kernel> make_reference(std::size_t operands, Work work);

[[nodiscard]] std::shared_ptr<const Kernel> make_memcpy(std::size_t bytes);

/// Copies elements of `element` bytes between two strided arrays of one shape; strides count elements.
struct StridedCopy {
  core::Shape shape;
  std::vector<std::int64_t> from_strides, to_strides;
  std::size_t element = 4;
};
/// Operands: from, to.
[[nodiscard]] std::shared_ptr<const Kernel> make_copy(StridedCopy copy, int threads);

/// Copies an array of four axes from plain to blocks, padding zero. Operands: from, to.
[[nodiscard]] std::shared_ptr<const Kernel> make_blocked(const core::Shape& shape, int threads);
/// Copies an array of four axes from blocks to plain. Operands: from, to.
[[nodiscard]] std::shared_ptr<const Kernel> make_plain(const core::Shape& shape, int threads);
/// The same to images and channels that lie `image` and `row` floats apart.
[[nodiscard]] std::shared_ptr<const Kernel> make_plain(const core::Shape& shape, std::int64_t image,
                                                       std::int64_t row, int threads);

using core::share;
using core::share_ranked;

}  // namespace rdquant::runtime::native
