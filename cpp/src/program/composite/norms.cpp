// Normalizations of sums, and of embeddings, as ONNX Runtime's optimizer joins them.
#include <utility>

#include "program/composite/composite.hpp"

namespace rdquant::program {
namespace {

constexpr std::int64_t kInt32 = 6;  // ONNX's number

/// The node's first three outputs from `x`: normalized along the last axis, means, inverse deviations.
void normalize(Composite& node, const std::string& x, const std::string& scale, const std::string& bias) {
  const Attributes attributes = {{"axis", std::int64_t{-1}}, {"epsilon", node.real("epsilon", 1e-12F)}};
  Strings outputs = {node.output(0)};
  for (std::size_t i = 1; i < 3 && i < node.node().outputs.size(); ++i) outputs.push_back(node.output(i));
  node.add_all("LayerNormalization", {x, scale, bias}, attributes, std::move(outputs));
}

/// Two inputs and a bias, added; also the node's fourth output.
std::string skipped(Composite& node, std::size_t bias) {
  const bool more = node.has(bias);
  const std::string both =
      node.add("Add", {node.input(0), node.input(1)}, {}, more ? std::string() : node.output(3));
  return more ? node.add("Add", {both, node.input(bias)}, {}, node.output(3)) : both;
}

/// x, skip, scale, and maybe the normalization's bias and the sum's.
void skip_layer(Composite& node) { normalize(node, skipped(node, 4), node.input(2), node.input(3)); }

void root_mean_square(Composite& node, const std::string& x, const std::string& scale, float epsilon) {
  if (node.wants(1) || node.wants(2)) node.refuse("an output of means or inverse deviations");
  node.add("RMSNormalization", {x, scale}, {{"axis", node.integer("axis", -1)}, {"epsilon", epsilon}},
           node.output());
}

/// x, skip, scale, and maybe the sum's bias.
void skip_simplified(Composite& node) {
  root_mean_square(node, skipped(node, 3), node.input(2), node.real("epsilon", 1e-12F));
}

void simplified(Composite& node) {
  root_mean_square(node, node.input(0), node.input(1), node.real("epsilon", 1e-5F));
}

/// Numbers of words and of segments, tables of words, places and segments, scale, bias, mask, places.
void embed(Composite& node) {
  const core::Shape ids = node.shape(node.input(0));
  node.check(ids.size() == 2,
             "numbers of words [batch, places] are wanted, they have shape " + core::shape_text(ids));
  const auto rows = [&](std::size_t table, std::size_t index) {
    return node.add("Gather", {node.input(table), node.input(index)});
  };
  std::string places;
  if (node.has(8)) {
    places = rows(3, 8);
  } else {
    places = node.add("Slice", {node.input(3), node.integers({0}), node.integers({ids[1]})});
  }
  std::string x = node.add("Add", {rows(2, 0), places}, {}, node.has(1) ? std::string() : node.output(2));
  if (node.has(1)) x = node.add("Add", {x, rows(4, 1)}, {}, node.output(2));
  const Attributes attributes = {{"axis", std::int64_t{-1}}, {"epsilon", node.real("epsilon", 1e-12F)}};
  node.add("LayerNormalization", {x, node.input(5), node.input(6)}, attributes, node.output());
  if (!node.wants(1)) return;
  if (!node.has(7)) {
    const std::string none = node.add("ConstantOfShape", {node.integers({ids[0]})});
    node.add("Cast", {none}, {{"to", kInt32}}, node.output(1));
    return;
  }
  node.add("ReduceSum", {node.input(7), node.integers({1})}, {{"keepdims", std::int64_t{0}}}, node.output(1));
}

}  // namespace

void add_norm_composites(CompositeKinds& kinds) {
  kinds["com.microsoft.SkipLayerNormalization"] = {skip_layer, 4};
  kinds["com.microsoft.SkipSimplifiedLayerNormalization"] = {skip_simplified, 4};
  kinds["com.microsoft.SimplifiedLayerNormalization"] = {simplified, 2};
  kinds["com.microsoft.EmbedLayerNormalization"] = {embed, 3};
}

}  // namespace rdquant::program
