#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace rdquant::core {

/// Of all memory for tensors, in bytes: a cache line, and enough for every vector unit.
inline constexpr std::size_t kAlignment = 64;

/// Gives a block of `allocate` back.
struct Release {
  std::size_t bytes = 0;  ///< of the block
  std::size_t room = 0;   ///< that it takes of pages of its own; 0 for a block from the heap
  void operator()(std::byte* block) const noexcept;
};
using Memory = std::unique_ptr<std::byte, Release>;

/// A block of `bytes`, aligned to `kAlignment`; its values are not set. A large one lies in huge pages where the system
/// has them: 512 times fewer page faults when it is first written, and fewer misses of the TLB later.
/// Throws std::bad_alloc, for more than 512 GiB always.
[[nodiscard]] Memory allocate(std::size_t bytes);

/// The same, filled with zeros.
[[nodiscard]] Memory allocate_zeros(std::size_t bytes);

/// Gives free memory back to the system, large blocks and, where the C library can, the heap's pages: after work that
/// needs much more than it leaves.
void trim_memory() noexcept;

/// A fixed number of values, zero at first. Unlike a std::vector's, a large array costs no pass over it before its use.
template <typename T>
class Array {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Array() = default;
  /// Throws std::bad_alloc.
  explicit Array(std::size_t size)
      : memory_(allocate_zeros(size <= PTRDIFF_MAX / sizeof(T) ? size * sizeof(T) : PTRDIFF_MAX)),
        size_(size) {}

  [[nodiscard]] T* data() noexcept { return reinterpret_cast<T*>(memory_.get()); }
  [[nodiscard]] const T* data() const noexcept { return reinterpret_cast<const T*>(memory_.get()); }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] T* begin() noexcept { return data(); }
  [[nodiscard]] T* end() noexcept { return data() + size_; }
  [[nodiscard]] const T* begin() const noexcept { return data(); }
  [[nodiscard]] const T* end() const noexcept { return data() + size_; }
  [[nodiscard]] T& operator[](std::size_t i) noexcept { return data()[i]; }
  [[nodiscard]] const T& operator[](std::size_t i) const noexcept { return data()[i]; }

 private:
  Memory memory_;
  std::size_t size_ = 0;
};

}  // namespace rdquant::core
