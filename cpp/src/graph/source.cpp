#include "rdquant/graph/source.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "rdquant/core/error.hpp"
#include "rdquant/core/memory.hpp"
#include "rdquant/core/text.hpp"

namespace rdquant::graph {
namespace {

constexpr std::size_t kReadAhead = std::size_t{64} << 20;

/// Closes a file when it goes.
class Handle {
 public:
  explicit Handle(int handle) : handle_(handle) {}
  ~Handle() {
    if (handle_ >= 0) ::close(handle_);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  [[nodiscard]] int get() const noexcept { return handle_; }

 private:
  int handle_;
};

[[noreturn]] void refuse(const std::string& name) {
  throw core::InvalidArgument(name + ": " + std::generic_category().message(errno));
}

}  // namespace

Source Source::open(const std::string& path, std::string what) {
  if (what.empty()) what = "model file " + core::in_quotes(path);
  if (path.find('\0') != std::string::npos) throw core::InvalidArgument(what + ": a path holds no zero byte");
  // Without O_NONBLOCK a named pipe would wait for a writer before it could be refused.
  const Handle file(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (file.get() < 0) refuse(what);
  struct stat facts = {};
  if (::fstat(file.get(), &facts) != 0) refuse(what);
  if (!S_ISREG(facts.st_mode)) {
    throw core::InvalidArgument(what + " is " + (S_ISDIR(facts.st_mode) ? "a folder" : "not a regular file") +
                                "; a file is needed");
  }
  Source source;
  source.name_ = core::as_utf8(path);
  source.path_ = path;
  const auto size = static_cast<std::size_t>(facts.st_size);
  if (size == 0) return source;
  int flags = MAP_PRIVATE;
#ifdef MAP_POPULATE
  if (size <= kReadAhead) flags |= MAP_POPULATE;  // one call instead of a fault every few pages
#endif
  void* const place = ::mmap(nullptr, size, PROT_READ, flags, file.get(), 0);
  if (place == MAP_FAILED) refuse(what);
  source.owner_ = std::shared_ptr<const void>(
      place, [size](const void* mapped) { static_cast<void>(::munmap(const_cast<void*>(mapped), size)); });
  source.bytes_ = {static_cast<const std::uint8_t*>(place), size};
  return source;
}

Source Source::of(Bytes bytes, std::shared_ptr<const void> owner, std::string name) {
  Source source;
  source.bytes_ = bytes;
  source.owner_ = std::move(owner);
  source.name_ = std::move(name);
  return source;
}

std::shared_ptr<void> aligned_block(std::size_t count) { return core::allocate(count); }

std::shared_ptr<void> aligned_copy(Bytes bytes) {
  std::shared_ptr<void> copy = aligned_block(bytes.size());
  if (!bytes.empty()) std::memcpy(copy.get(), bytes.data(), bytes.size());
  return copy;
}

}  // namespace rdquant::graph
