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
#include "rdquant/core/memory.hpp"
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
    core::Memory block = take(bytes);
    const auto give_back = [pool = weak_from_this(), release = block.get_deleter()](std::byte* p) {
      core::Memory unused(p, release);
      if (const auto alive = pool.lock()) alive->give(std::move(unused));
    };
    return {dtype, std::move(shape), std::shared_ptr<std::byte>(block.release(), give_back)};
  }

 private:
  static constexpr std::size_t kLarge = 1 << 16;  // bytes; smaller ones come from the heap as they are
  static constexpr std::size_t kKept = 4;         // blocks

  core::Memory take(std::size_t bytes) {
    {
      const std::lock_guard lock(mutex_);
      // the one given back last, which may still lie in a cache
      const auto found = std::ranges::find(free_.rbegin(), free_.rend(), bytes,
                                           [](const core::Memory& m) { return m.get_deleter().bytes; });
      if (found != free_.rend()) {
        core::Memory block = std::move(*found);
        free_.erase(std::next(found).base());
        return block;
      }
    }
    return core::allocate(bytes);
  }

  /// The longest unused go first.
  void give(core::Memory block) noexcept {
    try {
      const core::ForkGuard guard;  // called by whoever drops a result, outside any run
      const std::lock_guard lock(mutex_);
      if (free_.size() == kKept) free_.erase(free_.begin());
      free_.push_back(std::move(block));
    } catch (const std::bad_alloc&) {  // no room to remember it: freed instead
    }
  }

  std::mutex mutex_;
  std::vector<core::Memory> free_;
};

}  // namespace rdquant::runtime
