#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "rdquant/core/fork.hpp"
#include "rdquant/core/tensor.hpp"

namespace rdquant::runtime {

/// Memory of large results, which serves later runs once nobody holds the result any more: memory that the
/// system hands out anew costs a page fault for every 4 KiB.
class ResultPool : public std::enable_shared_from_this<ResultPool> {
 public:
  /// A tensor to be written; the values of a large one are not set.
  core::Tensor tensor(core::DType dtype, core::Shape shape) {
    const std::size_t bytes = static_cast<std::size_t>(core::element_count(shape)) * core::size_of(dtype);
    if (bytes < kLarge) return {dtype, std::move(shape)};
    Block block = take(bytes);
    std::byte* const memory = block.get();
    const auto give_back = [pool = weak_from_this(), bytes](std::byte* p) {
      if (const auto alive = pool.lock()) return alive->give(Block(p), bytes);
      Delete{}(p);
    };
    block.release();
    return {dtype, std::move(shape), std::shared_ptr<std::byte>(memory, give_back)};
  }

 private:
  static constexpr std::size_t kLarge = 1 << 16;  // bytes; smaller ones come from the heap as they are
  static constexpr std::size_t kKept = 4;         // blocks
  static constexpr std::align_val_t kAligned{64};

  struct Delete {
    void operator()(std::byte* p) const { ::operator delete(p, kAligned); }
  };
  using Block = std::unique_ptr<std::byte, Delete>;
  struct Free {
    std::size_t bytes;
    Block block;
  };

  Block take(std::size_t bytes) {
    {
      const std::lock_guard lock(mutex_);
      // the one given back last, which may still lie in a cache
      const auto found = std::ranges::find(free_.rbegin(), free_.rend(), bytes, &Free::bytes);
      if (found != free_.rend()) {
        Block block = std::move(found->block);
        free_.erase(std::next(found).base());
        return block;
      }
    }
    return Block(static_cast<std::byte*>(::operator new(bytes, kAligned)));
  }

  /// The longest unused go first.
  void give(Block block, std::size_t bytes) noexcept {
    try {
      const core::ForkGuard guard;  // called by whoever drops a result, outside any run
      const std::lock_guard lock(mutex_);
      if (free_.size() == kKept) free_.erase(free_.begin());
      free_.push_back({bytes, std::move(block)});
    } catch (const std::bad_alloc&) {  // no room to remember it: freed instead
    }
  }

  std::mutex mutex_;
  std::vector<Free> free_;
};

}  // namespace rdquant::runtime
