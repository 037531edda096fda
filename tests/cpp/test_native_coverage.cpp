// Everything that our own kernels cover, without oneDNN: compared with the definition, none of it left to it.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "native_only.hpp"
#include "rdquant/core/error.hpp"

using namespace rdquant;
using core::Shape;
using program::Activation;
using program::Function;
using program::kNone;
using program::ValueId;
using testing::check;
using testing::check_native;
using testing::native;
using testing::Net;
using testing::Variable;

namespace {

std::vector<std::int64_t> same(std::int64_t n, std::size_t axes) {
  return std::vector<std::int64_t>(axes, n);
}

struct Case {
  Shape x;
  std::int64_t filters, size, stride = 1, dilation = 1, pad = 0, groups = 1;
};

Shape result_of(const Case& c) {
  Shape y{c.x[0], c.filters};
  for (std::size_t i = 2; i < c.x.size(); ++i)
    y.push_back((c.x[i] + 2 * c.pad - c.dilation * (c.size - 1) - 1) / c.stride + 1);
  return y;
}

program::Window window_of(const Case& c) {
  const std::size_t axes = c.x.size() - 2;
  return {same(c.size, axes), same(c.stride, axes), same(c.dilation, axes), same(c.pad, axes),
          same(c.pad, axes)};
}

ValueId convolve(Net& net, ValueId x, const Case& c, Activation f = {}, ValueId residual = kNone,
                 bool last = false, bool dynamic = false) {
  Shape w{c.filters, c.x[1] / c.groups};
  for (std::size_t i = 2; i < c.x.size(); ++i) w.push_back(c.size);
  const ValueId filters = dynamic ? net.input(w) : net.constant(w, 0.2F);
  const ValueId slopes = f.function == Function::prelu ? net.constant({c.filters}, 0.3F) : kNone;
  return net.step(program::Convolution{window_of(c), c.groups, f, last},
                  {x, filters, net.constant({c.filters}, 0.3F), residual, slopes}, result_of(c));
}

}  // namespace

TEST_CASE("convolutions over one, two and three axes") {
  const std::vector<Case> cases = {
      {{2, 3, 40}, 20, 5, 2, 1, 2},           {{1, 32, 33}, 32, 3, 1, 4, 4},
      {{1, 24, 17}, 24, 3, 1, 1, 1, 24},      {{2, 18, 30}, 12, 4, 3, 1, 1, 6},
      {{1, 15, 9, 7}, 10, 3, 1, 1, 1, 5},     {{2, 12, 9, 11}, 36, 3, 2, 1, 1, 12},
      {{1, 20, 8, 8}, 40, 5, 1, 1, 2, 20},    {{1, 35, 12, 12}, 19, 3, 2, 2, 2},
      {{2, 3, 7, 9, 8}, 17, 3, 1, 1, 1},      {{1, 16, 6, 8, 10}, 32, 3, 2, 1, 1},
      {{1, 20, 5, 6, 7}, 20, 3, 1, 1, 1, 20}, {{1, 8, 9, 6, 6}, 12, 2, 1, 3, 1, 4},
      {{1, 4, 2, 3, 3}, 5, 3, 1, 1, 4},       {{2, 1, 7, 9, 8}, 17, 3, 1, 1, 1},
      {{2, 2, 9, 10, 21}, 20, 2, 2, 3, 1},    {{1, 4, 3, 5, 37}, 6, 1, 1, 1, 0}};
  for (std::size_t i = 0; i < cases.size(); ++i) {
    CAPTURE(i);
    const Case& c = cases[i];
    for (const Activation f :
         {Activation{}, {Function::relu, 0, 0}, {Function::silu, 0, 0}, {Function::prelu, 0, 0}}) {
      Net net(static_cast<unsigned>(i));
      check_native(net, {convolve(net, net.input(c.x), c, f)});
    }
    for (const bool last : {false, true}) {
      Net net(static_cast<unsigned>(i));
      const ValueId x = net.input(c.x), r = net.input(result_of(c));
      check_native(net, {convolve(net, x, c, {Function::sigmoid, 0, 0}, r, last)});
    }
    Net net(static_cast<unsigned>(i));
    check_native(net, {convolve(net, net.input(c.x), c, {Function::relu, 0, 0}, kNone, false, true)});
  }
}

TEST_CASE("transposed convolutions") {
  struct Transposed {
    Shape x;
    std::int64_t filters, size, stride, dilation, pad, extra, groups;
  };
  const std::vector<Transposed> cases = {
      {{2, 16, 6, 7}, 24, 2, 2, 1, 0, 0, 1},  {{1, 20, 5, 5}, 10, 3, 2, 1, 1, 1, 1},
      {{1, 12, 5, 6}, 12, 4, 2, 1, 1, 0, 12}, {{1, 8, 7, 5}, 12, 5, 3, 1, 2, 2, 4},
      {{1, 6, 6, 6}, 9, 3, 1, 2, 2, 0, 3},    {{1, 5, 4, 4}, 33, 4, 3, 2, 1, 0, 1},
      {{2, 10, 9}, 14, 4, 2, 1, 1, 0, 2},     {{1, 16, 8, 8}, 16, 3, 2, 1, 0, 0, 1}};
  for (std::size_t i = 0; i < cases.size(); ++i) {
    CAPTURE(i);
    const Transposed& c = cases[i];
    const std::size_t axes = c.x.size() - 2;
    for (const Activation f : {Activation{}, {Function::sigmoid, 0, 0}}) {
      Net net(static_cast<unsigned>(i));
      Shape y{c.x[0], c.filters}, w{c.x[1], c.filters / c.groups};
      for (std::size_t a = 2; a < c.x.size(); ++a) {
        y.push_back((c.x[a] - 1) * c.stride + c.dilation * (c.size - 1) + 1 - 2 * c.pad + c.extra);
        w.push_back(c.size);
      }
      const program::Window window{same(c.size, axes), same(c.stride, axes), same(c.dilation, axes),
                                   same(c.pad, axes), same(c.pad, axes)};
      const ValueId x = net.input(c.x);
      check_native(net, {net.step(program::TransposedConvolution{window, c.groups, f},
                                  {x, net.constant(w, 0.2F), net.constant({c.filters}, 0.3F)}, y)});
    }
  }
}

TEST_CASE("products of matrices: batches, transposed operands, few rows, long sums, what follows") {
  struct Product {
    Shape a, b, y;
    bool transpose_a = false, transpose_b = false;
  };
  const std::vector<Product> cases = {{{37, 70}, {70, 45}, {37, 45}},
                                      {{1, 300}, {300, 130}, {1, 130}},
                                      {{5, 64}, {10, 64}, {5, 10}, false, true},
                                      {{70, 33}, {70, 21}, {33, 21}, true, false},
                                      {{2, 3, 20, 40}, {2, 3, 40, 17}, {2, 3, 20, 17}},
                                      {{2, 3, 20, 40}, {2, 3, 17, 40}, {2, 3, 20, 17}, false, true},
                                      {{4, 50, 600}, {600, 64}, {4, 50, 64}},
                                      {{6, 1, 24}, {24, 40}, {6, 1, 40}},
                                      {{3, 1, 9, 8}, {5, 8, 7}, {3, 5, 9, 7}},
                                      {{8, 1}, {1, 9}, {8, 9}},
                                      {{200, 3}, {3, 1}, {200, 1}}};
  for (std::size_t i = 0; i < cases.size(); ++i) {
    CAPTURE(i);
    const Product& p = cases[i];
    for (const bool constant : {true, false}) {
      Net net(static_cast<unsigned>(i));
      const auto product = [&](Activation f, float alpha, ValueId c, ValueId r, bool last) {
        const ValueId b = constant ? net.constant(p.b, 0.2F) : net.input(p.b);
        return net.step(program::MatMul{p.transpose_a, p.transpose_b, alpha, 1, f, last},
                        {net.input(p.a), b, c, r}, p.y);
      };
      const std::int64_t columns = p.y.back(), rows = p.y[p.y.size() - 2];
      check_native(net, {product({}, 1, kNone, kNone, false),
                         product({Function::relu, 0, 0}, 0.5F, net.constant({columns}), kNone, false),
                         product({Function::gelu, 0, 0}, 1, net.constant({rows, 1}), net.input(p.y), false),
                         product({Function::clip, -0.2F, 0.3F}, 1, net.constant({rows, columns}),
                                 net.input(p.y), true)});
    }
  }
}

TEST_CASE("pooling with every padding, means of images") {
  for (const std::int64_t channels : {16, 13}) {
    Net net(3);
    const ValueId x = net.convolve(net.input({2, 3, 11, 9}), channels, 3);
    std::vector<ValueId> made;
    for (const auto f : {program::PoolFunction::max, program::PoolFunction::average}) {
      for (const bool counts : {false, true}) {
        // the last windows reach past the padding that counts
        const program::Pool pool{f, {{3, 2}, {2, 2}, {1, 1}, {1, 0}, {2, 1}}, counts, {1, 0}};
        made.push_back(net.step(pool, {x}, {2, channels, 6, 5}));
      }
    }
    const program::Pool whole{
        program::PoolFunction::average, {{11, 9}, {1, 1}, {1, 1}, {0, 0}, {0, 0}}, false, {0, 0}};
    made.push_back(net.step(whole, {x}, {2, channels, 1, 1}));
    made.push_back(net.step(program::Reduce{program::ReduceFunction::mean, {2, 3}}, {x}, {2, channels}));
    check_native(net, made);
  }
}

TEST_CASE("softmax and normalization over any axis") {
  for (const Shape& shape : {Shape{2, 19, 5, 7}, Shape{3, 33}, Shape{2, 4, 300}}) {
    Net net(5);
    const ValueId x = net.input(shape);
    const auto axes = static_cast<std::int64_t>(shape.size());
    std::vector<ValueId> made;
    for (std::int64_t axis = 0; axis < axes; ++axis) {
      for (const bool logarithm : {false, true})
        made.push_back(net.step(program::Softmax{axis, logarithm}, {x}, shape));
    }
    const std::int64_t last = shape.back(), c = shape[1];
    made.push_back(net.step(program::LayerNormalization{axes - 1, 1e-5F, false},
                            {x, net.constant({last}), net.constant({last})}, shape));
    made.push_back(net.step(program::LayerNormalization{1, 1e-5F, false}, {x}, shape));
    made.push_back(
        net.step(program::LayerNormalization{axes - 1, 1e-5F, true}, {x, net.constant({last})}, shape));
    made.push_back(
        net.step(program::GroupNormalization{1, 1e-5F}, {x, net.constant({c}), net.constant({c})}, shape));
    made.push_back(
        net.step(program::GroupNormalization{c, 1e-5F}, {x, net.constant({c}), net.constant({c})}, shape));
    for (const float beta : {0.75F, 0.5F, 1.0F, 0.6F})
      made.push_back(net.step(program::LocalResponseNormalization{5, 0.3F, beta, 1.5F}, {x}, shape));
    const ValueId variance = net.unary(net.constant({c}), {Function::exp, 0, 0});
    made.push_back(net.step(program::BatchNormalization{1e-5F, {Function::sigmoid, 0, 0}},
                            {x, net.constant({c}), net.constant({c}), net.constant({c}), variance}, shape));
    check_native(net, made);
  }
}

TEST_CASE("groups of channels, of few numbers and of many") {
  for (const Shape& shape : {Shape{2, 12, 5, 7}, Shape{1, 4, 90, 131}, Shape{3, 6, 1}}) {
    Net net(6);
    const ValueId x = net.input(shape);
    const std::int64_t c = shape[1];
    std::vector<ValueId> made;
    for (const std::int64_t groups : {std::int64_t{1}, std::int64_t{2}, c}) {
      made.push_back(net.step(program::GroupNormalization{groups, 1e-3F},
                              {x, net.constant({c}), net.constant({c})}, shape));
      const ValueId y = net.unary(x, {Function::tanh, 0, 0});
      made.push_back(net.step(program::GroupNormalization{groups, 1e-3F, {Function::gelu, 0, 0}},
                              {y, net.constant({c}), net.constant({c}), y}, shape));
      made.push_back(net.step(
          program::GroupNormalization{groups, 1e-3F, {Function::relu, 0, 0}},
          {net.unary(x, {Function::sigmoid, 0, 0}), net.constant({c}), net.constant({c}), x}, shape));
    }
    check_native(net, made);
  }
}

TEST_CASE("groups of channels in blocks, with activations") {
  for (const std::int64_t channels : {4, 12, 24, 32, 36}) {
    for (const auto& [rows, columns] : {std::pair{1, 1}, {5, 7}, {19, 40}}) {
      Net net(7);
      const ValueId x = net.input({2, 3, rows, columns});
      std::vector<ValueId> made;
      for (const Activation f : {Activation{},
                                 {Function::relu, 0, 0},
                                 {Function::clip, -0.5F, 1},
                                 {Function::clip, 0.5F, 1},
                                 {Function::silu, 0, 0},
                                 {Function::sigmoid, 0, 0},
                                 {Function::tanh, 0, 0}}) {
        for (const std::int64_t groups : {std::int64_t{1}, std::int64_t{2}, channels / 4, channels}) {
          const ValueId wide = net.convolve(x, channels, 3);
          const ValueId norm =
              net.step(program::GroupNormalization{groups, 0.3F, f},
                       {wide, net.constant({channels}), net.constant({channels})}, net.shape(wide));
          const ValueId other = net.step(
              program::GroupNormalization{groups, 0.3F, f},
              {net.convolve(x, channels, 3), net.constant({channels}), net.constant({channels}), wide},
              net.shape(wide));
          for (const ValueId y : {norm, other}) {
            made.push_back(net.convolve(y, 4, 3));  // which reads lanes past the last channel, too
            // of what clamps leave of a channel, the largest number tells no range
            if (f.function != Function::relu && f.function != Function::clip) made.push_back(y);
          }
        }
      }
      check_native(net, made);
    }
  }
}

TEST_CASE("running sums and products, exclusive and from the end") {
  const std::vector<std::pair<Shape, std::int64_t>> cases = {
      {{3, 37, 5}, 1}, {{37, 70}, 0},  {{2, 3, 129}, 2},  {{9001}, 0},
      {{5, 7}, 1},     {{4, 1, 3}, 1}, {{2, 30, 133}, 1}, {{1, 6, 2, 8}, 1}};
  for (const auto& [shape, axis] : cases) {
    Net net(8);
    const ValueId x = net.input(shape);
    std::vector<ValueId> made;
    for (const bool product : {false, true}) {
      for (const bool exclusive : {false, true}) {
        for (const bool reverse : {false, true})
          made.push_back(net.step(program::CumulativeSum{axis, exclusive, reverse, product}, {x}, shape));
      }
    }
    check_native(net, made);
  }
}

TEST_CASE("channels to pixels and back") {
  for (const std::int64_t block : {2, 3}) {
    Net net(15);
    const ValueId deep = net.input({2, 5 * block * block, 4, 7}),
                  wide = net.input({2, 5, 4 * block, 7 * block});
    check_native(net, {net.step(program::DepthToSpace{block, false}, {deep}, net.shape(wide)),
                       net.step(program::DepthToSpace{block, true}, {deep}, net.shape(wide)),
                       net.step(program::SpaceToDepth{block}, {wide}, net.shape(deep))});
  }
}

TEST_CASE("images of another size, plain and in blocks") {
  using program::Coordinates;
  using program::ResizeMode;
  for (const std::int64_t c : {3, 19}) {
    for (const auto& [rows, columns] : {std::pair{2.0F, 3.0F}, {0.5F, 0.7F}, {1.0F, 1.5F}, {1.7F, 0.3F}}) {
      Net net(9);
      const ValueId plain = net.input({2, c, 11, 13});
      std::vector<ValueId> made;
      for (const ValueId x : {plain, net.convolve(plain, c, 3)}) {
        for (const auto mode : {ResizeMode::linear, ResizeMode::cubic}) {
          for (const auto place : {Coordinates::half_pixel, Coordinates::align_corners,
                                   Coordinates::asymmetric, Coordinates::pytorch_half_pixel}) {
            for (const bool antialias : {false, true}) {
              program::Resize resize{
                  .mode = mode, .coordinates = place, .scales = {1, 1, rows, columns}, .roi = {}};
              resize.antialias = antialias;
              const Shape to{2, c, static_cast<std::int64_t>(11 * rows),
                             static_cast<std::int64_t>(13 * columns)};
              made.push_back(net.step(resize, {x}, to));
            }
          }
        }
      }
      check_native(net, made);
    }
  }
}

namespace {

/// Runs the net on an input with one NaN: it must be NaN in the same places as by the definition, whoever
/// supplies the kernels.
void check_nan(Net& net, std::vector<ValueId> outputs) {
  net.program.outputs = std::move(outputs);
  std::vector<core::Tensor> inputs;
  for (const ValueId id : net.program.inputs) inputs.push_back(net.noise(net.shape(id)));
  const auto count = static_cast<std::size_t>(core::element_count(inputs[0].shape()));
  static_cast<float*>(inputs[0].write().data)[count / 2] = std::nanf("");
  const auto expected =
      testing::run(*runtime::backend("reference").prepare(net.program, {1, 0}), net.program, inputs);
  for (const char* const preference : {"auto", "native", "onednn"}) {
    const Variable kernels("RDQUANT_KERNELS", preference);
    CAPTURE(preference);
    std::unique_ptr<runtime::Executable> ours;
    try {
      ours = native()->prepare(net.program, {2, 0});
    } catch (const core::Unsupported&) {
      continue;  // no oneDNN
    }
    const auto got = testing::run(*ours, net.program, inputs);
    for (std::size_t i = 0; i < got.size(); ++i) {
      CAPTURE(i);
      CHECK(std::ranges::any_of(expected[i].doubles(), [](double v) { return std::isnan(v); }));
      CHECK(testing::difference(expected[i], got[i]) <= testing::kBound);
    }
  }
}

}  // namespace

TEST_CASE("NaN in the input is NaN in the output") {
  const auto all = {Function::identity,  Function::relu,         Function::sigmoid,   Function::silu,
                    Function::tanh,      Function::gelu,         Function::mish,      Function::clip,
                    Function::elu,       Function::hard_sigmoid, Function::swish,     Function::hard_swish,
                    Function::gelu_tanh, Function::exp,          Function::leaky_relu};
  for (const Function f : all) {
    CAPTURE(static_cast<int>(f));
    const Activation activation{f, f == Function::clip ? -0.5F : 0.3F, 0.5F};
    Net net(11);
    const ValueId x = net.input({1, 20, 9, 8});
    std::vector<ValueId> made{net.convolve(x, 24, 3, activation), net.convolve(x, 24, 1, activation),
                              net.convolve(x, 20, 3, activation, kNone, false, 1, 20),
                              net.convolve(x, 24, 3, activation, kNone, false, 2)};
    if (f != Function::identity) made.push_back(net.unary(x, activation));
    made.push_back(net.step(program::Binary{program::BinaryFunction::add, activation},
                            {x, net.constant({20, 1, 1})}, net.shape(x)));
    made.push_back(net.step(program::MatMul{false, false, 1, 1, activation, false},
                            {x, net.constant({8, 17}), kNone, kNone}, {1, 20, 9, 17}));
    check_nan(net, made);
  }
  Net net(12);
  const ValueId x = net.input({2, 3, 12, 12});
  const ValueId image = net.convolve(x, 16, 3);
  std::vector<ValueId> made;
  for (const auto f : {program::PoolFunction::max, program::PoolFunction::average})
    made.push_back(net.pool(image, f, 3, 2));
  made.push_back(net.pool(net.convolve(x, 16, 3, {Function::relu, 0, 0}), program::PoolFunction::max, 2, 2));
  made.push_back(net.pool(image, program::PoolFunction::average, 12, 12));
  for (const std::int64_t axis : {1, 3})
    made.push_back(net.step(program::Softmax{axis, false}, {image}, net.shape(image)));
  for (const auto f :
       {program::ReduceFunction::min, program::ReduceFunction::max, program::ReduceFunction::mean}) {
    for (const std::int64_t axis : {1, 3}) {
      Shape kept = net.shape(image);
      kept[static_cast<std::size_t>(axis)] = 1;
      made.push_back(net.step(program::Reduce{f, {axis}}, {image}, kept));
    }
  }
  for (const std::int64_t axis : {1, 3})
    made.push_back(net.step(program::CumulativeSum{axis, false, false, false}, {image}, net.shape(image)));
  for (const auto f : {program::BinaryFunction::min, program::BinaryFunction::max}) {
    made.push_back(net.step(program::Binary{f, {}}, {image, net.constant({1})}, net.shape(image)));
    made.push_back(net.step(program::Binary{f, {}}, {net.constant({1}), image}, net.shape(image)));
  }
  check_nan(net, made);
}

TEST_CASE("NaN in an input that becomes 8-bit integers is refused") {
  for (const bool dynamic : {false, true}) {
    Net net(13);
    const ValueId x = net.input({1, 3, 8, 8});
    if (dynamic) {
      net.program.steps.push_back({program::DynamicQuantize{}, {x}, {}, "quantize"});
    } else {
      net.program.steps.push_back({program::Quantize{}, {x, net.constant({1})}, {}, "quantize"});
    }
    std::vector<program::Value> outputs{{"q", core::DType::u8, {1, 3, 8, 8}, program::Role::activation, {}}};
    if (dynamic) {
      outputs.push_back({"scale", core::DType::f32, {}, program::Role::activation, {}});
      outputs.push_back({"zero", core::DType::u8, {}, program::Role::activation, {}});
    }
    for (const program::Value& value : outputs) {
      net.program.values.push_back(value);
      net.program.steps.back().outputs.push_back(static_cast<ValueId>(net.program.values.size()) - 1);
    }
    net.program.outputs = net.program.steps.back().outputs;
    auto input = net.noise({1, 3, 8, 8});
    const runtime::Backend* const backends[] = {native(), &runtime::backend("reference")};
    for (const runtime::Backend* backend : backends) {
      const auto ours = backend->prepare(net.program, {2, 0});
      CHECK_NOTHROW(testing::run(*ours, net.program, {input}));
      auto spoiled = net.noise({1, 3, 8, 8});
      static_cast<float*>(spoiled.write().data)[100] = std::nanf("");
      CHECK_THROWS_WITH_AS(testing::run(*ours, net.program, {spoiled}), doctest::Contains("contains NaN"),
                           core::InvalidArgument);
    }
  }
}
