#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "rdquant/core/memory.hpp"

namespace rdquant::program {

/// A buffer alive from the step `first` that writes it to the step `last` that reads it for the last time,
/// both included.
struct Lifetime {
  std::size_t bytes = 0;
  std::int32_t first = 0, last = 0;
};

/// Where each buffer lies in one arena, and how large that is.
struct MemoryPlan {
  std::vector<std::size_t> offsets;  ///< multiples of `alignment`
  std::size_t bytes = 0;
};

/// Places buffers so that no two that live at once overlap: the best of first fit by size, by lifetime and by
/// start.
[[nodiscard]] MemoryPlan plan_memory(std::span<const Lifetime> buffers,
                                     std::size_t alignment = core::kAlignment);

/// The bytes that live at once at most: no plan can be smaller.
[[nodiscard]] std::size_t least_memory(std::span<const Lifetime> buffers,
                                       std::size_t alignment = core::kAlignment);

}  // namespace rdquant::program
