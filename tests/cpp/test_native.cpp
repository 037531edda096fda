#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <thread>
#include <vector>

#include "net.hpp"
#include "rdquant/core/error.hpp"

using namespace rdquant;
using program::Activation;
using program::Function;
using program::kNone;
using program::Role;
using program::ValueId;
using testing::check;
using testing::difference;
using testing::kBound;
using testing::native;
using testing::Net;
using testing::run;

TEST_CASE("every fused activation, before and after a residual, odd channels, batches of 1 and 3") {
  const std::vector<Activation> all = {{},
                                       {Function::relu, 0, 0},
                                       {Function::clip, -0.5F, 0.75F},
                                       {Function::leaky_relu, 0.1F, 0},
                                       {Function::prelu, 0, 0},
                                       {Function::sigmoid, 0, 0},
                                       {Function::silu, 0, 0},
                                       {Function::hard_sigmoid, 0.2F, 0.5F},
                                       {Function::hard_swish, 0, 0},
                                       {Function::tanh, 0, 0},
                                       {Function::elu, 0.7F, 0},
                                       {Function::gelu, 0, 0},
                                       {Function::gelu_tanh, 0, 0},
                                       {Function::mish, 0, 0},
                                       {Function::softplus, 0, 0}};
  for (const std::int64_t batch : {1, 3}) {
    for (const std::int64_t channels : {16, 21}) {
      Net net(static_cast<unsigned>(batch * channels));
      ValueId x = net.convolve(net.input({batch, 3, 9, 8}), channels, 3);
      for (const Activation& activation : all) {
        x = net.convolve(x, channels, 3, activation, x);             // in place is not allowed: reads it
        const ValueId y = net.convolve(x, channels, 1, activation);  // x dies at the next addition
        x = net.convolve(y, channels, 3, activation, x, true);
      }
      check(net, {x});
    }
  }
}

TEST_CASE("depthwise, grouped, strided, first and pointwise convolutions") {
  for (const std::int64_t batch : {1, 3}) {
    Net net(7);
    const ValueId image = net.input({batch, 3, 23, 19});
    const ValueId first = net.convolve(image, 24, 3, {Function::relu, 0, 0}, kNone, false, 2);
    const ValueId depthwise = net.convolve(first, 24, 5, {Function::silu, 0, 0}, kNone, false, 1, 24);
    const ValueId strided = net.convolve(depthwise, 24, 3, {}, kNone, false, 2, 24);
    const ValueId grouped = net.convolve(strided, 36, 3, {Function::relu, 0, 0}, kNone, false, 1, 6);
    const ValueId wide = net.convolve(grouped, 64, 1);
    const ValueId blocks = net.convolve(wide, 64, 3, {}, wide, false, 1, 2);
    const ValueId one = net.convolve(image, 1, 7, {}, kNone, false, 3);
    const ValueId twelve = net.convolve(net.convolve(image, 12, 1), 16, 3);
    check(net, {depthwise, blocks, one, twelve});
  }
}

/// An image with its pixels in one row.
ValueId flat(Net& net, ValueId x) {
  const auto shape = net.shape(x);
  return net.step(program::Reshape{}, {x}, {shape[0], shape[1], shape[2] * shape[3]});
}

ValueId pooled_of(Net& net, ValueId x) { return net.pool(x, program::PoolFunction::max, 3, 2); }

TEST_CASE("chains of concatenations and splits") {
  for (const std::int64_t batch : {1, 2}) {
    for (const std::int64_t c : {16, 13}) {
      Net net(static_cast<unsigned>(batch + c));
      const Activation relu{Function::relu, 0, 0};
      const ValueId x = net.convolve(net.input({batch, 3, 12, 12}), 2 * c, 3, relu);
      const auto parts = net.split(x, {c, c});  // as YOLOv8 does
      const ValueId a = net.convolve(net.convolve(parts[1], c, 3, relu), c, 3, relu, parts[1], true);
      const ValueId joined = net.concat({parts[0], parts[1], a});
      const ValueId b = net.convolve(joined, c, 1, relu);  // as DenseNet does
      const ValueId dense = net.concat({joined, b});
      const ValueId denser = net.concat({dense, net.convolve(dense, c, 3, relu)});
      const ValueId twice = net.concat({a, b, a});  // a lies elsewhere already
      const ValueId rows = net.concat({a, b}, 2);
      const ValueId small = net.convolve(pooled_of(net, b), c, 1);
      const ValueId anchors = net.concat({flat(net, net.convolve(b, c, 1)), flat(net, small)}, 2);  // YOLO's
      const ValueId batches = net.concat({flat(net, net.convolve(b, c, 1)), flat(net, a)}, 0);
      const ValueId pooled = net.pool(denser, program::PoolFunction::max, 3, 2);
      const ValueId changed = net.unary(parts[0], {Function::exp, 0, 0});  // lives on in `joined`
      check(net, {denser, twice, rows, anchors, batches, pooled, changed, net.convolve(pooled, 5, 1)});
    }
  }
}

TEST_CASE("elementwise steps in place and with broadcasting") {
  using program::BinaryFunction;
  for (const std::int64_t c : {16, 10}) {
    Net net(static_cast<unsigned>(c));
    const ValueId x = net.convolve(net.input({2, 3, 6, 5}), c, 3);
    const ValueId gate =
        net.convolve(net.pool(x, program::PoolFunction::average, 5, 5), c, 1, {Function::sigmoid, 0, 0});
    const ValueId scaled = net.binary(BinaryFunction::mul, x, net.constant({1, c, 1, 1}));
    const ValueId shifted = net.binary(BinaryFunction::add, scaled, net.constant({c, 1, 1}));
    const ValueId reversed =
        net.step(program::Binary{BinaryFunction::sub, {}}, {net.constant({1}), shifted}, net.shape(x));
    const ValueId larger = net.binary(BinaryFunction::max, reversed, x);
    const ValueId divided = net.binary(BinaryFunction::div, larger, net.constant({1}));
    const ValueId square = net.binary(BinaryFunction::mul, divided, divided);
    const ValueId wave = net.unary(net.unary(square, {Function::tanh, 0, 0}), {Function::sin, 0, 0});
    const ValueId gated = net.pool(gate, program::PoolFunction::max, 1, 1);
    check(net, {wave, gated, scaled});
  }
}

TEST_CASE("matrix products, softmax, normalization and movement") {
  Net net(3);
  const ValueId image = net.convolve(net.input({2, 3, 8, 6}), 20, 3, {Function::relu, 0, 0});
  const ValueId tokens = net.step(program::Reshape{}, {image}, {2, 20, 48});
  const ValueId transposed = net.step(program::Transpose{{0, 2, 1}}, {tokens}, {2, 48, 20});
  const ValueId normal = net.step(program::LayerNormalization{2, 1e-5F, false},
                                  {transposed, net.constant({20}), net.constant({20})}, {2, 48, 20});
  const ValueId query =
      net.step(program::MatMul{}, {normal, net.constant({20, 20}, 0.2F), net.constant({20})}, {2, 48, 20});
  program::MatMul scores;
  scores.transpose_b = true;
  scores.alpha = 0.25F;
  const ValueId attention =
      net.step(program::Softmax{2, false}, {net.step(scores, {query, normal}, {2, 48, 48})}, {2, 48, 48});
  program::MatMul mix;
  mix.activation = {Function::gelu, 0, 0};
  const ValueId mixed = net.step(mix, {attention, query, kNone, transposed}, {2, 48, 20});
  const ValueId cut = net.step(program::Slice{{0, 47, 1}, {1, -2, 3}}, {mixed}, {2, 24, 6});
  const ValueId wide =
      net.step(program::Pad{program::PadMode::constant, {0, 1, 2}, {0, 0, 3}}, {cut}, {2, 25, 11});
  const ValueId flat = net.step(program::Reshape{}, {wide}, {2, 275});
  program::MatMul gemm;
  gemm.transpose_b = true;
  const ValueId classes = net.step(gemm, {flat, net.constant({7, 275}, 0.1F), net.constant({7})}, {2, 7});
  program::Resize twice;
  twice.coordinates = program::Coordinates::asymmetric;
  twice.nearest = program::Nearest::floor;
  twice.scales = {1, 1, 2, 3};
  const ValueId large = net.step(twice, {image}, {2, 20, 16, 18});
  const ValueId affine = net.step(program::BatchNormalization{1e-3F, {Function::relu, 0, 0}},
                                  {large, net.constant({20}), net.constant({20}), net.constant({20}),
                                   net.unary(net.constant({20}), {Function::exp, 0, 0})},
                                  {2, 20, 16, 18});
  const ValueId mean = net.step(program::Reduce{program::ReduceFunction::mean, {2, 3}}, {affine}, {2, 20});
  const ValueId columns = net.step(program::Softmax{1, false}, {tokens}, {2, 20, 48});
  check(net, {columns, attention, wide, classes, large, affine, mean});
}

TEST_CASE("outputs that are inputs, constants, views and each other") {
  Net net(5);
  const ValueId x = net.input({1, 4, 5, 5});
  const ValueId y = net.convolve(x, 32, 1);
  const ValueId halves = net.split(y, {16, 16})[1];
  const ValueId view = net.step(program::Reshape{}, {x}, {4, 25});
  const ValueId constant = net.constant({3});
  check(net, {x, constant, view, y, y, halves});
}

TEST_CASE("weights swap in place, threads run side by side") {
  Net net(11);
  const ValueId x = net.input({1, 3, 16, 16});
  const ValueId a = net.convolve(x, 24, 3, {Function::relu, 0, 0});
  const ValueId b = net.convolve(a, 24, 3, {}, kNone, false, 1, 24);
  net.program.outputs = {net.convolve(b, 10, 1)};
  const auto ours = native()->prepare(net.program, {1, 0});
  const std::vector<core::Tensor> inputs = {net.noise({1, 3, 16, 16})};
  (void)run(*ours, net.program, inputs);
  std::vector<ValueId> changed;
  for (auto& value : net.program.values) {
    if (value.role != Role::constant) continue;
    value.data = net.noise(value.shape, 0.3F);
    changed.push_back(static_cast<ValueId>(&value - net.program.values.data()));
  }
  ours->update(changed);
  const auto expected = run(*runtime::backend("reference").prepare(net.program, {1, 0}), net.program, inputs);
  std::vector<double> worst(4);
  {
    std::vector<std::jthread> threads;
    for (double& w : worst) {
      threads.emplace_back([&] {
        for (int i = 0; i < 20; ++i)
          w = std::max(w, difference(expected[0], run(*ours, net.program, inputs)[0]));
      });
    }
  }
  CHECK(*std::max_element(worst.begin(), worst.end()) <= kBound);
}

TEST_CASE("a memory limit is kept before anything is allocated, and plans tell kernels and times") {
  Net net(13);
  const ValueId x = net.convolve(net.input({1, 3, 32, 32}), 32, 3);
  net.program.outputs = {net.convolve(x, 32, 3)};
  CHECK_THROWS_AS((void)native()->prepare(net.program, {1, 1000}), core::InvalidArgument);
  const auto ours = native()->prepare(net.program, {1, 0});
  const auto rows = ours->plan();
  CHECK(std::any_of(rows.begin(), rows.end(),
                    [](const auto& row) { return row.operation == "convolution" && row.macs > 0; }));
  const std::size_t needed = ours->arena_bytes() + ours->weight_bytes();
  CHECK_NOTHROW((void)native()->prepare(net.program, {1, needed}));
  CHECK_THROWS_AS((void)native()->prepare(net.program, {1, needed - 1}), core::InvalidArgument);
}
