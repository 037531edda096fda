// Convolutions and windows over three axes of levels on the native backend: the levels of the reference, to the last
// one.
#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "net.hpp"

using namespace rdquant;
using core::DType;
using core::Shape;
using program::kNone;
using program::Role;
using program::ValueId;
using testing::Net;

namespace {

std::mt19937 random_numbers(7);

std::int64_t any(std::int64_t low, std::int64_t high) {
  return low + static_cast<std::int64_t>(random_numbers()) % (high - low + 1);
}

core::Tensor levels(DType dtype, const Shape& shape) {
  core::Tensor tensor(dtype, shape);
  auto* at = tensor.write().as<std::uint8_t>();
  for (std::int64_t i = 0; i < tensor.size(); ++i) at[i] = static_cast<std::uint8_t>(random_numbers());
  return tensor;
}

core::Tensor floats(const Shape& shape, float least, float most) {
  core::Tensor tensor(DType::f32, shape);
  std::uniform_real_distribution<float> number(least, most);
  for (std::int64_t i = 0; i < tensor.size(); ++i) tensor.write().as<float>()[i] = number(random_numbers);
  return tensor;
}

Shape result_of(const Shape& x, std::int64_t k, const program::Window& window) {
  Shape y{x[0], k};
  for (std::size_t i = 0; i < 3; ++i) {
    const std::int64_t reach = (window.kernel[i] - 1) * window.dilations[i] + 1;
    const std::int64_t room = x[i + 2] + window.pads_begin[i] + window.pads_end[i] - reach;
    y.push_back(room < 0 ? 0 : room / window.strides[i] + 1);
  }
  return y;
}

program::Window window_of(std::vector<std::int64_t> kernel, std::vector<std::int64_t> strides,
                          std::vector<std::int64_t> dilations, bool pads) {
  program::Window window{std::move(kernel), std::move(strides), std::move(dilations), {0, 0, 0}, {0, 0, 0}};
  for (std::size_t i = 0; pads && i < 3; ++i) {
    const std::int64_t reach = (window.kernel[i] - 1) * window.dilations[i];
    window.pads_begin[i] = reach / 2;
    window.pads_end[i] = reach - reach / 2;
  }
  return window;
}

/// `dtype` of the result: levels like those of x, or f32. `extras`: bias, residual and table, or the residual alone.
ValueId convolve(Net& net, ValueId x, std::int64_t k, const program::Window& window, std::int64_t groups,
                 DType dtype, bool extras = false) {
  const Shape in = net.shape(x);
  const Shape weights{k, in[1] / groups, window.kernel[0], window.kernel[1], window.kernel[2]};
  const auto typed = [&](ValueId id, DType type) {
    net.program.values[static_cast<std::size_t>(id)].dtype = type;
    return id;
  };
  const ValueId w = typed(net.add(weights, Role::constant, levels(DType::i8, weights)), DType::i8);
  const ValueId scales = net.add({k}, Role::constant, floats({k}, 0.001F, 0.004F));
  const bool is_signed = net.program.values[static_cast<std::size_t>(x)].dtype == DType::i8;
  const std::int32_t low = is_signed ? -128 : 0;
  program::Int8Convolution op;
  op.window = window;
  op.groups = groups;
  op.x_zero = low + 131;
  op.requantize = {{}, 1, low + 120, low, low + 255};
  op.sum = {program::BinaryFunction::add, 0.7F, 0.6F, low + 120, low + 100, low + 110, low, low + 255};
  const Shape out = result_of(in, k, window);
  ValueId bias = kNone, residual = kNone, table = kNone;
  if (extras) {
    const bool numbers = dtype == DType::f32;
    bias = net.add({k}, Role::constant, floats({k}, -9, 9));
    residual = typed(net.add(out, Role::constant, numbers ? floats(out, -9, 9) : levels(dtype, out)), dtype);
    if (!numbers) table = typed(net.add({256}, Role::constant, levels(DType::u8, {256})), DType::u8);
  }
  if (dtype == DType::f32) op.requantize.high = 0;
  return typed(net.step(op, {x, w, scales, bias, residual, table, kNone, kNone}, out), dtype);
}

void check(Net& net, DType dtype, const std::vector<ValueId>& outputs) {
  net.program.outputs = outputs;
  const std::vector<core::Tensor> inputs = {levels(dtype, net.shape(net.program.inputs[0]))};
  const auto expected =
      testing::run(*runtime::backend("reference").prepare(net.program, {1, 0}), net.program, inputs);
  for (const int threads : {1, 2}) {
    const auto prepared = testing::native()->prepare(net.program, {threads, 0});
    for (const auto& row : prepared->plan()) CHECK(row.supplier == "native");
    const auto got = testing::run(*prepared, net.program, inputs);
    for (std::size_t i = 0; i < got.size(); ++i) {
      const auto bytes = static_cast<std::size_t>(got[i].size()) * core::size_of(got[i].dtype());
      CHECK(std::memcmp(got[i].data(), expected[i].data(), bytes) == 0);
    }
  }
}

ValueId input(Net& net, DType dtype, const Shape& shape) {
  const ValueId x = net.input(shape);
  net.program.values[static_cast<std::size_t>(x)].dtype = dtype;
  return x;
}

}  // namespace

TEST_CASE("convolutions over three axes of levels") {
  for (int round = 0; round < 150; ++round) {
    CAPTURE(round);
    const DType dtype = any(0, 1) == 0 ? DType::u8 : DType::i8;
    const std::int64_t size = any(1, 3), depthwise = any(0, 3), groups = depthwise == 0 ? 20 : any(1, 2);
    const std::int64_t channels = groups * (depthwise == 0 ? 1 : any(1, 24));
    Net net(static_cast<unsigned>(round));
    const ValueId x = input(net, dtype, {any(1, 2), channels, any(3, 7), any(5, 12), any(5, 12)});
    const auto kernel = std::vector<std::int64_t>{any(1, 3), any(0, 2) == 0 ? 1 : size, size};
    const auto strides = std::vector<std::int64_t>{any(1, 2), any(1, 2), any(1, 2)};
    const auto dilations = std::vector<std::int64_t>{any(1, 2), any(1, 2), any(1, 2)};
    const program::Window window = window_of(kernel, strides, dilations, any(0, 3) > 0);
    const std::int64_t filters = groups * (depthwise == 0 ? 1 : any(1, 40));
    const Shape y = result_of(net.shape(x), filters, window);
    if (core::element_count(y) == 0) continue;
    const DType made = any(0, 2) == 0 ? DType::f32 : dtype;
    check(net, dtype, {convolve(net, x, filters, window, groups, made, any(0, 1) == 0)});
  }
}

TEST_CASE("kernels along the depth, over planes, and of one element") {
  using Sizes = std::vector<std::int64_t>;
  for (const Sizes& kernel :
       {Sizes{3, 1, 1}, Sizes{5, 1, 1}, Sizes{1, 3, 3}, Sizes{1, 1, 1}, Sizes{3, 3, 3}, Sizes{2, 6, 7}}) {
    for (const std::int64_t stride : {1, 2}) {
      for (const std::int64_t groups : {1, 24}) {
        for (const std::int64_t batch : {1, 2}) {
          const bool whole = kernel[1] == 6;
          Net net(3);
          const ValueId x = input(net, DType::u8, {batch, 24, 5, 6, 7});
          const program::Window window =
              window_of(kernel, {stride, kernel[1] == 1 ? 1 : stride, 1}, {1, 1, 1}, !whole);
          const ValueId y = convolve(net, x, 24, window, groups, DType::u8);
          const ValueId z =
              convolve(net, y, 24, window_of({3, 3, 3}, {1, 1, 1}, {1, 1, 1}, true), groups, DType::u8);
          check(net, DType::u8, {y, z, convolve(net, x, 24, window, groups, DType::f32, true)});
        }
      }
    }
  }
}

TEST_CASE("volumes too large to be gathered at once, and parts of others") {
  Net net(1);
  const ValueId x = input(net, DType::u8, {1, 40, 6, 30, 40});
  const std::vector<ValueId> parts = net.split(x, {24, 16});
  for (const ValueId part : parts) net.program.values[static_cast<std::size_t>(part)].dtype = DType::u8;
  const program::Window window = window_of({3, 3, 3}, {1, 1, 1}, {1, 1, 1}, true);
  const ValueId y = convolve(net, x, 24, window, 1, DType::u8);
  net.program.outputs = {y};
  check(net, DType::u8, {y, convolve(net, y, 20, window, 1, DType::f32, true)});
}

TEST_CASE("maxima and means over three axes of levels") {
  using Sizes = std::vector<std::int64_t>;
  for (const DType dtype : {DType::u8, DType::i8}) {
    for (const Sizes& kernel :
         {Sizes{1, 3, 3}, Sizes{3, 3, 3}, Sizes{2, 2, 2}, Sizes{2, 6, 7}, Sizes{5, 6, 7}, Sizes{3, 1, 1}}) {
      for (const bool mean : {false, true}) {
        const bool whole = kernel[1] == 6;
        Net net(2);
        const ValueId x = input(net, dtype, {2, 20, 5, 6, 7});
        const ValueId first =
            convolve(net, x, 20, window_of({1, 1, 1}, {1, 1, 1}, {1, 1, 1}, false), 1, dtype);
        const std::int64_t stride = kernel[0] == 5 ? 1 : kernel[1] == 1 ? 1 : 2;
        program::Window window =
            window_of(kernel, {stride, whole ? 1 : stride, whole ? 1 : stride}, {1, 1, 1}, !whole);
        if (mean) window.pads_begin[0] = window.pads_end[0] = 0;
        const std::int32_t low = dtype == DType::u8 ? 0 : -128;
        const Shape shape = result_of(net.shape(x), 20, window);
        program::Pool pool;
        pool.window = window;
        const ValueId y =
            mean ? net.step(
                       program::Int8Pool{window, false, low + 99, 1.5F, {{}, 1, low + 120, low, low + 255}},
                       {first}, shape)
                 : net.step(pool, {first}, shape);
        net.program.values[static_cast<std::size_t>(y)].dtype = dtype;
        check(net, dtype, {convolve(net, y, 8, window_of({1, 1, 1}, {1, 1, 1}, {1, 1, 1}, false), 1, dtype)});
      }
    }
  }
}
