#include "rdquant/core/memory.hpp"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <new>
#include <vector>

#include "rdquant/core/fork.hpp"

#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__)  // whose red zones only memory of the heap has
#include <sys/mman.h>
#define RDQUANT_HUGE_PAGES 1
#endif
#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace rdquant::core {
namespace {

#ifdef RDQUANT_HUGE_PAGES
constexpr std::size_t kPage = std::size_t{2}
                              << 20U;  // of x86-64, and of 64-bit ARM with small pages of 4 KiB
constexpr std::size_t kLarge = 2 * kPage;
constexpr std::size_t kMostKept = std::size_t{256} << 20U;

bool is_large(std::size_t bytes) { return bytes >= kLarge; }

/// Whole huge pages; what nobody writes takes no memory.
std::size_t room_for(std::size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

/// Zeros that begin at a huge page.
std::byte* map(std::size_t room) {
  void* const mapped =
      ::mmap(nullptr, room + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  auto* const begin = static_cast<std::byte*>(mapped);
  const std::size_t before = (kPage - reinterpret_cast<std::uintptr_t>(begin) % kPage) % kPage;
  std::byte* const block = begin + before;
  if (before > 0) ::munmap(begin, before);
  ::munmap(block + room, kPage - before);
  ::madvise(block, room, MADV_HUGEPAGE);  // a system without them refuses, which does no harm
  return block;
}

struct Block {
  std::byte* begin = nullptr;
  std::size_t room = 0;
};

/// Blocks given back, for whoever needs one of their size next: clearing a page that the system hands out costs more
/// than most kernels that write it. Where memory runs short the system takes their pages without asking.
class Kept {
 public:
  /// The smallest that holds `room` bytes and not twice as many; null where there is none.
  Block take(std::size_t room) {
    const ForkGuard guard;
    const std::lock_guard lock(mutex_);
    auto best = blocks_.end();
    for (auto block = blocks_.begin(); block != blocks_.end(); ++block) {
      if (block->room >= room && block->room < 2 * room &&
          (best == blocks_.end() || block->room <= best->room)) {
        best = block;
      }
    }
    if (best == blocks_.end()) return {};
    const Block found = *best;
    blocks_.erase(best);
    bytes_ -= found.room;
    return found;
  }

  void give(Block block) noexcept {
    ::madvise(block.begin, block.room, MADV_FREE);
    const ForkGuard guard;
    const std::lock_guard lock(mutex_);
    try {
      blocks_.push_back(block);
      bytes_ += block.room;
    } catch (const std::bad_alloc&) {  // no room to remember it
      ::munmap(block.begin, block.room);
    }
    drop_beyond(kMostKept);
  }

  /// Drops blocks until they take no more than `most` bytes.
  void shrink(std::size_t most) noexcept {
    const ForkGuard guard;
    const std::lock_guard lock(mutex_);
    drop_beyond(most);
  }

 private:
  /// The longest unused go first.
  void drop_beyond(std::size_t most) noexcept {
    while (bytes_ > most) {
      const Block oldest = blocks_.front();
      blocks_.erase(blocks_.begin());
      bytes_ -= oldest.room;
      ::munmap(oldest.begin, oldest.room);
    }
  }

  std::mutex mutex_;
  std::vector<Block> blocks_;
  std::size_t bytes_ = 0;
};

Kept& kept() {
  static Kept& all = *new Kept;  // outlives every static that holds memory
  return all;
}

Memory large_block(std::size_t bytes, bool zeros) {
  const std::size_t room = room_for(bytes);
  const Block block = kept().take(room);
  if (block.begin == nullptr) return {map(room), Release{bytes, room}};
  if (zeros) std::memset(block.begin, 0, bytes);
  return {block.begin, Release{bytes, block.room}};
}

void give_back(std::byte* block, std::size_t room) noexcept { kept().give({block, room}); }

void unmap_kept() noexcept { kept().shrink(0); }
#else
bool is_large(std::size_t) { return false; }

Memory large_block(std::size_t, bool) { throw std::bad_alloc(); }

void give_back(std::byte*, std::size_t) noexcept {}

void unmap_kept() noexcept {}
#endif

/// 512 GiB, more than any tensor: sizes computed of a broken file are refused here, alike on every system and under
/// AddressSanitizer, which stops the process for sizes beyond its own limit.
constexpr std::size_t kLargestBlock = std::size_t{1} << 39U;

Memory block_of(std::size_t bytes, bool zeros) {
  if (bytes > kLargestBlock) throw std::bad_alloc();
  if (is_large(bytes)) return large_block(bytes, zeros);
  void* const block = ::operator new(std::max<std::size_t>(bytes, 1), std::align_val_t{kAlignment});
  if (zeros) std::memset(block, 0, bytes);
  return {static_cast<std::byte*>(block), Release{bytes, 0}};
}

}  // namespace

void Release::operator()(std::byte* block) const noexcept {
  if (room > 0) return give_back(block, room);
  ::operator delete(block, std::align_val_t{kAlignment});
}

Memory allocate(std::size_t bytes) { return block_of(bytes, false); }

Memory allocate_zeros(std::size_t bytes) { return block_of(bytes, true); }

void trim_memory() noexcept {
  unmap_kept();
#if defined(__GLIBC__)
  ::malloc_trim(0);
#endif
}

}  // namespace rdquant::core
