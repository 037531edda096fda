#include "runtime/native/layout.hpp"

#include "rdquant/core/tensor.hpp"
#include "runtime/kernels/float32/kernels.hpp"

namespace rdquant::runtime::native {

std::int64_t block_size() { return kernels::kernels().block; }

std::int64_t area_of(std::span<const std::int64_t> shape) { return core::element_count(shape.subspan(2)); }

std::int64_t elements_in(std::span<const std::int64_t> shape, Layout layout) {
  std::int64_t count = 1;
  for (const std::int64_t n : shape) count *= n;
  if (layout == Layout::plain || count == 0) return count;
  const std::int64_t block = layout == Layout::blocked ? block_size() : kChannels;
  return count / shape[1] * ((shape[1] + block - 1) / block * block);
}

bool blocks_are_plain(std::span<const std::int64_t> shape) {
  return shape.size() != 4 || (shape[2] == 1 && shape[3] == 1 && shape[1] % block_size() == 0);
}

}  // namespace rdquant::runtime::native
