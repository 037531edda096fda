#pragma once

#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "rdquant/core/tensor.hpp"

/// A model as ONNX says it, without protobuf: Python reads, checks and simplifies the file and hands this
/// over.
namespace rdquant::graph {

using Attribute = std::variant<std::int64_t, float, std::string, std::vector<std::int64_t>,
                               std::vector<float>, std::vector<std::string>, core::Tensor>;

struct Node {
  std::string op;                    ///< "Conv"
  std::string domain;                ///< "" is the standard domain
  std::string name;                  ///< may be empty
  std::vector<std::string> inputs;   ///< "" where an optional input is left out
  std::vector<std::string> outputs;  ///< likewise
  std::map<std::string, Attribute> attributes;
};

/// An input or output of the whole model. A size that the model leaves open is nullopt.
struct Port {
  std::string name;
  core::DType dtype = core::DType::f32;
  std::vector<std::optional<std::int64_t>> shape;
};

/// Nodes in an order in which every input is made before it is used.
struct Graph {
  std::string name;
  int opset = 0;  ///< of the standard domain
  std::vector<Node> nodes;
  std::unordered_map<std::string, core::Tensor> initializers;
  std::vector<Port> inputs;   ///< without initializers
  std::vector<Port> outputs;  ///< shapes may be unknown: sizes nullopt, or none at all
};

/// How messages call a node: `Conv node 'conv1'`, or `Conv node giving 'x'` where it has no name.
[[nodiscard]] std::string describe(const Node& node);

}  // namespace rdquant::graph
