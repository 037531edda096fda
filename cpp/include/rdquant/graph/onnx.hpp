#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "rdquant/graph/graph.hpp"
#include "rdquant/graph/source.hpp"

/// Models read from ONNX files (onnx/onnx.proto), without protobuf.
namespace rdquant::graph {

inline constexpr int kOldestOpset = 7, kNewestOpset = 24;  ///< of the standard domain, that `read_onnx` reads
inline constexpr int kNewestIr = 14;                       ///< version of ONNX's intermediate representation

/// A dimension of an input or output: a size, a symbol's name, or neither where the file leaves it open.
struct Dimension {
  std::optional<std::int64_t> size;
  std::string symbol;
};

struct ValueInfo {
  std::string name;
  core::DType dtype = core::DType::f32;
  std::vector<Dimension> shape;
  bool has_type = true, has_shape = true;  ///< whether the file gives them; it may leave them out of outputs
};

/// A tensor of at least `kBigTensor` bytes whose data lie end to end in the source.
struct Payload {
  std::uint64_t offset = 0;  ///< in the source
  core::Tensor data;         ///< in the tensor's own type and shape
};

struct OnnxModel {
  Graph graph;
  std::vector<ValueInfo> inputs;   ///< what a run must be fed with: initializers are left out
  std::vector<ValueInfo> outputs;  ///< as the file declares them
  std::vector<Payload> payloads;
};

struct OnnxOptions {
  /// Tensors view the source where they are aligned to their type; false: all are copied, and nothing depends on
  /// the source afterwards.
  bool view = true;
  /// Data in other files of the model's folder; false: a model that has them is refused.
  bool external_data = true;
  /// Initializers that lie elsewhere, as in compressed files: they count as defined, the caller adds them.
  std::map<std::string, std::pair<core::DType, core::Shape>> stored;
};

/// The model in `source`, called `name` ("" for the graph's own name).
///
/// Local functions are put in place of the nodes that call them, nodes are put in order, constants become
/// initializers, and nodes that compute the same as an earlier one are left out. Names, the number of inputs and
/// outputs, and the attributes of standard operators are checked; what values they allow is for `program::lower`
/// to judge.
///
/// @throws CorruptFile  it is no valid ONNX model; names byte offset, node or tensor
/// @throws Unsupported  opsets outside `kOldestOpset` to `kNewestOpset`, subgraphs, other types of tensors, …
/// @throws InvalidArgument  a cycle; external data outside of the model's folder
[[nodiscard]] OnnxModel read_onnx(const Source& source, const std::string& name,
                                  const OnnxOptions& options = {});

/// Location of external data that lie in the source itself.
inline constexpr std::string_view kSelf = "<self>";
/// Tensors of so many bytes or more are left out of a skeleton.
inline constexpr std::size_t kBigTensor = 1024;

/// The serialised model in `source` without the bytes of its big tensors: each becomes one with external data whose
/// location is `kSelf`, with the offset and length of its bytes in the source. The result is itself a valid
/// ModelProto. Contents other than the way to the tensors are not looked at.
/// @throws CorruptFile  the wire format is broken
[[nodiscard]] std::vector<std::uint8_t> skeleton(const Source& source);

/// The engine's type for a number of TensorProto.DataType. `what` is the subject of the message.
/// @throws CorruptFile  ONNX defines no such type. Unsupported: the engine has none like it.
[[nodiscard]] core::DType element_type(std::int64_t type, const std::string& what);

/// What an operator of the standard domain looks like at some opset.
struct Signature {
  std::string_view op;
  int first, last;  ///< opset
  int fewest_inputs, most_inputs, most_outputs;
  std::string_view attributes;  ///< names separated by spaces; "!" follows those that are required

  [[nodiscard]] bool allows(std::string_view attribute) const;
};
inline constexpr int kAny = 0x7FFFFFFF;  ///< of inputs or outputs

/// nullptr where ONNX has no such operator at `opset`. Operators that were not compared with ONNX's definition below
/// opset 13 are unknown there.
[[nodiscard]] const Signature* signature(std::string_view op, int opset);
/// All of them, by name and opset.
[[nodiscard]] std::span<const Signature> signatures();

}  // namespace rdquant::graph
