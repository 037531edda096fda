#pragma once

#include <cstddef>
#include <cstdint>

namespace rdquant::core {

/// Output size, in bytes, from which it pays to write around the caches: they could not hold it anyway, and a
/// plain store first reads the line that it overwrites.
inline constexpr std::size_t kStreamBytes = std::size_t{32} << 20;

/// Asks for the n 32-bit words at `from`, which will be read soon. Any address is allowed.
void prefetch(const void* from, std::size_t n) noexcept;

}  // namespace rdquant::core
