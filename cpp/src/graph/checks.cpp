// What must hold of a model before anybody computes with it: clear errors that name source, node and field.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <functional>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "graph/proto.hpp"
#include "rdquant/core/error.hpp"
#include "rdquant/core/text.hpp"

namespace rdquant::graph {
namespace {

constexpr std::int64_t kMostSize = std::int64_t{1} << 31;
// Domains whose operators are left for the engine to judge.
constexpr auto kOtherDomains =
    std::to_array<std::string_view>({"com.microsoft", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview"});
constexpr std::size_t kMostCompared = 4096, kLongestCompared = 64;  // names, and their bytes

std::size_t edits(std::string_view a, std::string_view b) {
  std::array<std::size_t, kLongestCompared + 1> row;
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row[b.size()];
}

using Names = std::unordered_set<std::string_view>;

/// "; did you mean 'x'?" with the closest name, or nothing.
std::string suggestion(std::string_view name, const Names& known) {
  if (name.empty() || name.size() > kLongestCompared || known.size() > kMostCompared) return "";
  std::string_view best;
  std::size_t least = name.size() * 2 / 5 + 1;  // at most two letters of five may differ
  for (const std::string_view candidate : known) {
    if (candidate.empty() || candidate.size() > kLongestCompared) continue;
    const std::size_t distance = edits(name, candidate);
    if (distance > least || (distance == least && (best.empty() || candidate >= best))) continue;
    best = candidate;
    least = distance;
  }
  return best.empty() ? "" : "; did you mean " + core::in_quotes(best) + "?";
}

[[noreturn]] void corrupt(const std::string& message) { throw core::CorruptFile(message); }

void check_opset(const ModelProto& model, const std::string& name) {
  if (model.opsets.empty()) {
    corrupt(name + ": field 'opset_import' is empty; a model must say which operators it uses");
  }
  const auto found = model.opsets.find("");
  if (found == model.opsets.end()) return;
  const std::int64_t version = found->second;
  const std::string asks = name + ": opset_import asks for opset " + std::to_string(version);
  if (version < 1) corrupt(asks + "; the first is 1");
  if (version < kOldestOpset || version > kNewestOpset) {
    throw core::Unsupported(asks + "; this version reads " + std::to_string(kOldestOpset) + " to " +
                            std::to_string(kNewestOpset) + ": export or convert the model for one of these");
  }
}

/// Types and shapes of outputs follow from the inputs', and may be left out.
void check_port(const PortProto& port, const char* field, bool is_output, const std::string& name) {
  const std::string what = name + ": field " + field + ": " + core::in_quotes(port.name);
  if (port.name.empty()) corrupt(name + ": field " + field + ": one has no name");
  if (port.kind.empty()) {
    if (is_output) return;
    corrupt(what + " has no type");
  }
  if (port.kind != "tensor_type") {
    throw core::Unsupported(what + " is a " + port.kind + "; only tensors are supported");
  }
  if (port.type.value_or(0) == 0) corrupt(what + " has no element type");
  static_cast<void>(element_type(*port.type, what));
  if (!port.has_shape && !is_output) {
    corrupt(what + " has no shape (write it with open dimensions if it varies)");
  }
  for (const Dimension& dimension : port.shape) {
    if (dimension.size.value_or(0) <= kMostSize) continue;
    corrupt(what + " has a size of " + std::to_string(*dimension.size) + "; 2^31 is the most allowed");
  }
}

template <typename Items>
void check_unique(const Items& items, const char* field, const std::string& name) {
  Names met;
  for (const auto& item : items) {
    if (item.name.empty()) corrupt(name + ": field " + field + ": one has no name");
    if (!met.insert(item.name).second) {
      corrupt(name + ": field " + field + ": " + core::in_quotes(item.name) + " is defined twice");
    }
  }
}

/// An initializer may stand for an input of the same name, if it is such a tensor.
void check_default(const PortProto& port, core::DType dtype, const core::Shape& shape,
                   const std::string& name) {
  const core::DType expected = element_type(*port.type, name);
  bool same = dtype == expected && shape.size() == port.shape.size();
  for (std::size_t i = 0; same && i < shape.size(); ++i) {
    same = port.shape[i].size.value_or(shape[i]) == shape[i];
  }
  if (same) return;
  corrupt(name + ": field input: " + core::in_quotes(port.name) +
          " is of another type or shape than the initializer (" + std::string(core::dtype_name(dtype)) + " " +
          core::shape_text(shape) + ") that stands for it");
}

class NodeChecks {
 public:
  NodeChecks(const ModelProto& model, const std::string& name) : model_(model), name_(name) {
    const auto found = model.opsets.find("");
    if (found != model.opsets.end()) opset_ = static_cast<int>(found->second);
  }

  void check(const NodeProto& proto) const {
    const Node& node = proto.node;
    if (!node.domain.empty()) return check_domain(node);
    if (is_simplified_norm(node)) return;
    if (opset_ == 0) {
      corrupt(where(node) + " uses the standard domain, which opset_import does not list");
    }
    // ONNX Runtime's optimizer writes it into files of older opsets, too.
    const bool early = node.op == "LayerNormalization";
    const Signature* const known = signature(node.op, early ? std::max(opset_, 17) : opset_);
    if (known == nullptr) {
      throw core::Unsupported(where(node) + ", field op_type: opset " + std::to_string(opset_) +
                              " has no operator " + core::in_quotes(node.op) + " that this version knows");
    }
    check_count(node, "input", node.inputs.size(), known->fewest_inputs, known->most_inputs);
    check_count(node, "output", node.outputs.size(), 1, known->most_outputs);
    check_attributes(proto, *known);
  }

 private:
  [[nodiscard]] std::string where(const Node& node) const { return name_ + ": " + described(node); }

  void check_domain(const Node& node) const {
    if (!model_.opsets.contains(node.domain)) {
      corrupt(where(node) + ", field domain: " + core::in_quotes(node.domain) +
              " is not listed in opset_import");
    }
    const auto begins = [&](std::string_view domain) { return node.domain.starts_with(domain); };
    if (std::ranges::any_of(kOtherDomains, begins)) return;
    throw core::Unsupported(where(node) + ", field domain: " + core::in_quotes(node.domain) +
                            " is unknown; allowed are the standard domain, com.microsoft, ai.onnx.ml, "
                            "ai.onnx.training, ai.onnx.preview and functions that the model itself defines");
  }

  void check_count(const Node& node, const char* what, std::size_t found, int fewest, int most) const {
    const auto count = static_cast<std::int64_t>(found);
    if (count >= fewest && count <= most) return;
    const std::string allowed = most == kAny     ? std::to_string(fewest) + " or more"
                                : fewest == most ? std::to_string(fewest)
                                                 : std::to_string(fewest) + " to " + std::to_string(most);
    corrupt(where(node) + ", field " + what + ": " + std::to_string(found) + " " + what + "s; opset " +
            std::to_string(opset_) + " allows " + allowed);
  }

  void check_attributes(const NodeProto& proto, const Signature& known) const {
    Names met;
    for (const AttributeProto& attribute : proto.attributes) {
      const std::string what = core::in_quotes(attribute.name);
      if (!known.allows(attribute.name)) {
        corrupt(where(proto.node) + ", field attribute: opset " + std::to_string(opset_) +
                " has no attribute " + what + " of " + proto.node.op +
                (known.attributes.empty() ? "" : " (it has " + std::string(known.attributes) + ")"));
      }
      if (!met.insert(attribute.name).second) {
        corrupt(where(proto.node) + ", field attribute: " + what + " is there twice");
      }
    }
    std::string_view rest = known.attributes;
    while (!rest.empty()) {
      const std::size_t end = std::min(rest.find(' '), rest.size());
      const std::string_view one = rest.substr(0, end);
      rest.remove_prefix(std::min(end + 1, rest.size()));
      if (!one.ends_with('!') || met.contains(one.substr(0, one.size() - 1))) continue;
      corrupt(where(proto.node) + ", field attribute: " + core::in_quotes(one.substr(0, one.size() - 1)) +
              " is required");
    }
  }

  const ModelProto& model_;
  const std::string& name_;
  int opset_ = 0;
};

/// The node inputs and outputs of the whole graph against what is defined.
void check_uses(const ModelProto& model, Names defined, const std::string& name) {
  for (const NodeProto& proto : model.nodes) {
    for (const std::string& output : proto.node.outputs) {
      if (!output.empty() && !defined.insert(output).second) {
        corrupt(name + ": " + described(proto.node) + ", field output: " + core::in_quotes(output) +
                " is defined twice");
      }
    }
  }
  for (const NodeProto& proto : model.nodes) {
    for (const std::string& input : proto.node.inputs) {
      if (input.empty() || defined.contains(input)) continue;
      corrupt(name + ": " + described(proto.node) + ", field input: " + core::in_quotes(input) +
              " is defined nowhere" + suggestion(input, defined));
    }
  }
  for (const PortProto& port : model.outputs) {
    if (defined.contains(port.name)) continue;
    corrupt(name + ": field output: no node makes " + core::in_quotes(port.name) +
            suggestion(port.name, defined));
  }
}

}  // namespace

void check_header(const ModelProto& model, const std::string& name) {
  if (!model.has_graph || (model.nodes.empty() && model.outputs.empty())) {
    corrupt(name + ": it holds no graph (field 'graph'); no ONNX model");
  }
  if (model.ir_version > kNewestIr) {
    throw core::Unsupported(name + ": ir_version is " + std::to_string(model.ir_version) +
                            ", this version knows up to " + std::to_string(kNewestIr));
  }
  if (model.ir_version < 3) {
    throw core::Unsupported(name + ": ir_version is " + std::to_string(model.ir_version) +
                            "; 3 is the first that says which operators a model uses");
  }
  check_opset(model, name);
  if (model.name.empty()) corrupt(name + ": field name of the graph is empty");
  check_unique(model.initializers, "initializer", name);
  check_unique(model.inputs, "input", name);
  check_unique(model.outputs, "output", name);
  if (model.outputs.empty()) corrupt(name + ": field output: the graph has none");
  for (const PortProto& port : model.inputs) check_port(port, "input", false, name);
  for (const PortProto& port : model.outputs) check_port(port, "output", true, name);
}

void check_nodes(const ModelProto& model, const OnnxOptions& options, const std::string& name) {
  Names defined;
  std::unordered_map<std::string_view, std::pair<core::DType, const core::Shape*>> tensors;
  for (const TensorReader::Named& t : model.initializers) {
    tensors[t.name] = {t.tensor.dtype(), &t.tensor.shape()};
  }
  for (const auto& [tensor, kind] : options.stored) {
    if (!tensors.emplace(tensor, std::pair(kind.first, &kind.second)).second) {
      corrupt(name + ": field initializer: " + core::in_quotes(tensor) + " is defined twice");
    }
  }
  for (const auto& [tensor, kind] : tensors) defined.insert(tensor);
  for (const PortProto& port : model.inputs) {
    const auto found = tensors.find(port.name);
    if (found != tensors.end()) check_default(port, found->second.first, *found->second.second, name);
    defined.insert(port.name);
  }
  const NodeChecks checks(model, name);
  for (const NodeProto& node : model.nodes) checks.check(node);
  check_uses(model, std::move(defined), name);
}

}  // namespace rdquant::graph
