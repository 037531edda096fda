#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "rdquant/core/memory.hpp"

namespace rdquant::runtime {

/// Memory blocks of one size, aligned to 64 bytes; each run takes one and gives it back.
class ArenaPool {
 public:
  explicit ArenaPool(std::size_t bytes) : bytes_(bytes) {}

  /// A block for one run; back in the pool when this goes.
  class Lease {
   public:
    explicit Lease(ArenaPool& pool) : pool_(pool), memory_(pool.take()) {}
    ~Lease() { pool_.give(std::move(memory_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    [[nodiscard]] std::byte* data() const noexcept { return memory_.get(); }

   private:
    ArenaPool& pool_;
    core::Memory memory_;
  };

  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

 private:
  core::Memory take() {
    {
      const std::lock_guard lock(mutex_);
      if (!free_.empty()) {
        core::Memory block = std::move(free_.back());
        free_.pop_back();
        return block;
      }
    }
    return core::allocate(bytes_ + core::kAlignment);
  }
  void give(core::Memory block) noexcept {
    const std::lock_guard lock(mutex_);
    try {
      free_.push_back(std::move(block));
    } catch (const std::bad_alloc&) {
      block.reset();  // no room to remember it: freed instead
    }
  }

  std::size_t bytes_;
  std::mutex mutex_;
  std::vector<core::Memory> free_;
};

}  // namespace rdquant::runtime
