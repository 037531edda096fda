// A model's own functions put in place of the nodes that call them.
#include <algorithm>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "graph/proto.hpp"
#include "rdquant/core/error.hpp"
#include "rdquant/core/text.hpp"

namespace rdquant::graph {
namespace {

constexpr std::size_t kMostSteps = std::size_t{1} << 18;  // nodes and calls: calls within calls multiply
constexpr std::size_t kMostText = std::size_t{64} << 20;  // bytes of names and attributes in it
constexpr std::size_t kMostDepth = 64;

using FunctionId = std::tuple<std::string, std::string, std::string>;  // domain, name, overload
using Renames = std::unordered_map<std::string, std::string>;

class Inliner {
 public:
  Inliner(ModelProto& model, const std::string& name) : model_(model), name_(name) {
    for (const FunctionProto& function : model.functions) {
      if (!functions_.emplace(id_of(function.domain, function.name, function.overload), &function).second) {
        throw core::CorruptFile(name_ + ": field functions: " + core::in_quotes(function.name) +
                                " is defined twice");
      }
    }
  }

  void run() {
    for (const NodeProto& node : model_.nodes) take_names(node.node);
    for (const TensorReader::Named& tensor : model_.initializers) used_.insert(tensor.name);
    for (const PortProto& port : model_.inputs) used_.insert(port.name);
    std::vector<NodeProto> nodes;
    nodes.swap(model_.nodes);
    for (NodeProto& node : nodes) add(std::move(node));
    model_.nodes = std::move(flat_);
    model_.functions.clear();
  }

 private:
  static FunctionId id_of(const std::string& domain, const std::string& name, const std::string& overload) {
    return {domain, name, overload};
  }

  void take_names(const Node& node) {
    used_.insert(node.inputs.begin(), node.inputs.end());
    used_.insert(node.outputs.begin(), node.outputs.end());
  }

  /// Appends a node of the main graph's names, or what it calls.
  void add(NodeProto node) {
    const auto found = functions_.find(id_of(node.node.domain, node.node.op, node.overload));
    if (found != functions_.end()) return call(node, *found->second);
    for (const AttributeProto& attribute : node.attributes) {
      if (attribute.reference.empty()) continue;
      throw core::CorruptFile(name_ + ": " + described(node.node) + ": attribute " +
                              core::in_quotes(attribute.name) +
                              " refers to one of a function, but is in none");
    }
    spend(size_of(node));
    flat_.push_back(std::move(node));
  }

  /// Counts what a node or a call takes.
  void spend(std::size_t bytes) {
    text_ += bytes;
    if (++steps_ <= kMostSteps && text_ <= kMostText) return;
    throw core::Unsupported(name_ + ": field functions: put in place of calls they give too large a graph");
  }

  static std::size_t size_of(const NodeProto& node) {
    std::size_t size = node.node.name.size();
    for (const auto* names : {&node.node.inputs, &node.node.outputs}) {
      for (const std::string& name : *names) size += name.size() + sizeof(std::string);
    }
    for (const AttributeProto& attribute : node.attributes) {
      size += sizeof(AttributeProto) + attribute.name.size();
      if (const auto* list = std::get_if<std::vector<std::int64_t>>(&attribute.value))
        size += list->size() * 8;
      if (const auto* list = std::get_if<std::vector<float>>(&attribute.value)) size += list->size() * 4;
      if (const auto* text = std::get_if<std::string>(&attribute.value)) size += text->size();
      if (const auto* list = std::get_if<std::vector<std::string>>(&attribute.value)) {
        for (const std::string& text : *list) size += sizeof(std::string) + text.size();
      }
    }
    return size;
  }

  void check_call(const NodeProto& call, const FunctionProto& function) const {
    const std::string where = name_ + ": " + described(call.node) + ": ";
    if (std::ranges::find(open_, &function) != open_.end()) {
      throw core::CorruptFile(where + "the function calls itself");
    }
    if (open_.size() == kMostDepth) {
      throw core::Unsupported(where + "functions call functions deeper than " + std::to_string(kMostDepth) +
                              " levels");
    }
    if (call.node.inputs.size() > function.inputs.size() ||
        call.node.outputs.size() > function.outputs.size()) {
      throw core::CorruptFile(where + std::to_string(call.node.inputs.size()) + " inputs and " +
                              std::to_string(call.node.outputs.size()) + " outputs, the function has " +
                              std::to_string(function.inputs.size()) + " and " +
                              std::to_string(function.outputs.size()));
    }
    const auto own = function.opsets.find("");
    const auto all = model_.opsets.find("");
    if (own != function.opsets.end() && all != model_.opsets.end() && own->second != all->second) {
      throw core::Unsupported(where + "the function is written for opset " + std::to_string(own->second) +
                              ", the model for " + std::to_string(all->second));
    }
  }

  void call(const NodeProto& call, const FunctionProto& function) {
    check_call(call, function);
    spend((function.inputs.size() + function.outputs.size()) * sizeof(std::string));
    open_.push_back(&function);
    Renames names;  // of the function → of the main graph
    for (std::size_t i = 0; i < function.inputs.size(); ++i) {
      names[function.inputs[i]] = i < call.node.inputs.size() ? call.node.inputs[i] : "";
    }
    std::vector<NodeProto> copies;  // outputs that are inputs, or outputs again
    for (std::size_t i = 0; i < call.node.outputs.size(); ++i) {
      const std::string& to = call.node.outputs[i];
      if (to.empty()) continue;
      const auto [at, fresh] = names.emplace(function.outputs[i], to);
      if (!fresh) copies.push_back({Node{"Identity", "", call.node.name, {at->second}, {to}, {}}, "", {}});
    }
    for (const NodeProto& node : function.nodes) add(within(node, call, function, names));
    for (NodeProto& copy : copies) add(std::move(copy));
    open_.pop_back();
  }

  /// A function's node as it stands in the main graph.
  NodeProto within(const NodeProto& node, const NodeProto& call, const FunctionProto& function,
                   Renames& names) {
    NodeProto out = {node.node, node.overload, {}};
    if (!call.node.name.empty()) out.node.name = call.node.name + "/" + node.node.name;
    for (auto* list : {&out.node.inputs, &out.node.outputs}) {
      for (std::string& value : *list) {
        if (value.empty()) continue;
        const auto [at, fresh] = names.emplace(value, "");
        if (fresh) at->second = unique(value);
        value = at->second;
      }
    }
    for (const AttributeProto& attribute : node.attributes) {
      if (attribute.reference.empty()) {
        out.attributes.push_back(attribute);
        continue;
      }
      // What neither the call nor the function gives is left out, as if the function did not name it.
      const auto named = [&](const AttributeProto& a) { return a.name == attribute.reference; };
      for (const auto* from : {&call.attributes, &function.defaults}) {
        const auto found = std::ranges::find_if(*from, named);
        if (found == from->end()) continue;
        out.attributes.push_back({attribute.name, found->reference, found->value});
        break;
      }
    }
    return out;
  }

  std::string unique(const std::string& value) {
    std::string name;
    do {
      name = value + "/" + std::to_string(++count_);
    } while (!used_.insert(name).second);
    text_ += name.size();
    return name;
  }

  ModelProto& model_;
  const std::string& name_;
  std::map<FunctionId, const FunctionProto*> functions_;
  std::unordered_set<std::string> used_;
  std::vector<const FunctionProto*> open_;
  std::vector<NodeProto> flat_;
  std::size_t count_ = 0, steps_ = 0, text_ = 0;
};

}  // namespace

void inline_functions(ModelProto& model, const std::string& name) {
  if (!model.functions.empty()) Inliner(model, name).run();
}

}  // namespace rdquant::graph
