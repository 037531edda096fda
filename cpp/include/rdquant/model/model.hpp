#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "rdquant/graph/onnx.hpp"

/// A model from a file, whatever its kind, ready for `runtime::Session`.
namespace rdquant::model {

struct Options {
  int threads = 0;  ///< that decode compressed tensors; 0: all cores
  std::uint64_t memory_limit = std::uint64_t{1}
                               << 34;  ///< bytes that decoded tensors may take, eight counted an element
  bool view = true;                    ///< as graph::OnnxOptions
  bool external_data = true;           ///< likewise
};

struct Model {
  graph::Graph graph;
  std::vector<graph::ValueInfo> inputs;   ///< what `Session::run` must be fed with, in this order
  std::vector<graph::ValueInfo> outputs;  ///< as the file declares them; what it leaves out, inferred
  bool compressed = false;                ///< from a .rdq file
  // Of an ONNX file:
  std::vector<graph::Payload> payloads;  ///< big tensors by their place in the file
  // Of a compressed file:
  std::vector<std::uint8_t> skeleton;  ///< the serialised ModelProto without its tensors
  std::vector<std::string> stored;     ///< the tensors beside it, in the file's order
  std::string facts;                   ///< the writer's notes, JSON; "" where there are none
};

/// The name of the file at `path`, without folders and suffix.
[[nodiscard]] std::string stem(const std::string& path);

/// The model in an .onnx or .rdq file; its first bytes tell which. Its name is the stem of the file's.
/// @throws InvalidArgument  the file cannot be read, and as graph::read_onnx
/// @throws CorruptFile  damage; names byte offset, section, node or tensor
/// @throws Unsupported  what this version does not read, or more than `memory_limit` bytes
[[nodiscard]] Model open(const std::string& path, const Options& options = {});

/// The same from a source, called `name`.
[[nodiscard]] Model read(const graph::Source& source, const std::string& name, const Options& options = {});

}  // namespace rdquant::model
