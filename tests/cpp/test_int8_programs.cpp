// Int8 models: ranges of the data, exact sums, operators on levels rewritten in floats.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "rdquant/core/error.hpp"
#include "rdquant/program/evaluate.hpp"
#include "rdquant/program/program.hpp"

using namespace rdquant;
using core::DType;

namespace {

struct Dynamic {
  float scale = -1;
  int zero = -1;
  std::vector<int> levels;
};

Dynamic dynamic(const std::vector<float>& x) {
  const core::Shape shape = {static_cast<std::int64_t>(x.size())};
  core::Tensor in(DType::f32, shape), levels(DType::u8, shape), scale(DType::f32, {}), zero(DType::u8, {});
  std::ranges::copy(x, in.write().as<float>());
  const std::vector<core::TensorView> inputs = {in.view()};
  const std::vector<core::MutableTensorView> outputs = {levels.write(), scale.write(), zero.write()};
  program::evaluate({program::DynamicQuantize{}, {}, {}, "node"}, inputs, outputs);
  const auto* q = static_cast<const std::uint8_t*>(levels.data());
  return {*static_cast<const float*>(scale.data()),
          *static_cast<const std::uint8_t*>(zero.data()),
          {q, q + x.size()}};
}

core::Tensor number(float value) {
  core::Tensor tensor(DType::f32, {});
  *tensor.write().as<float>() = value;
  return tensor;
}

core::Tensor level(std::uint8_t value) {
  core::Tensor tensor(DType::u8, {});
  *tensor.write().as<std::uint8_t>() = value;
  return tensor;
}

/// y = a + b on levels, as ONNX Runtime says it.
graph::Graph sum_of_levels() {
  graph::Graph graph;
  graph.name = "levels";
  graph.opset = 13;
  graph.initializers = {{"s", number(0.5F)}, {"z", level(3)}};
  graph.nodes = {{"QLinearAdd", "com.microsoft", "sum", {"a", "s", "z", "b", "s", "z", "s", "z"}, {"y"}, {}}};
  graph.inputs = {{"a", DType::u8, {4}}, {"b", DType::u8, {4}}};
  graph.outputs = {{"y", DType::u8, {}}};
  return graph;
}

std::vector<std::string> operations(const program::Program& program) {
  std::vector<std::string> names;
  for (const program::Step& step : program.steps) names.emplace_back(program::operation_name(step.operation));
  return names;
}

}  // namespace

TEST_CASE("levels take the range of the data, which holds 0") {
  const Dynamic both = dynamic({-1, 0, 1.55F, 0.5F});
  CHECK(both.scale == 0.01F);
  CHECK(both.zero == 100);
  CHECK(both.levels == std::vector<int>{0, 100, 255, 150});
  const Dynamic above = dynamic({2, 255});
  CHECK(above.scale == 1.0F);
  CHECK(above.zero == 0);
  CHECK(above.levels == std::vector<int>{2, 255});
  CHECK(dynamic({-255, -0.5F, -1.5F}).levels == std::vector<int>{0, 255, 253});  // ties to even
  CHECK(dynamic({0, 0}).levels == std::vector<int>{0, 0});
  CHECK(dynamic({0, 0}).scale == 1.0F);
  CHECK(dynamic({}).zero == 0);
}

TEST_CASE("operators on levels become levels, floats and levels again") {
  graph::Graph graph = sum_of_levels();
  const program::Program program = program::lower(graph, {{"a", {4}}, {"b", {4}}}, {.fuse = false});
  CHECK(operations(program) == std::vector<std::string>{"dequantize", "dequantize", "binary", "quantize"});
  CHECK(std::ranges::all_of(program.steps, [](const auto& step) { return step.node == "sum"; }));
  CHECK(program::rows_are_independent(program));
  const program::Program fused = program::lower(graph, {{"a", {4}}, {"b", {4}}});
  CHECK(operations(fused) == std::vector<std::string>{"int8_binary"});
  graph.nodes[0].inputs.pop_back();
  CHECK_THROWS_WITH_AS(static_cast<void>(program::lower(graph, {{"a", {4}}, {"b", {4}}})),
                       "com.microsoft:QLinearAdd node 'sum': an output without zero points is not supported",
                       core::Unsupported);
  graph.nodes[0].outputs.clear();
  CHECK_THROWS_AS(program::check_operators(graph), core::InvalidArgument);
  graph = sum_of_levels();
  graph.nodes[0].domain = "com.example";
  CHECK_THROWS_AS(program::check_operators(graph), core::Unsupported);
}

TEST_CASE("rows of a batch share a dynamic range") {
  graph::Graph graph;
  graph.name = "dynamic";
  graph.opset = 13;
  graph.nodes = {{"DynamicQuantizeLinear", "", "", {"x"}, {"q", "s", "z"}, {}},
                 {"DequantizeLinear", "", "", {"q", "s", "z"}, {"y"}, {}}};
  graph.inputs = {{"x", DType::f32, {std::nullopt, 4}}};
  graph.outputs = {{"y", DType::f32, {}}};
  const program::Program program = program::lower(graph, {{"x", {3, 4}}});
  CHECK(operations(program) == std::vector<std::string>{"dynamic_quantize", "dequantize"});
  CHECK_FALSE(program::rows_are_independent(program));
}

TEST_CASE("zero points that fit no levels are refused") {
  graph::Graph graph;
  graph.name = "product";
  graph.opset = 13;
  graph.initializers = {{"b", core::Tensor(DType::u8, {3, 2})}, {"z", core::Tensor(DType::u8, {3})}};
  graph.nodes = {{"MatMulInteger", "", "product", {"a", "b", "", "z"}, {"y"}, {}}};
  graph.inputs = {{"a", DType::u8, {4, 3}}};
  graph.outputs = {{"y", DType::i32, {}}};
  CHECK_THROWS_AS(static_cast<void>(program::lower(graph, {{"a", {4, 3}}})), core::InvalidArgument);
  graph.initializers["z"] = core::Tensor(DType::u8, {2});
  const program::Program program = program::lower(graph, {{"a", {4, 3}}});
  const auto y = static_cast<std::size_t>(program.outputs[0]);
  CHECK(program.values[y].dtype == DType::i32);
  CHECK(program.values[y].shape == core::Shape{4, 2});
}
