#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "graph/tensor_reader.hpp"
#include "rdquant/graph/onnx.hpp"

/// A ModelProto as far as the engine uses it: wire format checked, contents not yet.
namespace rdquant::graph {

struct AttributeProto {
  std::string name;
  std::string reference;  ///< of a function's node: the attribute of the call that it stands for
  Attribute value;        ///< without a reference
};

struct NodeProto {
  Node node;  ///< without attributes
  std::string overload;
  std::vector<AttributeProto> attributes;
};

struct FunctionProto {
  std::string name, domain, overload;
  std::vector<std::string> inputs, outputs;
  std::vector<AttributeProto> defaults;  ///< of attributes that a call may leave out
  std::vector<NodeProto> nodes;
  std::map<std::string, std::int64_t> opsets;
};

struct PortProto {
  std::string name;
  std::string kind;                  ///< "tensor_type", …; "" where the file says nothing
  std::optional<std::int64_t> type;  ///< of elements
  bool has_shape = false;
  std::vector<Dimension> shape;
};

struct ModelProto {
  std::int64_t ir_version = 0;
  std::map<std::string, std::int64_t> opsets;  ///< by domain; "" for "ai.onnx"
  bool has_graph = false;
  std::string name;  ///< of the graph
  std::vector<NodeProto> nodes;
  std::vector<TensorReader::Named> initializers;
  std::vector<PortProto> inputs, outputs;
  std::vector<FunctionProto> functions;
};

/// `describe`, with the name quoted as messages quote what a file holds.
[[nodiscard]] std::string described(const Node& node);

/// ONNX Runtime's optimizer writes one operator of its own as if it were ONNX's; here it is of its domain.
[[nodiscard]] inline bool is_simplified_norm(const Node& node) {
  return node.op == "SimplifiedLayerNormalization" && node.domain.empty();
}

/// @throws CorruptFile, Unsupported, InvalidArgument  as `read_onnx`
[[nodiscard]] ModelProto parse_model(const Source& source, TensorReader& tensors);

/// Puts functions in place of the nodes that call them. @throws CorruptFile: recursion. Unsupported: a function
/// for another opset; more nodes than memory should hold
void inline_functions(ModelProto& model, const std::string& name);

/// Raises the errors of `read_onnx` about versions, ports, names and operators.
void check_header(const ModelProto& model, const std::string& name);
void check_nodes(const ModelProto& model, const OnnxOptions& options, const std::string& name);

/// Puts nodes into an order in which every value is made before it is used, changing as little as possible.
/// @throws InvalidArgument  a cycle; names its nodes
void sort_nodes(std::vector<NodeProto>& nodes, const std::string& name);

/// Leaves out nodes that compute what an earlier one does, but those that make a value of `kept`.
void drop_repeats(std::vector<Node>& nodes, const std::vector<ValueInfo>& kept);

}  // namespace rdquant::graph
