#include "program/composite/composite.hpp"

#include <algorithm>
#include <utility>

#include "rdquant/core/error.hpp"

namespace rdquant::program {

Composite::Composite(const graph::Node& node, const Surroundings& surroundings)
    : node_(node), surroundings_(surroundings) {
  const auto named =
      std::ranges::find_if(node.outputs, [](const std::string& name) { return !name.empty(); });
  prefix_ = (named == node.outputs.end() ? node.name : *named) + "#";
}

std::string Composite::fresh() { return prefix_ + std::to_string(count_++); }

std::string Composite::add(std::string op, Strings inputs, Attributes attributes, std::string output) {
  return add_all(std::move(op), std::move(inputs), std::move(attributes), {std::move(output)}).front();
}

Strings Composite::add_all(std::string op, Strings inputs, Attributes attributes, Strings outputs) {
  for (std::string& output : outputs) {
    if (output.empty()) output = fresh();
  }
  surroundings_.lower({std::move(op), "", node_.name, std::move(inputs), outputs, std::move(attributes)});
  return outputs;
}

std::string Composite::integers(std::vector<std::int64_t> values) {
  return add("Constant", {}, {{"value_ints", std::move(values)}});
}

std::string Composite::counted(std::int64_t count) {
  const auto scalar = [&](std::int64_t value) { return add("Constant", {}, {{"value_int", value}}); };
  return add("Range", {scalar(0), scalar(count), scalar(1)});
}

std::string Composite::number(float value, const std::string& like) {
  return add("CastLike", {add("Constant", {}, {{"value_float", value}}), like});
}

std::string Composite::reshaped(const std::string& x, std::vector<std::int64_t> shape, std::string output) {
  return add("Reshape", {x, integers(std::move(shape))}, {}, std::move(output));
}

Strings Composite::parts(const std::string& x, std::int64_t axis, const std::vector<std::int64_t>& sizes) {
  return add_all("Split", {x, integers(sizes)}, {{"axis", axis}}, Strings(sizes.size()));
}

std::string Composite::sum(const std::string& a, const std::string& b) {
  if (a.empty() || b.empty()) return a.empty() ? b : a;
  return add("Add", {a, b});
}

void Composite::refuse(const std::string& what) const {
  throw core::Unsupported(graph::describe(node_) + ": " + what + " is not supported");
}

void Composite::check(bool condition, const std::string& what) const {
  if (!condition) throw core::InvalidArgument(graph::describe(node_) + ": " + what);
}

const CompositeKinds& composites() {
  static const CompositeKinds all = [] {
    CompositeKinds kinds;
    add_level_composites(kinds);
    add_fused_composites(kinds);
    add_norm_composites(kinds);
    add_attention_composites(kinds);
    return kinds;
  }();
  return all;
}

const CompositeKind* composite_of(const graph::Node& node) {
  const bool standard = node.domain.empty() || node.domain == "ai.onnx";
  const auto found = composites().find(standard ? node.op : node.domain + "." + node.op);
  if (found == composites().end()) return nullptr;
  const std::size_t outputs = node.outputs.size(), most = found->second.most_outputs;
  if (outputs == 0 || node.outputs[0].empty() || outputs > most) {
    throw core::InvalidArgument(graph::describe(node) + ": it has " + std::to_string(outputs) +
                                " outputs; allowed are 1 to " + std::to_string(most) +
                                ", of which the first is not left out");
  }
  return &found->second;
}

void lower_composite(const CompositeKind& kind, const graph::Node& node,
                     const Composite::Surroundings& surroundings) {
  Composite composite(node, surroundings);
  kind.rule(composite);
}

}  // namespace rdquant::program
