#include "graph/external.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>
#include <system_error>

#include "graph/wire.hpp"
#include "rdquant/core/error.hpp"
#include "rdquant/core/text.hpp"

namespace rdquant::graph {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostDigits = 18;  // so that sums do not overflow

/// @throws CorruptFile  the text is no number of bytes
std::uint64_t byte_number(const std::string& text, const std::string& what) {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (text.empty() || text.size() > kMostDigits || error != std::errc() || stop != end) {
    throw core::CorruptFile(what + " is " + core::in_quotes(text) + "; a number of bytes is needed");
  }
  return value;
}

std::string entry(const External::Entries& entries, const char* key, const std::string& otherwise) {
  const auto found = std::ranges::find(entries, key, &std::pair<std::string, std::string>::first);
  return found == entries.end() ? otherwise : found->second;
}

bool climbs(std::string location) {
  std::ranges::replace(location, '\\', '/');
  const fs::path path(location);
  return path.is_absolute() || std::ranges::find(path, fs::path("..")) != path.end();
}

}  // namespace

External::Found External::find(const Entries& entries, std::uint64_t need, const std::string& tensor) {
  const std::string where = tensor + ", external_data";
  const std::string path = inside(entry(entries, "location", ""), where);
  auto known = files_.find(path);
  if (known == files_.end()) {
    known = files_.emplace(path, File{Source::open(path, where + " file " + core::in_quotes(path))}).first;
  }
  File& file = known->second;
  const std::uint64_t offset = byte_number(entry(entries, "offset", "0"), where + " offset");
  const std::uint64_t length = byte_number(entry(entries, "length", std::to_string(need)), where + " length");
  if (length != need) {
    throw core::CorruptFile(where + " length is " + std::to_string(length) +
                            " bytes, the tensor's shape needs " + std::to_string(need));
  }
  const std::size_t size = file.source.bytes().size();
  if (offset > size || length > size - offset) {
    throw core::CorruptFile(where + ": bytes " + std::to_string(offset) + ".." +
                            std::to_string(offset + length) + " requested, " +
                            core::in_quotes(fs::path(path).filename().string()) + " has " +
                            std::to_string(size));
  }
  return {file.source.bytes().subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(length)),
          &file};
}

void External::count(const Found& found, const std::string& where) {
  found.file->copied += found.bytes.size();
  if (found.file->copied <= found.file->source.bytes().size()) return;
  throw core::CorruptFile(where + ", external_data: tensors take more bytes of " +
                          core::in_quotes(found.file->source.path()) + " than it has");
}

std::string External::inside(const std::string& location, const std::string& where) const {
  if (model_.path().empty()) {
    throw core::InvalidArgument(where + ": the model keeps tensors in the file " + core::in_quotes(location) +
                                "; open it by its path, not as bytes");
  }
  if (location.empty() || location.find('\0') != std::string::npos) {
    throw core::CorruptFile(where + " location is " + core::in_quotes(location) + "; it must name a file");
  }
  const std::string refused = where + " location " + core::in_quotes(location) + " is refused: ";
  if (climbs(location)) throw core::InvalidArgument(refused + "it must lie in the model's folder");
  std::error_code error;
  const fs::path model(model_.path());
  const fs::path folder =
      fs::weakly_canonical(model.has_parent_path() ? model.parent_path() : fs::path("."), error);
  if (error) throw core::InvalidArgument(refused + error.message());
  const fs::path path = fs::weakly_canonical(folder / location, error);
  if (error) throw core::InvalidArgument(refused + error.message());
  const auto [rest, at] = std::ranges::mismatch(folder, path);
  if (rest != folder.end()) {
    throw core::InvalidArgument(refused + "it is a link that leaves the model's folder");
  }
  return path.string();
}

}  // namespace rdquant::graph
