#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "rdquant/graph/source.hpp"

namespace rdquant::graph {

/// The files of external data beside a model: inside of its folder, and nowhere else.
class External {
 public:
  explicit External(const Source& model) : model_(model) {}

  using Entries = std::vector<std::pair<std::string, std::string>>;

  struct File {
    Source source;
    std::uint64_t copied = 0;  ///< bytes, so far
  };
  struct Found {
    Bytes bytes;
    File* file = nullptr;
  };

  /// The `need` bytes that a tensor's external_data entries refer to. `where` is the subject of messages.
  /// @throws InvalidArgument  a location outside of the model's folder, or a file that cannot be read
  /// @throws CorruptFile  offset, length and file size do not agree with the tensor's shape
  [[nodiscard]] Found find(const Entries& entries, std::uint64_t need, const std::string& where);

  /// Counts bytes that were copied from a file. @throws CorruptFile  more than the file has: tensors that share
  /// bytes could fill any memory
  static void count(const Found& found, const std::string& where);

 private:
  [[nodiscard]] std::string inside(const std::string& location, const std::string& where) const;

  const Source& model_;
  std::map<std::string, File> files_;  // by path
};

}  // namespace rdquant::graph
