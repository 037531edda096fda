// Operators on levels (the form QOperator) as what they mean: DequantizeLinear, the operator on floats, QuantizeLinear (the
// form QDQ).
#include <cstdint>
#include <utility>

#include "program/composite/composite.hpp"

namespace rdquant::program {
namespace {

constexpr std::int64_t kFloat32 = 1;  // ONNX's number

/// Numbers of the levels at input `i`, whose scale and zero points follow them.
std::string numbers(Composite& node, std::size_t i, std::int64_t axis = 1) {
  return node.add("DequantizeLinear", {node.input(i), node.input(i + 1), node.input(i + 2)},
                  {{"axis", axis}});
}

/// Makes the node's output of numbers: the scale is input `i`, the zero points follow it.
void levels(Composite& node, std::string numbers, std::size_t i, std::int64_t axis = 1) {
  if (!node.has(i + 1)) node.refuse("an output without zero points");
  node.add("QuantizeLinear", {std::move(numbers), node.input(i), node.input(i + 1)}, {{"axis", axis}},
           node.output());
}

/// Images with channels last are not taken.
void channels_first(const Composite& node) {
  if (node.integer("channels_last") != 0) node.refuse("channels_last");
}

/// x, w and y with scale and zero points each, bias. The bias counts in steps of the sums' scale, s_x · s_w.
void level_convolution(Composite& node) {
  Strings inputs = {numbers(node, 0), numbers(node, 3, 0)};
  if (node.has(8)) {
    const std::string scale = node.add("Mul", {node.input(1), node.input(4)});
    inputs.push_back(node.add("DequantizeLinear", {node.input(8), scale}, {{"axis", std::int64_t{0}}}));
  }
  levels(node, node.add("Conv", std::move(inputs), node.attributes()), 6);
}

/// a, b and y with scale and zero points each: a number, or a vector along the rows of a and y, the columns
/// of b. Scales may be float16; the product is computed in float32.
void level_product(Composite& node) {
  const auto wide = [&](std::size_t i) { return node.add("Cast", {node.input(i)}, {{"to", kFloat32}}); };
  const auto wide_numbers = [&](std::size_t i, std::int64_t axis) {
    return node.add("DequantizeLinear", {node.input(i), wide(i + 1), node.input(i + 2)}, {{"axis", axis}});
  };
  const std::string a = wide_numbers(0, -2), b = wide_numbers(3, -1);
  levels(node, node.add("MatMul", {a, b}), 6, -2);
}

void level_binary(Composite& node, std::string op) {
  const std::string a = numbers(node, 0), b = numbers(node, 3);
  levels(node, node.add(std::move(op), {a, b}), 6);
}

void level_unary(Composite& node, std::string op) {
  channels_first(node);
  levels(node, node.add(std::move(op), {numbers(node, 0)}, node.attributes()), 3);
}

/// Its meaning follows an attribute, not the model's opset; before 13 it flattened the axes that follow.
void level_softmax(Composite& node) {
  if (node.integer("opset", 13) < 13) node.refuse("opset < 13");
  const Attributes axis = {{"axis", node.integer("axis", -1)}};
  levels(node, node.add("Softmax", {numbers(node, 0)}, axis), 3);
}

/// Scale and zero point of y, then each part with its own.
void level_concat(Composite& node) {
  Strings parts;
  for (std::size_t i = 2; i < node.inputs(); i += 3) parts.push_back(numbers(node, i));
  levels(node, node.add("Concat", std::move(parts), node.attributes()), 0);
}

/// a, b with scale and zero points, c, y's. c counts in steps of alpha · s_a · s_b; without y's scale y is
/// float.
void level_gemm(Composite& node) {
  const bool transposed = node.integer("transB") != 0;
  Strings inputs = {numbers(node, 0), numbers(node, 3, transposed ? 0 : 1)};
  Attributes attributes = node.attributes();
  if (node.has(6)) {
    const std::string scale = node.add("Mul", {node.input(1), node.input(4)});
    inputs.push_back(node.add("DequantizeLinear", {node.input(6), scale}, {{"axis", std::int64_t{-1}}}));
    attributes["beta"] = node.attribute("alpha", 1.0F);
  }
  const bool quantized = node.has(7);
  std::string y =
      node.add("Gemm", std::move(inputs), std::move(attributes), quantized ? std::string() : node.output());
  if (quantized) levels(node, std::move(y), 7);
}

/// ONNX Runtime's QuantizeLinear and DequantizeLinear mean what ONNX's do.
void same(Composite& node, std::string op) {
  Strings inputs;
  for (std::size_t i = 0; i < node.inputs(); ++i) inputs.push_back(node.input(i));
  node.add(std::move(op), std::move(inputs), node.attributes(), node.output());
}

/// Sums of products of levels, times both scales, and the bias, input `bias`.
void scaled_sums(Composite& node, const Strings& levels, const std::string& scales, std::size_t bias) {
  const std::string sums = node.add("MatMulInteger", levels);
  const std::string floats = node.add("Cast", {sums}, {{"to", kFloat32}});
  const bool more = node.has(bias);
  const std::string y = node.add("Mul", {floats, scales}, {}, more ? std::string() : node.output());
  if (more) node.add("Add", {y, node.input(bias)}, {}, node.output());
}

/// a, b, their scales, their zero points, bias.
void product_to_floats(Composite& node) {
  scaled_sums(node, {node.input(0), node.input(1), node.input(4), node.input(5)},
              node.add("Mul", {node.input(2), node.input(3)}), 6);
}

/// a of floats; b, its scale and zero points; bias.
void dynamic_product(Composite& node) {
  const Strings a = node.add_all("DynamicQuantizeLinear", {node.input(0)}, {}, Strings(3));
  scaled_sums(node, {a[0], node.input(1), a[2], node.input(3)}, node.add("Mul", {a[1], node.input(2)}), 4);
}

/// The weight at input `i` [directions, from, rows] as LSTM has it, [directions, rows, from]; its scale is input
/// `scale`, its zero points follow.
std::string recurrent_weight(Composite& node, std::size_t i, std::size_t scale) {
  const core::Shape shape = node.shape(node.input(i)), scales = node.shape(node.input(scale));
  node.check(shape.size() == 3, "weights of three axes are wanted");
  const bool rows = core::element_count(scales) == shape[0] * shape[2] && scales.size() == 2;
  if (rows && shape[0] != 1) node.refuse("a scale for each row of weights of two directions");
  const std::string turned =
      node.add("Transpose", {node.input(i)}, {{"perm", std::vector<std::int64_t>{0, 2, 1}}});
  Strings inputs = {turned};
  for (const std::size_t one : {scale, scale + 1}) {
    if (node.has(one)) inputs.push_back(node.reshaped(node.input(one), {rows ? shape[2] : shape[0]}));
  }
  return node.add("DequantizeLinear", std::move(inputs), {{"axis", std::int64_t{rows ? 1 : 0}}});
}

/// LSTM's inputs, W and R of levels; then scale and zero points of both. ONNX Runtime also rounds inputs and states to levels;
/// here they stay floats, as in files of the form QDQ.
void lstm_of_levels(Composite& node) {
  Strings inputs;
  for (std::size_t i = 0; i < 8; ++i) inputs.push_back(node.input(i));
  inputs[1] = recurrent_weight(node, 1, 8);
  inputs[2] = recurrent_weight(node, 2, 10);
  Strings outputs;
  for (std::size_t i = 0; i < node.node().outputs.size(); ++i) outputs.push_back(node.output(i));
  node.add_all("LSTM", std::move(inputs), node.attributes(), std::move(outputs));
}

}  // namespace

void add_level_composites(CompositeKinds& kinds) {
  kinds["QLinearConv"] = {level_convolution};
  kinds["QLinearMatMul"] = {level_product};
  kinds["com.microsoft.QGemm"] = {level_gemm};
  kinds["com.microsoft.QLinearAdd"] = {[](Composite& n) { level_binary(n, "Add"); }};
  kinds["com.microsoft.QLinearMul"] = {[](Composite& n) { level_binary(n, "Mul"); }};
  kinds["com.microsoft.QLinearSigmoid"] = {[](Composite& n) { level_unary(n, "Sigmoid"); }};
  kinds["com.microsoft.QLinearLeakyRelu"] = {[](Composite& n) { level_unary(n, "LeakyRelu"); }};
  kinds["com.microsoft.QLinearAveragePool"] = {[](Composite& n) { level_unary(n, "AveragePool"); }};
  kinds["com.microsoft.QLinearGlobalAveragePool"] = {
      [](Composite& n) { level_unary(n, "GlobalAveragePool"); }};
  kinds["com.microsoft.QLinearConcat"] = {level_concat};
  kinds["com.microsoft.QLinearSoftmax"] = {level_softmax};
  kinds["com.microsoft.MatMulIntegerToFloat"] = {product_to_floats};
  kinds["com.microsoft.DynamicQuantizeMatMul"] = {dynamic_product};
  kinds["com.microsoft.DynamicQuantizeLSTM"] = {lstm_of_levels, 3};
  kinds["com.microsoft.QuantizeLinear"] = {[](Composite& n) { same(n, "QuantizeLinear"); }};
  kinds["com.microsoft.DequantizeLinear"] = {[](Composite& n) { same(n, "DequantizeLinear"); }};
}

}  // namespace rdquant::program
