#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "rdquant/core/error.hpp"
#include "rdquant/program/evaluate.hpp"

using namespace rdquant;
using namespace rdquant::program;
using core::DType;
using core::Shape;
using core::Tensor;

namespace {

// clang-format off
template <typename T> constexpr DType kDType = DType::f32;
template <> constexpr DType kDType<double> = DType::f64;
template <> constexpr DType kDType<std::int8_t> = DType::i8;
template <> constexpr DType kDType<std::int32_t> = DType::i32;
template <> constexpr DType kDType<std::int64_t> = DType::i64;
template <> constexpr DType kDType<std::uint8_t> = DType::u8;
// clang-format on

template <typename T>
Tensor tensor(Shape shape, const std::vector<T>& values) {
  Tensor t(kDType<T>, std::move(shape));
  REQUIRE(t.size() == static_cast<std::int64_t>(values.size()));
  std::copy(values.begin(), values.end(), t.write().as<T>());
  return t;
}
Tensor floats(Shape shape, const std::vector<float>& values) {
  return tensor<float>(std::move(shape), values);
}
Tensor ints(Shape shape, const std::vector<std::int64_t>& values) {
  return tensor<std::int64_t>(std::move(shape), values);
}

/// 0, 1, 2, …
Tensor counting(Shape shape) {
  Tensor t(DType::f32, std::move(shape));
  for (std::int64_t i = 0; i < t.size(); ++i) t.write().as<float>()[i] = static_cast<float>(i);
  return t;
}

/// Outputs of `operation`, each of a dtype and shape.
std::vector<Tensor> run_all(const Operation& operation, const std::vector<Tensor>& inputs,
                            const std::vector<std::pair<DType, Shape>>& results) {
  const Step step{operation, {}, {}, "node"};
  std::vector<core::TensorView> in;
  for (const Tensor& t : inputs) in.push_back(t.view());
  std::vector<Tensor> tensors;
  for (const auto& [dtype, shape] : results) tensors.emplace_back(dtype, shape);
  std::vector<core::MutableTensorView> out;
  for (Tensor& t : tensors) out.push_back(t.write());
  evaluate(step, in, out);
  return tensors;
}

std::vector<double> run(const Operation& operation, const std::vector<Tensor>& inputs, Shape shape,
                        DType dtype = DType::f32) {
  return run_all(operation, inputs, {{dtype, std::move(shape)}})[0].doubles();
}

using Values = std::vector<double>;

void check_close(const Values& found, const Values& expected, double tolerance = 1e-6) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    CHECK(found[i] == doctest::Approx(expected[i]).epsilon(tolerance));
  }
}

Window window(std::vector<std::int64_t> kernel, std::int64_t stride = 1, std::int64_t pad = 0,
              std::int64_t dilation = 1) {
  const std::size_t n = kernel.size();
  return {std::move(kernel), std::vector(n, stride), std::vector(n, dilation), std::vector(n, pad),
          std::vector(n, pad)};
}

}  // namespace

TEST_CASE("convolution, with and without padding: the examples of the specification") {
  const Tensor x = counting({1, 1, 5, 5}), w = floats({1, 1, 3, 3}, std::vector<float>(9, 1.0F));
  CHECK(run(Convolution{.window = window({3, 3}, 1, 1), .activation = {}}, {x, w}, {1, 1, 5, 5}) ==
        Values{12,  21, 27, 33,  24,  33,  54,  63, 72,  51,  63,  99, 108,
               117, 81, 93, 144, 153, 162, 111, 72, 111, 117, 123, 84});
  CHECK(run(Convolution{.window = window({3, 3}), .activation = {}}, {x, w}, {1, 1, 3, 3}) ==
        Values{54, 63, 72, 99, 108, 117, 144, 153, 162});
  CHECK(run(Convolution{.window = window({3, 3}, 2, 1), .activation = {}}, {x, w}, {1, 1, 3, 3}) ==
        Values{12, 27, 24, 63, 108, 81, 72, 117, 84});
}

TEST_CASE("convolution: groups, bias, dilation, one axis, residual before and after the activation") {
  const Tensor x = floats({1, 2, 3}, {1, 2, 3, -1, -2, -3}), w = floats({2, 1, 2}, {1, 1, 1, 1});
  const Tensor bias = floats({2}, {0.5F, -0.5F}), residual = floats({1, 2, 1}, {-9, 9});
  Convolution step{.window = window({2}, 1, 0, 2), .groups = 2, .activation = {}};
  CHECK(run(step, {x, w, bias}, {1, 2, 1}) == Values{4.5, -4.5});
  step.activation = {Function::relu};
  CHECK(run(step, {x, w, bias, residual}, {1, 2, 1}) == Values{0, 4.5});
  step.residual_last = true;
  CHECK(run(step, {x, w, bias, residual}, {1, 2, 1}) == Values{-4.5, 9});
  step = {.window = window({2}, 1, 0, 2), .groups = 2, .activation = {Function::prelu}};
  CHECK(run(step, {x, w, bias, Tensor(), floats({2, 1}, {0.1F, 2})}, {1, 2, 1})[1] == -9);
}

TEST_CASE("convolution rounds once: large terms that cancel leave the small one") {
  const Tensor x = floats({1, 3, 1, 1}, {1e8F, 1, -1e8F}), w = floats({1, 3, 1, 1}, {1, 1, 1});
  CHECK(run(Convolution{.window = window({1, 1}), .activation = {}}, {x, w}, {1, 1, 1, 1}) == Values{1});
}

TEST_CASE(
    "transposed convolution: the example of the specification, and one with stride and output padding") {
  const Tensor x = counting({1, 1, 3, 3}), w = floats({1, 2, 3, 3}, std::vector<float>(18, 1.0F));
  const Values once{0, 1, 3, 3, 2, 3, 8, 15, 12, 7, 9, 21, 36, 27, 15, 9, 20, 33, 24, 13, 6, 13, 21, 15, 8};
  Values twice = once;
  twice.insert(twice.end(), once.begin(), once.end());
  CHECK(run(TransposedConvolution{.window = window({3, 3}), .activation = {}}, {x, w}, {1, 2, 5, 5}) ==
        twice);
  CHECK(run(TransposedConvolution{.window = window({2}, 3, 1), .activation = {}},
            {floats({1, 1, 2}, {1, 2}), floats({1, 1, 2}, {3, 4}), floats({1}, {1})},
            {1, 1, 5}) == Values{5, 1, 7, 9, 1});
}

TEST_CASE("matrix product: transposed operands, factors, addend, broadcast batch, integers") {
  const Tensor a = floats({2, 3}, {1, 2, 3, 4, 5, 6}), b = floats({3, 2}, {1, 0, 0, 1, 1, 1});
  CHECK(run(MatMul{}, {a, b}, {2, 2}) == Values{4, 5, 10, 11});
  CHECK(run(MatMul{.transpose_a = true, .transpose_b = true, .activation = {}}, {b, a}, {2, 2}) ==
        Values{4, 10, 5, 11});
  CHECK(run(MatMul{.alpha = 2, .beta = 0.5F, .activation = {}}, {a, b, floats({2}, {10, 20})}, {2, 2}) ==
        Values{13, 20, 25, 32});
  CHECK(run(MatMul{}, {a, b, floats({2, 1}, {10, 20})}, {2, 2}) == Values{14, 15, 30, 31});
  CHECK(run(MatMul{}, {floats({2, 1, 1, 2}, {1, 0, 0, 1}), floats({2, 2, 1}, {1, 2, 3, 4})}, {2, 2, 1, 1}) ==
        Values{1, 3, 2, 4});
  CHECK(run(MatMul{}, {tensor<std::int32_t>({1, 2}, {3, -4}), tensor<std::int32_t>({2, 1}, {5, 6})}, {1, 1},
            DType::i32) == Values{-9});
}

TEST_CASE("pooling: the examples of the specification") {
  const Tensor x = floats({1, 1, 5, 5}, {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13,
                                         14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25});
  const auto results = run_all(Pool{.window = window({2, 2}, 2), .counted_pads_end = {}}, {x},
                               {{DType::f32, {1, 1, 2, 2}}, {DType::i64, {1, 1, 2, 2}}});
  CHECK(results[0].doubles() == Values{7, 9, 17, 19});
  CHECK(results[1].doubles() == Values{6, 8, 16, 18});
  const auto columns =
      run_all(Pool{.window = window({2, 2}, 2), .counted_pads_end = {}, .column_major_indices = true}, {x},
              {{DType::f32, {1, 1, 2, 2}}, {DType::i64, {1, 1, 2, 2}}});
  CHECK(columns[1].doubles() == Values{6, 16, 8, 18});
  Pool average{.function = PoolFunction::average,
               .window = window({5, 5}, 1, 2),
               .count_include_pad = true,
               .counted_pads_end = {2, 2}};
  CHECK(run(average, {x}, {1, 1, 5, 5})[0] == doctest::Approx(63.0 / 25));
  average.count_include_pad = false;
  CHECK(run(average, {x}, {1, 1, 5, 5})[0] == 7);
  average = {.function = PoolFunction::average,
             .window = window({2}, 2),
             .count_include_pad = true,
             .counted_pads_end = {0}};
  CHECK(run(average, {floats({1, 1, 3}, {1, 2, 5})}, {1, 1, 2}) == Values{1.5, 5});  // sizes rounded up
  CHECK(run(Pool{.function = PoolFunction::lp, .window = window({2}), .counted_pads_end = {}, .p = 2},
            {floats({1, 1, 3}, {3, -4, 0})}, {1, 1, 2}) == Values{5, 4});
  CHECK(std::isnan(run(Pool{.window = window({2}), .counted_pads_end = {}}, {floats({1, 1, 3}, {1, NAN, 2})},
                       {1, 1, 2})[0]));
}

TEST_CASE("functions of one number") {
  const auto one = [](Activation activation, float x) {
    return run(Unary{activation}, {floats({1}, {x})}, {1})[0];
  };
  CHECK(one({Function::round}, 2.5F) == 2);
  CHECK(one({Function::round}, -1.5F) == -2);
  CHECK(one({Function::hard_sigmoid, 0.5F, 0.6F}, -1) == doctest::Approx(0.1));
  CHECK(one({Function::hard_swish}, 1) == doctest::Approx(4.0 / 6));
  CHECK(one({Function::elu, 2}, -1) == doctest::Approx(-1.2642411));
  CHECK(one({Function::selu, 2, 3}, -1) == doctest::Approx(-3.79272));
  CHECK(one({Function::celu, 2}, -1) == doctest::Approx(-0.78693867));
  CHECK(one({Function::gelu}, 1) == doctest::Approx(0.84134475));
  CHECK(one({Function::gelu_tanh}, 1) == doctest::Approx(0.841192));
  CHECK(one({Function::mish}, 1) == doctest::Approx(0.8650984));
  CHECK(one({Function::softplus}, 100) == 100);
  CHECK(one({Function::swish, 2}, 1) == doctest::Approx(0.880797));
  CHECK(one({Function::shrink, 1.5F, 1.5F}, -2) == -0.5);
  CHECK(one({Function::thresholded_relu, 2}, 2) == 0);
  CHECK(one({Function::clip, -1, 1}, 7) == 1);
  CHECK(std::isnan(one({Function::clip, -1, 1}, NAN)));
  CHECK(one({Function::clip, 2, 1}, 0) == 1);  // the upper limit wins
  CHECK(one({Function::sign}, -0.5F) == -1);
  CHECK(run(Unary{{Function::is_inf, 0, 1}}, {floats({2}, {-INFINITY, INFINITY})}, {2}, DType::boolean) ==
        Values{0, 1});
  CHECK(run(Unary{{Function::abs}}, {tensor<std::int8_t>({2}, {-128, -7})}, {2}, DType::i8) ==
        Values{-128, 7});
  CHECK(run(Unary{{Function::clip, -INFINITY, 3}}, {ints({2}, {std::numeric_limits<std::int64_t>::min(), 9})},
            {2}, DType::i64) == Values{-0x1p63, 3});
  CHECK_THROWS_AS(run(Unary{{Function::exp}}, {ints({1}, {1})}, {1}, DType::i64), core::Unsupported);
}

TEST_CASE("functions of two numbers: broadcasting, NaN, integers that wrap") {
  const auto two = [](BinaryFunction f, float a, float b) {
    return run(Binary{f, {}}, {floats({1}, {a}), floats({}, {b})}, {1})[0];
  };
  CHECK(run(Binary{}, {floats({2, 1}, {1, 2}), floats({3}, {10, 20, 30})}, {2, 3}) ==
        Values{11, 21, 31, 12, 22, 32});
  CHECK(run(Binary{BinaryFunction::sub, {Function::relu}}, {floats({2}, {1, 5}), floats({1}, {3})}, {2}) ==
        Values{0, 2});
  CHECK(std::isnan(two(BinaryFunction::max, 1, NAN)));
  CHECK(std::isnan(two(BinaryFunction::min, NAN, 1)));
  CHECK(two(BinaryFunction::fmod, -4.3F, 2.1F) == doctest::Approx(-0.1).epsilon(1e-5));
  CHECK(two(BinaryFunction::mod, -4.3F, 2.1F) == doctest::Approx(2.0).epsilon(1e-5));
  const auto whole = [](BinaryFunction f, std::int8_t a, std::int8_t b) {
    return run(Binary{f, {}}, {tensor<std::int8_t>({1}, {a}), tensor<std::int8_t>({1}, {b})}, {1},
               DType::i8)[0];
  };
  CHECK(whole(BinaryFunction::div, -7, 2) == -3);
  CHECK(whole(BinaryFunction::div, -128, -1) == -128);
  CHECK(whole(BinaryFunction::div, 5, 0) == 0);
  CHECK(whole(BinaryFunction::mod, -4, 3) == 2);
  CHECK(whole(BinaryFunction::fmod, -4, 3) == -1);
  CHECK(whole(BinaryFunction::add, 127, 1) == -128);
  CHECK(whole(BinaryFunction::bitwise_xor, 6, 3) == 5);
  const auto shifted = [](BinaryFunction f, std::uint8_t b) {
    return run(Binary{f, {}}, {tensor<std::uint8_t>({1}, {16}), tensor<std::uint8_t>({1}, {b})}, {1},
               DType::u8)[0];
  };
  CHECK(shifted(BinaryFunction::shift_left, 3) == 128);
  CHECK(shifted(BinaryFunction::shift_right, 3) == 2);
  CHECK(shifted(BinaryFunction::shift_left, 8) == 0);
  CHECK(whole(BinaryFunction::shift_right, -8, 2) == -2);
  CHECK(whole(BinaryFunction::shift_right, -8, -1) == -1);
  CHECK(run(Binary{BinaryFunction::pow, {}}, {tensor<std::int32_t>({2}, {3, 2}), floats({2}, {4, -1})}, {2},
            DType::i32) == Values{81, 0});
  CHECK(run(Binary{BinaryFunction::less, {}}, {floats({2}, {1, NAN}), floats({1}, {2})}, {2},
            DType::boolean) == Values{1, 0});
  CHECK_THROWS_AS(run(Binary{}, {floats({1}, {1}), ints({1}, {1})}, {1}), core::Unsupported);
}

TEST_CASE("conversions: one rounding, half to even, saturation") {
  const auto cast = [](const Tensor& x, DType to) { return run(Cast{}, {x}, x.shape(), to); };
  CHECK(cast(floats({6}, {300, -300, 2.9F, -2.9F, NAN, -INFINITY}), DType::i8) ==
        Values{127, -128, 2, -2, 0, -128});
  CHECK(cast(floats({1}, {1e30F}), DType::i64) == Values{0x1p63});
  CHECK(cast(ints({2}, {300, -1}), DType::u8) == Values{44, 255});
  CHECK(cast(floats({3}, {0, 0.1F, NAN}), DType::boolean) == Values{0, 1, 1});
  CHECK(cast(floats({4}, {2049, 2051, 65520, 65519}), DType::f16) == Values{2048, 2052, INFINITY, 65504});
  CHECK(cast(floats({1}, {0x1.01p-15F}), DType::f16) == Values{0x1.01p-15});
  CHECK(cast(floats({2}, {257, 259}), DType::bf16) == Values{256, 260});
  // through float32 these would be rounded twice, to a tie and then down
  CHECK(cast(tensor<double>({1}, {2049 + 0x1p-30}), DType::f16) == Values{2050});
  CHECK(cast(tensor<double>({1}, {257 + 0x1p-40}), DType::bf16) == Values{258});
  CHECK(cast(ints({1}, {0x4040000000000001}), DType::bf16) == Values{0x1.02p62});
}

TEST_CASE("reductions keep NaN, count and order") {
  const Tensor x = floats({2, 3}, {1, -2, 3, 4, 5, -6});
  const auto reduce = [&](ReduceFunction f, std::int64_t axis) {
    return run(Reduce{f, {axis}}, {x}, axis == 0 ? Shape{3} : Shape{2, 1});
  };
  CHECK(reduce(ReduceFunction::sum, 0) == Values{5, 3, -3});
  CHECK(reduce(ReduceFunction::mean, 1) == Values{static_cast<double>(2.0F / 3), 1});
  CHECK(reduce(ReduceFunction::max, 1) == Values{3, 5});
  CHECK(reduce(ReduceFunction::min, 0) == Values{1, -2, -6});
  CHECK(reduce(ReduceFunction::prod, 1) == Values{-6, -120});
  CHECK(reduce(ReduceFunction::l1, 1) == Values{6, 15});
  check_close(reduce(ReduceFunction::l2, 1), {std::sqrt(14.0), std::sqrt(77.0)});
  CHECK(reduce(ReduceFunction::sum_square, 1) == Values{14, 77});
  check_close(run(Reduce{ReduceFunction::log_sum_exp, {0}}, {floats({2}, {1000, 1000})}, {}),
              {1000 + std::log(2.0)});
  CHECK(std::isnan(run(Reduce{ReduceFunction::max, {0}}, {floats({3}, {1, NAN, 2})}, {})[0]));
  CHECK(run(Reduce{ReduceFunction::max, {0}}, {floats({0}, {})}, {}) == Values{-INFINITY});
  CHECK(run(Reduce{ReduceFunction::mean, {0}}, {ints({2}, {-3, -4})}, {}, DType::i64) == Values{-3});
  const Tensor ties = floats({4}, {1, 3, 3, 0});
  CHECK(run(ArgExtreme{}, {ties}, {}, DType::i64) == Values{1});
  CHECK(run(ArgExtreme{.last = true}, {ties}, {}, DType::i64) == Values{2});
  CHECK(run(ArgExtreme{.largest = false}, {floats({3}, {1, NAN, -5})}, {}, DType::i64) == Values{1});
}

TEST_CASE("top k: equal values in order, NaN first") {
  const auto top = [](bool largest, const Tensor& x) {
    return run_all(TopK{.axis = 0, .largest = largest}, {x}, {{DType::f32, {3}}, {DType::i64, {3}}})[1]
        .doubles();
  };
  CHECK(top(true, floats({5}, {1, 7, 7, 0, 2})) == Values{1, 2, 4});
  CHECK(top(false, floats({5}, {1, 7, 7, 0, 0})) == Values{3, 4, 0});
  CHECK(top(true, floats({3}, {1, NAN, 7})) == Values{1, 2, 0});
}

TEST_CASE("cumulative sum, exclusive and reversed") {
  const Tensor x = floats({4}, {1, 2, 3, 4});
  CHECK(run(CumulativeSum{}, {x}, {4}) == Values{1, 3, 6, 10});
  CHECK(run(CumulativeSum{.exclusive = true}, {x}, {4}) == Values{0, 1, 3, 6});
  CHECK(run(CumulativeSum{.exclusive = true, .reverse = true}, {x}, {4}) == Values{9, 7, 4, 0});
}

TEST_CASE("normalizations") {
  check_close(run(Softmax{.axis = 1}, {floats({1, 3}, {-1, 0, 1})}, {1, 3}),
              {0.09003057, 0.24472847, 0.66524096});
  check_close(run(Softmax{.axis = 1, .logarithm = true}, {floats({1, 2}, {10000, 10001})}, {1, 2}),
              {-1.3132616, -0.31326166});
  const Tensor x = floats({1, 2, 1, 2}, {1, 3, 2, 6});
  const Tensor scale = floats({2}, {1, 2}), bias = floats({2}, {0, 1}), mean = floats({2}, {2, 4}),
               variance = floats({2}, {1, 4});
  CHECK(run(BatchNormalization{.epsilon = 0, .activation = {}}, {x, scale, bias, mean, variance},
            x.shape()) == Values{-1, 1, -1, 3});
  CHECK(run(GroupNormalization{.groups = 2, .epsilon = 0}, {x, scale, bias}, x.shape()) ==
        Values{-1, 1, -1, 3});
  CHECK(run(LpNormalization{.axis = 3, .p = 1}, {x}, x.shape()) == Values{0.25, 0.75, 0.25, 0.75});
  const auto layer =
      run_all(LayerNormalization{.axis = 3, .epsilon = 0}, {x, scale, bias},
              {{DType::f32, {1, 2, 1, 2}}, {DType::f32, {1, 2, 1, 1}}, {DType::f32, {1, 2, 1, 1}}});
  CHECK(layer[0].doubles() == Values{-1, 3, -1, 3});
  CHECK(layer[1].doubles() == Values{2, 4});
  CHECK(layer[2].doubles() == Values{1, 0.5});
  check_close(run(LayerNormalization{.axis = 1, .epsilon = 0, .root_mean_square = true},
                  {floats({1, 2}, {1, 7})}, {1, 2}),
              {0.2, 1.4});
  // size 4 around channel c: c − 1 … c + 2
  check_close(run(LocalResponseNormalization{.size = 4, .alpha = 4, .beta = 1, .bias = 1},
                  {floats({1, 4, 1}, {1, 2, 3, 4})}, {1, 4, 1}),
              {1 / 15.0, 2 / 31.0, 3 / 30.0, 4 / 26.0});
}

TEST_CASE("steps that move elements") {
  const Tensor x = floats({2, 3}, {1, 2, 3, 4, 5, 6});
  CHECK(run(Concat{.axis = 1}, {x, floats({2, 1}, {8, 9})}, {2, 4}) == Values{1, 2, 3, 8, 4, 5, 6, 9});
  const auto parts = run_all(Split{.axis = 1}, {x}, {{DType::f32, {2, 1}}, {DType::f32, {2, 2}}});
  CHECK(parts[0].doubles() == Values{1, 4});
  CHECK(parts[1].doubles() == Values{2, 3, 5, 6});
  CHECK(run(Slice{{1, 2}, {-1, -2}}, {x}, {2, 2}) == Values{6, 4, 3, 1});
  CHECK(run(Reshape{}, {x}, {3, 2}) == Values{1, 2, 3, 4, 5, 6});
  CHECK(run(Transpose{{1, 0}}, {x}, {3, 2}) == Values{1, 4, 2, 5, 3, 6});
  CHECK(run(Expand{}, {floats({2, 1}, {1, 2})}, {2, 2, 2}) == Values{1, 1, 2, 2, 1, 1, 2, 2});
  CHECK(run(Tile{{1, 2}}, {x}, {2, 6}) == Values{1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6});
  CHECK(run(Triangle{}, {x}, {2, 3}) == Values{1, 2, 3, 0, 5, 6});
  CHECK(run(Triangle{.upper = false}, {x, ints({}, {1})}, {2, 3}) == Values{1, 2, 0, 4, 5, 6});
  const Tensor deep = counting({1, 8, 1, 1});
  CHECK(run(DepthToSpace{.block = 2}, {deep}, {1, 2, 2, 2}) == Values{0, 2, 4, 6, 1, 3, 5, 7});
  CHECK(run(DepthToSpace{.block = 2, .column_row_depth = true}, {deep}, {1, 2, 2, 2}) ==
        Values{0, 1, 2, 3, 4, 5, 6, 7});
  CHECK(run(SpaceToDepth{.block = 2}, {floats({1, 2, 2, 2}, {0, 2, 4, 6, 1, 3, 5, 7})}, {1, 8, 1, 1}) ==
        deep.doubles());
  CHECK(run(Where{},
            {run_all(Cast{}, {floats({2, 1}, {0, 1})}, {{DType::boolean, {2, 1}}})[0], x, floats({}, {-1})},
            {2, 3}) == Values{-1, -1, -1, 4, 5, 6});
}

TEST_CASE("padding in every mode, and cropping") {
  const Tensor x = floats({3}, {1, 2, 3});
  CHECK(run(Pad{PadMode::constant, {2}, {1}}, {x, floats({}, {9})}, {6}) == Values{9, 9, 1, 2, 3, 9});
  CHECK(run(Pad{PadMode::edge, {2}, {1}}, {x}, {6}) == Values{1, 1, 1, 2, 3, 3});
  CHECK(run(Pad{PadMode::reflect, {2}, {2}}, {x}, {7}) == Values{3, 2, 1, 2, 3, 2, 1});
  CHECK(run(Pad{PadMode::wrap, {2}, {1}}, {x}, {6}) == Values{2, 3, 1, 2, 3, 1});
  CHECK(run(Pad{PadMode::constant, {-1}, {1}}, {x}, {3}) == Values{2, 3, 0});
}

TEST_CASE("gathering and scattering, with bounds") {
  const Tensor x = floats({3, 2}, {1, 2, 3, 4, 5, 6});
  CHECK(run(Gather{}, {x, ints({1, 2}, {-1, 0})}, {1, 2, 2}) == Values{5, 6, 1, 2});
  CHECK_THROWS_WITH_AS(run(Gather{}, {x, ints({1}, {3})}, {1, 2}), "index 3 is outside [-3, 3)",
                       core::InvalidArgument);
  CHECK(run(GatherElements{.axis = 1}, {floats({2, 2}, {1, 2, 3, 4}), ints({2, 2}, {0, 0, 1, 0})}, {2, 2}) ==
        Values{1, 1, 4, 3});
  CHECK(run(GatherNd{}, {floats({2, 2}, {0, 1, 2, 3}), ints({2, 2}, {0, 0, 1, 1})}, {2}) == Values{0, 3});
  CHECK(run(GatherNd{.batch_axes = 1}, {counting({2, 2, 2}), ints({2, 1}, {1, 0})}, {2, 2}) ==
        Values{2, 3, 4, 5});
  CHECK_THROWS_AS(run(GatherNd{}, {x, ints({1, 2}, {0, -3})}, {1}), core::InvalidArgument);
  const Tensor data = floats({4}, {1, 2, 3, 4}), indices = ints({3, 1}, {1, 3, 1}),
               updates = floats({3}, {9, 10, -8});
  CHECK(run(ScatterNd{}, {data, indices, updates}, {4}) == Values{1, -8, 3, 10});
  CHECK(run(ScatterNd{Reduction::add}, {data, indices, updates}, {4}) == Values{1, 3, 3, 14});
  CHECK(run(ScatterNd{Reduction::max}, {data, indices, updates}, {4}) == Values{1, 9, 3, 10});
  CHECK(run(OneHot{.axis = 1}, {ints({3}, {1, -1, 7}), floats({2}, {0, 5})}, {3, 3}) ==
        Values{0, 5, 0, 0, 0, 5, 0, 0, 0});
}

TEST_CASE("resize: nearest rules, cubic, antialias, crop: the examples of the specification") {
  const Tensor x = floats({1, 1, 2, 2}, {1, 2, 3, 4});
  Resize step{.scales = {1, 1, 2, 3}, .roi = {}};
  CHECK(run(step, {x}, {1, 1, 4, 6}) ==
        Values{1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 3, 3, 3, 4, 4, 4});
  step = {.mode = ResizeMode::linear, .scales = {1, 1, 2, 2}, .roi = {}};
  check_close(run(step, {x}, {1, 1, 4, 4}),
              {1, 1.25, 1.75, 2, 1.5, 1.75, 2.25, 2.5, 2.5, 2.75, 3.25, 3.5, 3, 3.25, 3.75, 4});
  step.coordinates = Coordinates::align_corners;
  check_close(run(step, {x}, {1, 1, 4, 4}), {1, 4.0 / 3, 5.0 / 3, 2, 5.0 / 3, 2, 7.0 / 3, 8.0 / 3, 7.0 / 3,
                                             8.0 / 3, 3, 10.0 / 3, 3, 10.0 / 3, 11.0 / 3, 4});
  step = {.mode = ResizeMode::cubic, .scales = {2}, .roi = {}};
  check_close(run(step, {floats({4}, {1, 2, 3, 4})}, {8}),
              {0.89453125, 1.19140625, 1.66796875, 2.296875, 2.703125, 3.33203125, 3.80859375, 4.10546875});
  step = {.mode = ResizeMode::linear, .scales = {0.5F}, .roi = {}, .antialias = true};
  check_close(run(step, {floats({4}, {1, 2, 3, 4})}, {2}), {1.625, 3.375});  // weights 1 3 3 1 in eighths
  step = {.mode = ResizeMode::linear,
          .coordinates = Coordinates::crop_and_resize,
          .scales = {0.75F},
          .roi = {0.5F, 1.5F},
          .extrapolation = 10};
  CHECK(run(step, {floats({4}, {1, 2, 3, 4})}, {3}) == Values{2.5, 4, 10});
}
