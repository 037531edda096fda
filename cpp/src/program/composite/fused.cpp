// Activations, convolutions and products as ONNX Runtime's optimizer joins them.
#include <algorithm>
#include <utility>

#include "program/composite/composite.hpp"
#include "rdquant/core/text.hpp"

namespace rdquant::program {
namespace {

using Numbers = std::vector<float>;

void gelu_of_sum(Composite& node, const std::string& approximate) {
  node.add("Gelu", {node.sum(node.input(0), node.input(1))}, {{"approximate", approximate}}, node.output());
}

void quick_gelu(Composite& node) {
  node.add("Swish", {node.input(0)}, {{"alpha", node.real("alpha", 1.702F)}}, node.output());
}

/// The activation of that name; `parameters` are those that its operator has, in ONNX's order, or none.
void activate(Composite& node, const std::string& x, const std::string& name, const Numbers& parameters) {
  static const std::map<std::string_view, Strings> kKnown = {{"Relu", {}},
                                                             {"Tanh", {}},
                                                             {"Sigmoid", {}},
                                                             {"Softplus", {}},
                                                             {"Softsign", {}},
                                                             {"HardSwish", {}},
                                                             {"LeakyRelu", {"alpha"}},
                                                             {"Elu", {"alpha"}},
                                                             {"Celu", {"alpha"}},
                                                             {"ThresholdedRelu", {"alpha"}},
                                                             {"HardSigmoid", {"alpha", "beta"}},
                                                             {"Selu", {"alpha", "gamma"}},
                                                             {"Clip", {"min", "max"}}};
  const auto found = kKnown.find(name);
  if (found == kKnown.end()) {
    node.refuse("activation " + core::in_quotes(name) +
                " (known are Relu, Tanh, Sigmoid, Softplus, Softsign, HardSwish, LeakyRelu, Elu, Celu, "
                "ThresholdedRelu, HardSigmoid, Selu and Clip)");
  }
  const Strings& names = found->second;
  node.check(parameters.empty() || parameters.size() >= names.size(),
             name + " has " + std::to_string(names.size()) + " parameters, not " +
                 std::to_string(parameters.size()));
  Strings inputs = {x};
  Attributes attributes;
  for (std::size_t i = 0; i < std::min(names.size(), parameters.size()); ++i) {
    if (name == "Clip") {
      inputs.push_back(node.number(parameters[i], x));
    } else {
      attributes[names[i]] = parameters[i];
    }
  }
  node.add(name, std::move(inputs), std::move(attributes), node.output());
}

/// x, w, bias, and what is added before the activation.
void fused_convolution(Composite& node) {
  Attributes attributes = node.attributes();
  for (const char* own : {"activation", "activation_params"}) attributes.erase(own);
  const std::string activation = node.attribute("activation", std::string());
  const bool adds = node.has(3), bends = !activation.empty();
  std::string y = node.add("Conv", {node.input(0), node.input(1), node.input(2)}, std::move(attributes),
                           adds || bends ? std::string() : node.output());
  if (adds) y = node.add("Add", {y, node.input(3)}, {}, bends ? std::string() : node.output());
  if (bends) activate(node, y, activation, node.attribute("activation_params", Numbers()));
}

/// Gemm, then an activation, whose parameters are attributes of this operator.
void fused_gemm(Composite& node) {
  Attributes attributes;
  for (const auto& [name, value] : node.attributes()) {
    if (!name.starts_with("activation")) attributes[name] = value;
  }
  const std::string y =
      node.add("Gemm", {node.input(0), node.input(1), node.input(2)}, std::move(attributes));
  Numbers parameters;
  for (const char* name : {"activation_alpha", "activation_beta", "activation_gamma"}) {
    if (node.attributes().contains(name)) parameters.push_back(node.real(name, 0));
  }
  activate(node, y, node.attribute("activation", std::string()), parameters);
}

/// `x` with its last two axes exchanged where `across`; `batched`: its rows lie before the axes of the batch.
std::string turned(Composite& node, const std::string& x, bool across, bool batched) {
  const auto rank = std::ssize(node.shape(x));
  if (rank < 2 || (!across && !batched)) return x;
  std::vector<std::int64_t> order;
  for (std::int64_t i = 0; i < rank; ++i) order.push_back(i);
  if (batched) std::rotate(order.begin(), order.begin() + 1, order.end() - 1);
  if (across) std::swap(order[order.size() - 1], order[order.size() - 2]);
  return node.add("Transpose", {x}, {{"perm", std::move(order)}});
}

void fused_product(Composite& node) {
  const auto side = [&](std::size_t i, const std::string& name) {
    return turned(node, node.input(i), node.integer("trans" + name) != 0,
                  node.integer("transBatch" + name) != 0);
  };
  const std::string a = side(0, "A"), b = side(1, "B");
  const float alpha = node.real("alpha", 1);
  const std::string y = node.add("MatMul", {a, b}, {}, alpha == 1 ? node.output() : std::string());
  if (alpha != 1) node.add("Mul", {y, node.number(alpha, y)}, {}, node.output());
}

}  // namespace

void add_fused_composites(CompositeKinds& kinds) {
  kinds["com.microsoft.Gelu"] = {[](Composite& n) { gelu_of_sum(n, "none"); }};
  kinds["com.microsoft.BiasGelu"] = {[](Composite& n) { gelu_of_sum(n, "none"); }};
  kinds["com.microsoft.FastGelu"] = {[](Composite& n) { gelu_of_sum(n, "tanh"); }};
  kinds["com.microsoft.QuickGelu"] = {quick_gelu};
  kinds["com.microsoft.FusedConv"] = {fused_convolution};
  kinds["com.microsoft.FusedGemm"] = {fused_gemm};
  kinds["com.microsoft.FusedMatMul"] = {fused_product};
}

}  // namespace rdquant::program
