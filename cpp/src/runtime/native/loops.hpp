#pragma once

#include <functional>
#include <string>

#include "runtime/native/kernel.hpp"
#include "runtime/native/team.hpp"

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

/// share_ranges for `body(begin, end, rank)`.
template <typename Body>
void share_ranked(std::int64_t n, std::int64_t grain, int threads, const Body& body) {
  share_ranges(n, grain, threads, &body, [](const void* b, std::int64_t begin, std::int64_t end, int rank) {
    (*static_cast<const Body*>(b))(begin, end, rank);
  });
}

/// `share_ranked` for a body that does not ask who runs it.
template <typename Body>
void share(std::int64_t n, std::int64_t grain, int threads, const Body& body) {
  share_ranked(n, grain, threads, [&](std::int64_t begin, std::int64_t end, int) { body(begin, end); });
}

}  // namespace rdquant::runtime::native
