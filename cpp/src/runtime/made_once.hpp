#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <future>
#include <iterator>
#include <list>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace rdquant::runtime {

/// The most recently used few of things that take long to make, by key. A thing is made by the first that asks
/// for it, without a lock: those who ask for the same meanwhile wait, those who ask for others do not.
template <typename Key, typename Made>
class MadeOnce {
 public:
  explicit MadeOnce(std::size_t most) : most_(most) {}

  /// What `make()` gave for this key. What it throws goes to all who wait for it and is not kept.
  template <typename Make>
  [[nodiscard]] Made get(const Key& key, const Make& make) {
    std::list<Entry> dropped;  // goes after the lock
    std::promise<Made> promise;
    std::shared_future<Made> future;
    std::uint64_t number = 0;
    {
      const std::lock_guard lock(mutex_);
      const auto found = std::ranges::find(entries_, key, &Entry::key);
      if (found != entries_.end()) {
        entries_.splice(entries_.begin(), entries_, found);
        future = entries_.front().made;
      } else {
        number = ++count_;
        entries_.push_front({key, promise.get_future().share(), number});
        if (entries_.size() > most_) dropped.splice(dropped.begin(), entries_, std::prev(entries_.end()));
      }
    }
    if (number == 0) return future.get();
    try {
      Made made = make();
      promise.set_value(made);
      return made;
    } catch (...) {
      promise.set_exception(std::current_exception());
      const std::lock_guard lock(mutex_);
      std::erase_if(entries_, [&](const Entry& entry) { return entry.number == number; });
      throw;
    }
  }

  /// All that are kept. Nothing may be in the making.
  [[nodiscard]] std::vector<Made> all() const {
    const std::lock_guard lock(mutex_);
    std::vector<Made> made;
    for (const Entry& entry : entries_) made.push_back(entry.made.get());
    return made;
  }

  void clear() {
    const std::lock_guard lock(mutex_);
    entries_.clear();
  }

 private:
  struct Entry {
    Key key;
    std::shared_future<Made> made;
    std::uint64_t number;  ///< of its making
  };

  std::size_t most_;
  mutable std::mutex mutex_;
  std::list<Entry> entries_;
  std::uint64_t count_ = 0;
};

}  // namespace rdquant::runtime
