#include "program/lower/qoperators.hpp"

#include <cstdint>
#include <map>
#include <string_view>
#include <utility>

#include "rdquant/core/error.hpp"

namespace rdquant::program {
namespace qoperators {  // whose rules have the names of those for floats
namespace {

using graph::Attribute;
using Attributes = std::map<std::string, Attribute>;
using Names = std::vector<std::string>;

constexpr std::int64_t kFloat32 = 1;  // ONNX's number

/// One node being rewritten in floats.
class Telling {
 public:
  explicit Telling(const graph::Node& node) : node_(node) {}

  [[nodiscard]] std::string input(std::size_t i) const {
    return i < node_.inputs.size() ? node_.inputs[i] : std::string();
  }
  [[nodiscard]] const std::string& output() const { return node_.outputs[0]; }
  [[nodiscard]] std::size_t inputs() const { return node_.inputs.size(); }
  [[nodiscard]] const Attributes& attributes() const { return node_.attributes; }
  template <typename T>
  [[nodiscard]] T attribute(const std::string& name, T otherwise) const {
    const auto found = node_.attributes.find(name);
    const T* value = found == node_.attributes.end() ? nullptr : std::get_if<T>(&found->second);
    return value != nullptr ? *value : otherwise;
  }

  /// A node; gives the name of its output, a new one unless `output` says it.
  std::string add(std::string op, Names inputs, Attributes attributes = {}, std::string output = "") {
    if (output.empty()) output = node_.outputs[0] + "#" + std::to_string(nodes_.size());
    nodes_.push_back({std::move(op), "", node_.name, std::move(inputs), {output}, std::move(attributes)});
    return output;
  }
  /// Numbers of the levels at input `i`, whose scale and zero points follow them.
  std::string numbers(std::size_t i, std::int64_t axis = 1) {
    return add("DequantizeLinear", {input(i), input(i + 1), input(i + 2)}, {{"axis", axis}});
  }
  /// Makes the node's output of numbers: the scale is input `i`, the zero points follow it.
  void levels(std::string numbers, std::size_t i, std::int64_t axis = 1) {
    if (input(i + 1).empty()) refuse("an output without zero points");
    add("QuantizeLinear", {std::move(numbers), input(i), input(i + 1)}, {{"axis", axis}}, output());
  }
  void refuse(const std::string& what) const {
    throw core::Unsupported(graph::describe(node_) + ": " + what + " is not supported");
  }
  /// Images with channels last are not taken.
  void channels_first() const {
    if (attribute<std::int64_t>("channels_last", 0) != 0) refuse("channels_last");
  }
  std::vector<graph::Node> take() && { return std::move(nodes_); }

 private:
  const graph::Node& node_;
  std::vector<graph::Node> nodes_;
};

/// x, w and y with scale and zero points each, bias. The bias counts in steps of the sums' scale, s_x · s_w.
void convolution(Telling& node) {
  Names inputs = {node.numbers(0), node.numbers(3, 0)};
  if (!node.input(8).empty()) {
    const std::string scale = node.add("Mul", {node.input(1), node.input(4)});
    inputs.push_back(node.add("DequantizeLinear", {node.input(8), scale}, {{"axis", std::int64_t{0}}}));
  }
  node.levels(node.add("Conv", std::move(inputs), node.attributes()), 6);
}

/// a, b and y with scale and zero points each: a number, or a vector along the rows of a and y, the columns
/// of b. Scales may be float16; the product is computed in float32.
void product(Telling& node) {
  const auto wide = [&](std::size_t i) { return node.add("Cast", {node.input(i)}, {{"to", kFloat32}}); };
  const auto numbers = [&](std::size_t i, std::int64_t axis) {
    return node.add("DequantizeLinear", {node.input(i), wide(i + 1), node.input(i + 2)}, {{"axis", axis}});
  };
  const std::string a = numbers(0, -2), b = numbers(3, -1);
  node.levels(node.add("MatMul", {a, b}), 6, -2);
}

void binary(Telling& node, std::string op) {
  const std::string a = node.numbers(0), b = node.numbers(3);
  node.levels(node.add(std::move(op), {a, b}), 6);
}

void unary(Telling& node, std::string op) {
  node.channels_first();
  node.levels(node.add(std::move(op), {node.numbers(0)}, node.attributes()), 3);
}

/// Its meaning follows an attribute, not the model's opset; before 13 it flattened the axes that follow.
void softmax(Telling& node) {
  if (node.attribute<std::int64_t>("opset", 13) < 13) node.refuse("opset < 13");
  const Attributes axis = {{"axis", node.attribute<std::int64_t>("axis", -1)}};
  node.levels(node.add("Softmax", {node.numbers(0)}, axis), 3);
}

/// Scale and zero point of y, then each part with its own.
void concat(Telling& node) {
  Names parts;
  for (std::size_t i = 2; i < node.inputs(); i += 3) parts.push_back(node.numbers(i));
  node.levels(node.add("Concat", std::move(parts), node.attributes()), 0);
}

/// a, b with scale and zero points, c, y's. c counts in steps of alpha · s_a · s_b; without y's scale y is
/// float.
void gemm(Telling& node) {
  const bool transposed = node.attribute<std::int64_t>("transB", 0) != 0;
  Names inputs = {node.numbers(0), node.numbers(3, transposed ? 0 : 1)};
  Attributes attributes = node.attributes();
  if (!node.input(6).empty()) {
    const std::string scale = node.add("Mul", {node.input(1), node.input(4)});
    inputs.push_back(node.add("DequantizeLinear", {node.input(6), scale}, {{"axis", std::int64_t{-1}}}));
    attributes["beta"] = node.attribute("alpha", 1.0F);
  }
  const bool levels = !node.input(7).empty();
  std::string y =
      node.add("Gemm", std::move(inputs), std::move(attributes), levels ? std::string() : node.output());
  if (levels) node.levels(std::move(y), 7);
}

/// ONNX Runtime's QuantizeLinear and DequantizeLinear mean what ONNX's do.
void same(Telling& node, std::string op) {
  Names inputs;
  for (std::size_t i = 0; i < node.inputs(); ++i) inputs.push_back(node.input(i));
  node.add(std::move(op), std::move(inputs), node.attributes(), node.output());
}

using Rule = void (*)(Telling&);

const std::map<std::string_view, Rule>& rules() {
  static const std::map<std::string_view, Rule> all = {
      {"QLinearConv", convolution},
      {"QLinearMatMul", product},
      {"com.microsoft.QGemm", gemm},
      {"com.microsoft.QLinearAdd", [](Telling& n) { binary(n, "Add"); }},
      {"com.microsoft.QLinearMul", [](Telling& n) { binary(n, "Mul"); }},
      {"com.microsoft.QLinearSigmoid", [](Telling& n) { unary(n, "Sigmoid"); }},
      {"com.microsoft.QLinearLeakyRelu", [](Telling& n) { unary(n, "LeakyRelu"); }},
      {"com.microsoft.QLinearAveragePool", [](Telling& n) { unary(n, "AveragePool"); }},
      {"com.microsoft.QLinearGlobalAveragePool", [](Telling& n) { unary(n, "GlobalAveragePool"); }},
      {"com.microsoft.QLinearConcat", concat},
      {"com.microsoft.QLinearSoftmax", softmax},
      {"com.microsoft.QuantizeLinear", [](Telling& n) { same(n, "QuantizeLinear"); }},
      {"com.microsoft.DequantizeLinear", [](Telling& n) { same(n, "DequantizeLinear"); }},
  };
  return all;
}

}  // namespace
}  // namespace qoperators

std::optional<std::vector<graph::Node>> in_floats(const graph::Node& node) {
  const bool standard = node.domain.empty() || node.domain == "ai.onnx";
  const auto& rules = qoperators::rules();
  const auto rule = rules.find(standard ? node.op : node.domain + "." + node.op);
  if (rule == rules.end()) return std::nullopt;
  if (node.outputs.size() != 1 || node.outputs[0].empty()) {
    throw core::InvalidArgument(graph::describe(node) + ": one output is wanted, it has " +
                                std::to_string(node.outputs.size()));
  }
  qoperators::Telling telling(node);
  rule->second(telling);
  return std::move(telling).take();
}

std::vector<std::string> operators_in_floats() {
  std::vector<std::string> names;
  for (const auto& [name, rule] : qoperators::rules()) names.emplace_back(name);
  return names;
}

}  // namespace rdquant::program
