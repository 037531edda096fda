#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
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
