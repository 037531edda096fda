#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "rdquant/core/error.hpp"
#include "rdquant/program/evaluate.hpp"

// The definition gives the same bytes on one thread and on several.

namespace {

using namespace rdquant::program;
using rdquant::core::DType;
using rdquant::core::MutableTensorView;
using rdquant::core::Shape;
using rdquant::core::Tensor;
using rdquant::core::TensorView;

Tensor wave(Shape shape, float offset = 0) {
  Tensor tensor(DType::f32, std::move(shape));
  auto* at = tensor.write().as<float>();
  for (std::int64_t i = 0; i < tensor.size(); ++i) at[i] = offset + std::sin(static_cast<float>(i * i % 977));
  return tensor;
}

using Results = std::vector<std::pair<DType, Shape>>;

std::vector<Tensor> run(const Operation& operation, const std::vector<Tensor>& inputs, const Results& results,
                        int threads) {
  std::vector<TensorView> in;
  for (const Tensor& t : inputs) in.push_back(t.view());
  std::vector<Tensor> tensors;
  for (const auto& [dtype, shape] : results) tensors.emplace_back(dtype, shape);
  std::vector<MutableTensorView> out;
  for (Tensor& t : tensors) out.push_back(t.write());
  evaluate({operation, {}, {}, "node"}, in, out, threads);
  return tensors;
}

void check(const Operation& operation, const std::vector<Tensor>& inputs, const Results& results) {
  const auto one = run(operation, inputs, results, 1);
  for (const int threads : {2, 3}) {
    const auto several = run(operation, inputs, results, threads);
    for (std::size_t i = 0; i < one.size(); ++i) {
      CAPTURE(operation_name(operation));
      CHECK(std::memcmp(one[i].data(), several[i].data(), static_cast<std::size_t>(one[i].bytes())) == 0);
    }
  }
}

}  // namespace

TEST_CASE("steps along lines give the same on any number of threads") {
  const Shape shape{2, 24, 31, 33};
  const Results same{{DType::f32, shape}};
  const Tensor x = wave(shape), c = wave({24}, 2);
  for (const std::int64_t axis : {1, 3}) {
    Shape few = shape;
    few[static_cast<std::size_t>(axis)] = 5;
    check(Softmax{axis, false}, {x}, same);
    check(LpNormalization{axis, 2}, {x}, same);
    check(CumulativeSum{axis, true, true}, {x}, same);
    check(TopK{axis, true}, {x}, {{DType::f32, few}, {DType::i64, few}});
  }
  check(LocalResponseNormalization{5, 0.1F, 0.75F, 1}, {x}, same);
  check(BatchNormalization{}, {x, c, c, c, c}, same);
  check(GroupNormalization{4}, {x, c, c}, same);
}

TEST_CASE("gathering gives the same on any number of threads, and refuses the same") {
  const Tensor x = wave({3, 40, 500});
  Tensor places(DType::i64, {64});
  auto* at = places.write().as<std::int64_t>();
  for (std::int64_t i = 0; i < 64; ++i) at[i] = i * 7 % 80 - 40;
  check(Gather{1}, {x, places}, {{DType::f32, {3, 64, 500}}});
  at = places.write().as<std::int64_t>();
  at[63] = 40;
  for (const int threads : {1, 3}) {
    CHECK_THROWS_AS(run(Gather{1}, {x, places}, {{DType::f32, {3, 64, 500}}}, threads),
                    rdquant::core::InvalidArgument);
  }
}

TEST_CASE("elementwise steps give the same on any number of threads") {
  const Shape shape{2, 24, 31, 33};
  const Results same{{DType::f32, shape}}, levels{{DType::u8, shape}};
  const Tensor x = wave(shape), column = wave({24, 1, 1}, 2), row = wave({33}, 1);
  Activation relu;
  relu.function = Function::relu;
  check(Unary{relu}, {x}, same);
  check(Binary{BinaryFunction::mul, {}}, {x, column}, same);
  check(Binary{BinaryFunction::sub, relu}, {row, x}, same);
  check(Binary{BinaryFunction::pow, {}}, {x, column}, same);
  check(Cast{}, {x}, {{DType::i32, shape}});
  Tensor scale(DType::f32, {24}), zero(DType::u8, {24}), one(DType::f32, {}), none(DType::u8, {});
  for (int i = 0; i < 24; ++i) scale.write().as<float>()[i] = 0.01F * static_cast<float>(i + 1);
  one.write().as<float>()[0] = 0.02F;
  check(Quantize{1}, {x, scale, zero}, levels);
  check(Quantize{1}, {x, one, none}, levels);
  const Tensor q = run(Quantize{1}, {x, scale, zero}, levels, 1)[0];
  check(Dequantize{1}, {q, scale, zero}, same);
  Tensor table(DType::u8, {256});
  for (int i = 0; i < 256; ++i) table.write().as<std::uint8_t>()[i] = static_cast<std::uint8_t>(i * 7);
  check(Lookup{}, {q, table}, levels);
}

TEST_CASE("reductions and layer normalization give the same on any number of threads") {
  const Shape shape{4, 40, 31, 33};
  const Tensor x = wave(shape);
  for (const auto function : {ReduceFunction::sum, ReduceFunction::mean, ReduceFunction::max,
                              ReduceFunction::l2, ReduceFunction::log_sum_exp}) {
    check(Reduce{function, {1}}, {x}, {{DType::f32, {4, 1, 31, 33}}});
    check(Reduce{function, {2, 3}}, {x}, {{DType::f32, {4, 40, 1, 1}}});
    check(Reduce{function, {0, 2}}, {x}, {{DType::f32, {1, 40, 1, 33}}});
  }
  check(ArgExtreme{true, 1, false}, {x}, {{DType::i64, {4, 1, 31, 33}}});
  check(LayerNormalization{2}, {x, wave({31, 33}), wave({33})},
        {{DType::f32, shape}, {DType::f32, {4, 40, 1, 1}}, {DType::f32, {4, 40, 1, 1}}});
}

TEST_CASE("moved elements are the same on any number of threads") {
  const Shape shape{2, 24, 31, 33};
  const Tensor x = wave(shape);
  check(Transpose{{0, 2, 3, 1}}, {x}, {{DType::f32, {2, 31, 33, 24}}});
  check(Concat{1}, {x, x}, {{DType::f32, {2, 48, 31, 33}}});
  check(Split{2}, {x}, {{DType::f32, {2, 24, 11, 33}}, {DType::f32, {2, 24, 20, 33}}});
  check(Slice{{0, 1, 30, 0}, {1, 2, -1, 1}}, {x}, {{DType::f32, {2, 12, 31, 33}}});
  check(Pad{PadMode::reflect, {0, 0, 2, 1}, {0, 0, 1, 3}}, {x}, {{DType::f32, {2, 24, 34, 37}}});
  check(Expand{}, {wave({24, 1, 33})}, {{DType::f32, shape}});
  check(Tile{{1, 2, 1, 3}}, {x}, {{DType::f32, {2, 48, 31, 99}}});
  check(Triangle{true}, {x}, {{DType::f32, shape}});
  check(DepthToSpace{2, true}, {x}, {{DType::f32, {2, 6, 62, 66}}});
  Resize linear;
  linear.mode = ResizeMode::linear;
  linear.scales = {1, 1, 2, 2};
  check(linear, {x}, {{DType::f32, {2, 24, 62, 66}}});
  Tensor places(DType::i64, shape);
  for (std::int64_t i = 0; i < places.size(); ++i) places.write().as<std::int64_t>()[i] = i * 5 % 24;
  check(GatherElements{1}, {x, places}, {{DType::f32, shape}});
}
