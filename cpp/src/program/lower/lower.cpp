#include <algorithm>
#include <unordered_map>
#include <utility>

#include "program/composite/composite.hpp"
#include "program/fuse/fuse.hpp"
#include "program/lower/lowering.hpp"
#include "rdquant/core/error.hpp"
#include "rdquant/graph/onnx.hpp"

namespace rdquant::program {
namespace {

const Rules& rules() {
  static const Rules all = [] {
    Rules table;
    add_activation_rules(table);
    add_arithmetic_rules(table);
    add_convolution_rules(table);
    add_einsum_rules(table);
    add_index_rules(table);
    add_int8_rules(table);
    add_normalization_rules(table);
    add_pool_rules(table);
    add_product_rules(table);
    add_quantization_rules(table);
    add_recurrence_rules(table);
    add_reduction_rules(table);
    add_resize_rules(table);
    add_sample_rules(table);
    add_shape_rules(table);
    add_signal_rules(table);
    add_source_rules(table);
    return table;
  }();
  return all;
}

using Names = std::unordered_map<std::string, ValueId>;

void check_port(const graph::Port& port, const core::Shape& shape) {
  bool fits = port.shape.size() == shape.size();
  for (std::size_t i = 0; fits && i < shape.size(); ++i) {
    fits = shape[i] >= 0 && (!port.shape[i] || *port.shape[i] == shape[i]);
  }
  if (fits) return;
  std::string wanted = "[";
  for (const auto& size : port.shape) {
    wanted += (wanted.size() > 1 ? ", " : "") + (size ? std::to_string(*size) : std::string("?"));
  }
  throw core::InvalidArgument("input '" + port.name + "' (" + std::string(core::dtype_name(port.dtype)) +
                              " " + wanted + "]): got shape " + core::shape_text(shape));
}

void add_inputs(Builder& builder, Names& names, const graph::Graph& graph,
                const std::map<std::string, core::Shape>& shapes) {
  for (const graph::Port& port : graph.inputs) {
    const auto found = shapes.find(port.name);
    if (found == shapes.end()) throw core::InvalidArgument("no shape is given for input '" + port.name + "'");
    check_port(port, found->second);
    const ValueId id = builder.add_input(port.name, port.dtype, found->second);
    builder.program().inputs.push_back(id);
    names[port.name] = id;
  }
}

/// Initializers in the order in which nodes first use them, so that dumps are stable.
void add_initializers(Builder& builder, Names& names, const graph::Graph& graph) {
  const auto add = [&](const std::string& name) {
    const auto found = graph.initializers.find(name);
    if (found == graph.initializers.end() || names.contains(name)) return;
    names[name] = builder.add_initializer(name, found->second);
  };
  for (const graph::Node& node : graph.nodes) std::ranges::for_each(node.inputs, add);
  for (const graph::Port& port : graph.outputs) add(port.name);
}

/// What to do about an operator of ONNX Runtime that the engine lacks; "" for others.
std::string advice(const graph::Node& node) {
  if (node.domain == "com.microsoft.nchwc") {
    return ", for it fits only the machine on which ONNX Runtime optimized the file: save it at the level "
           "ORT_ENABLE_EXTENDED";
  }
  if (node.domain != "com.microsoft") return "";
  std::string known;
  for (const auto& [name, kind] : composites()) {
    if (name.starts_with("com.microsoft."))
      known += (known.empty() ? "" : ", ") + std::string(name.substr(14));
  }
  return "; those of its domain that are: " + known;
}

Rule rule_of(const graph::Node& node) {
  const auto rule = node.domain.empty() || node.domain == "ai.onnx" ? rules().find(node.op) : rules().end();
  if (rule == rules().end()) {
    throw core::Unsupported(graph::describe(node) + ": the operator is not supported" + advice(node));
  }
  return rule->second;
}

/// `part` is `node`, or one of those that stand for it.
void lower_part(Builder& builder, Names& names, const graph::Node& part, const graph::Node& node, int opset) {
  const Rule rule = rule_of(part);
  Lowering lowering(builder, names, part, opset);
  try {
    rule(lowering);
  } catch (const core::Error& error) {
    const std::string what = error.what(), where = graph::describe(node);
    if (what.starts_with(where)) throw;
    if (dynamic_cast<const core::Unsupported*>(&error) != nullptr)
      throw core::Unsupported(where + ": " + what);
    throw core::InvalidArgument(where + ": " + what);
  }
}

/// Composites mean the same at every opset: what they stand for is written as the newest one has it.
void lower_node(Builder& builder, Names& names, const graph::Node& node, int opset) {
  const CompositeKind* const kind = composite_of(node);
  if (kind == nullptr) return lower_part(builder, names, node, node, opset);
  const Composite::Surroundings surroundings = {
      [&](const graph::Node& part) { lower_part(builder, names, part, node, graph::kNewestOpset); },
      [&](const std::string& name) -> const core::Shape& {
        const auto found = names.find(name);
        if (found == names.end())
          throw core::InvalidArgument(graph::describe(node) + ": input '" + name + "' is made by no node");
        return builder.value(found->second).shape;
      }};
  lower_composite(*kind, node, surroundings);
}

constexpr std::size_t kMostAxes = 64;  // NumPy's

void name_the_rest(Program& program) {
  for (std::size_t i = 0; i < program.values.size(); ++i) {
    if (program.values[i].name.empty()) program.values[i].name.append("#").append(std::to_string(i));
  }
}

}  // namespace

Program lower(const graph::Graph& graph, const std::map<std::string, core::Shape>& input_shapes,
              const LowerOptions& options) {
  Program program;
  program.name = graph.name;
  Builder builder(program);
  Names names;
  add_inputs(builder, names, graph, input_shapes);
  add_initializers(builder, names, graph);
  for (const graph::Node& node : graph.nodes) lower_node(builder, names, node, graph.opset);
  for (const graph::Port& port : graph.outputs) {
    const auto found = names.find(port.name);
    if (found == names.end()) throw core::InvalidArgument("output '" + port.name + "' is made by no node");
    const std::size_t rank = program.values[static_cast<std::size_t>(found->second)].shape.size();
    if (rank > kMostAxes) {
      throw core::InvalidArgument("output '" + port.name + "' has " + std::to_string(rank) + " axes; " +
                                  std::to_string(kMostAxes) + " are the most that arrays have");
    }
    program.outputs.push_back(found->second);
  }
  widen_halves(program);
  remove_dead(program);
  if (options.fuse) {
    fuse(program);
    fuse_int8(program);
    nest_concats(program);
  }
  make_constants(program);
  name_the_rest(program);
  return program;
}

void check_operators(const graph::Graph& graph) {
  for (const graph::Node& node : graph.nodes) {
    if (composite_of(node) == nullptr) static_cast<void>(rule_of(node));
  }
}

std::vector<std::string> operators() {
  std::vector<std::string> names;
  for (const auto& [name, kind] : composites()) names.emplace_back(name);
  for (const auto& [name, rule] : rules()) names.emplace_back(name);
  std::ranges::sort(names);
  return names;
}

}  // namespace rdquant::program
