#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace rdquant::graph {

using Bytes = std::span<const std::uint8_t>;

/// The bytes of a model and the name by which messages call them. Copies share the bytes.
class Source {
 public:
  /// The file at `path`, mapped into memory for as long as a copy of this object or a tensor that views it lives.
  /// `what` is the subject of messages about opening it.
  /// Whoever overwrites the file in place in the meantime changes the bytes; replacing it by another is safe.
  /// @throws InvalidArgument  it cannot be read, or is not a regular file
  [[nodiscard]] static Source open(const std::string& path, std::string what = {});

  /// Bytes in memory, which `owner` keeps alive (nullptr: the caller does). They have no folder: external data is
  /// refused.
  [[nodiscard]] static Source of(Bytes bytes, std::shared_ptr<const void> owner, std::string name);

  [[nodiscard]] Bytes bytes() const noexcept { return bytes_; }
  [[nodiscard]] const std::shared_ptr<const void>& owner() const noexcept { return owner_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  /// The file's path; empty for bytes in memory.
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  /// Where in the source `at` lies, in bytes.
  [[nodiscard]] std::size_t offset_of(const std::uint8_t* at) const noexcept {
    return static_cast<std::size_t>(at - bytes_.data());
  }

 private:
  Bytes bytes_;
  std::shared_ptr<const void> owner_;
  std::string name_, path_;
};

/// `count` bytes of memory as they are, which begin at a multiple of 64.
[[nodiscard]] std::shared_ptr<void> aligned_block(std::size_t count);

/// A copy of `bytes` that begins at a multiple of 64.
[[nodiscard]] std::shared_ptr<void> aligned_copy(Bytes bytes);

}  // namespace rdquant::graph
