// The graph, its lowering, fusion and a session, with no Python near.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <random>
#include <thread>

#include "rdquant/core/error.hpp"
#include "rdquant/core/half.hpp"
#include "rdquant/core/tensor.hpp"
#include "rdquant/program/memory.hpp"
#include "rdquant/program/program.hpp"
#include "rdquant/runtime/session.hpp"

using namespace rdquant;

namespace {

core::Tensor noise(core::Shape shape, unsigned seed) {
  core::Tensor tensor(core::DType::f32, std::move(shape));
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::generate_n(tensor.write().as<float>(), tensor.size(), [&] { return uniform(random); });
  return tensor;
}

/// x → convolution → ReLU → + x
graph::Graph residual_block() {
  graph::Graph graph;
  graph.name = "block";
  graph.opset = 13;
  graph.initializers["w"] = noise({4, 4, 3, 3}, 1);
  graph.initializers["b"] = noise({4}, 2);
  graph.nodes = {
      {"Conv", "", "conv", {"x", "w", "b"}, {"c"}, {{"pads", std::vector<std::int64_t>{1, 1, 1, 1}}}},
      {"Relu", "", "relu", {"c"}, {"r"}, {}},
      {"Add", "", "add", {"r", "x"}, {"y"}, {}}};
  graph.inputs = {{"x", core::DType::f32, {std::nullopt, 4, 5, 5}}};
  graph.outputs = {{"y", core::DType::f32, {}}};
  return graph;
}

std::vector<float> values(const core::Tensor& tensor) {
  const auto* data = static_cast<const float*>(tensor.data());
  return {data, data + tensor.size()};
}

}  // namespace

TEST_CASE("half precision rounds to even and back") {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = core::half_to_float(half);
    if (value != value) {
      CHECK((core::float_to_half(value) & 0x7FFFU) > 0x7C00U);
    } else {
      CHECK(core::float_to_half(value) == half);
    }
  }
  CHECK(core::float_to_half(1.0F + 0x1p-11F) == 0x3C00);  // halfway: the even one
  CHECK(core::float_to_half(1.0F + 0x3p-11F) == 0x3C02);
  CHECK(core::float_to_half(65520.0F) == 0x7C00);
  CHECK(core::float_to_half(0x1p-25F) == 0);
  CHECK(core::float_to_bfloat(1.0F + 0x1p-8F) == 0x3F80);
}

TEST_CASE("tensors share what they view and own what they make") {
  core::Tensor tensor(core::DType::i32, {2, 3});
  tensor.write().as<std::int32_t>()[4] = -7;
  const core::Tensor other = tensor.reshaped({3, 2});
  CHECK(other.data() == tensor.data());
  CHECK(other.integers()[4] == -7);
  CHECK_FALSE(tensor.exclusive());
  CHECK_THROWS_AS(static_cast<void>(tensor.reshaped({4})), core::InvalidArgument);
  CHECK_THROWS_AS(static_cast<void>(noise({1}, 0).integers()), core::InvalidArgument);
  CHECK_THROWS_AS(static_cast<void>(core::element_count(core::Shape{1LL << 40, 1LL << 40})),
                  core::InvalidArgument);
  CHECK(core::element_count(core::Shape{1LL << 40, 0, 1LL << 40}) == 0);
  CHECK(core::shape_text(core::Shape{1, 2}) == "[1, 2]");
}

TEST_CASE("a block becomes one step, and its weights can be replaced") {
  program::Program program = program::lower(residual_block(), {{"x", {2, 4, 5, 5}}});
  REQUIRE(program.steps.size() == 1);
  const auto& conv = std::get<program::Convolution>(program.steps[0].operation);
  CHECK(conv.activation.function == program::Function::relu);
  CHECK(conv.residual_last);
  CHECK(program::cost(program, program.steps[0]).macs == 2 * 4 * 25 * 36);
  CHECK(program::set_weights(program, {{"b", noise({4}, 3)}}).size() == 1);
  CHECK_THROWS_AS(program::set_weights(program, {{"b", noise({5}, 3)}}), core::InvalidArgument);
  CHECK(program::set_weights(program, {{"unknown", noise({5}, 3)}}).empty());
}

/// x → convolution with the weights (w · s − t) · s in another shape
graph::Graph made_weights() {
  graph::Graph graph = residual_block();
  graph.initializers["w"] = noise({4, 36}, 1);
  graph.initializers["s"] = noise({4, 1}, 6);
  graph.initializers["t"] = noise({1, 36}, 7);
  core::Tensor shape(core::DType::i64, {4});
  std::ranges::copy(std::array<std::int64_t, 4>{4, 4, 3, 3}, shape.write().as<std::int64_t>());
  graph.initializers["shape"] = shape;
  graph.nodes[0].inputs[1] = "made";
  const std::vector<graph::Node> made = {{"Mul", "", "mul", {"w", "s"}, {"ws"}, {}},
                                         {"Sub", "", "sub", {"ws", "t"}, {"wst"}, {}},
                                         {"Mul", "", "scale", {"wst", "s"}, {"wsts"}, {}},
                                         {"Reshape", "", "reshape", {"wsts", "shape"}, {"made"}, {}}};
  graph.nodes.insert(graph.nodes.begin(), made.begin(), made.end());
  return graph;
}

TEST_CASE("constants on the way to others have no data, and are made again where they are needed") {
  program::Program program = program::lower(made_weights(), {{"x", {1, 4, 5, 5}}});
  REQUIRE(program.steps.size() == 1);
  REQUIRE(program.prologue.size() == 4);
  const auto data = [&](program::ValueId id) {
    return program.values[static_cast<std::size_t>(id)].data.data();
  };
  for (std::size_t i = 0; i < 3; ++i) CHECK(data(program.prologue[i].outputs[0]) == nullptr);
  CHECK(data(program.prologue[3].outputs[0]) != nullptr);
  program::forget_constants(program, std::vector<bool>(program.values.size(), false));
  CHECK(data(program.prologue[3].outputs[0]) == nullptr);
  CHECK(data(program.prologue[0].inputs[0]) != nullptr);
  const auto changed = program::set_weights(program, {{"t", noise({1, 36}, 8)}});
  REQUIRE(changed.size() == 1);
  CHECK(changed[0] == program.steps[0].inputs[1]);
  CHECK(data(changed[0]) != nullptr);
  CHECK(data(program.prologue[1].outputs[0]) == nullptr);
}

TEST_CASE("sessions follow weights that others are made of, time and again") {
  const core::Tensor x = noise({1, 4, 5, 5}, 4);
  const std::vector<core::TensorView> inputs = {x.view()};
  for (const char* backend : {"native", "reference"}) {
    graph::Graph graph = made_weights();
    runtime::Session session(graph, backend, {.threads = 1});
    static_cast<void>(session.run(inputs));
    unsigned seed = 20;
    for (const char* name : {"t", "s", "w", "t", "b"}) {
      graph.initializers[name] = noise(graph.initializers[name].shape(), ++seed);
      session.set_weights({{name, graph.initializers[name]}});
      const auto fresh = values(runtime::Session(graph, backend, {.threads = 1}).run(inputs)[0]);
      CHECK(values(session.run(inputs)[0]) == fresh);
    }
  }
}

TEST_CASE("a session may be run and changed from several threads") {
  const graph::Graph graph = residual_block();
  runtime::Session session(graph, "reference", {.threads = 2});
  const core::Tensor x = noise({200, 4, 5, 5}, 4);
  const std::vector<core::TensorView> inputs = {x.view()};
  const auto before = values(session.run(inputs)[0]);
  const core::Tensor other = noise({4}, 5);
  graph::Graph changed = graph;
  changed.initializers["b"] = other;
  const auto after = values(runtime::Session(changed, "reference", {.threads = 1}).run(inputs)[0]);
  std::atomic<int> wrong = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 20; ++i) {
          const auto got = values(session.run(inputs)[0]);
          if (got != before && got != after) ++wrong;
        }
      });
    }
    threads.emplace_back([&] { session.set_weights({{"b", other}}); });
  }
  CHECK(wrong == 0);
  CHECK(values(session.run(inputs)[0]) == after);
  CHECK(session.plan({{200, 4, 5, 5}}).pieces > 1);
}

TEST_CASE("a session refuses what does not fit") {
  runtime::Session session(residual_block(), "reference", {.threads = 1});
  const core::Tensor wide = noise({1, 5, 5, 5}, 1), whole(core::DType::i32, {1, 4, 5, 5});
  const std::vector<core::TensorView> none, wrong_size = {wide.view()}, wrong_type = {whole.view()};
  CHECK_THROWS_AS(static_cast<void>(session.run(none)), core::InvalidArgument);
  CHECK_THROWS_AS(static_cast<void>(session.run(wrong_size)), core::InvalidArgument);
  CHECK_THROWS_AS(static_cast<void>(session.run(wrong_type)), core::InvalidArgument);
  CHECK_THROWS_AS(session.set_weights({{"w", noise({1}, 1)}}), core::InvalidArgument);
  CHECK_THROWS_AS(runtime::Session(residual_block(), "abacus", {}), core::Unsupported);
}
