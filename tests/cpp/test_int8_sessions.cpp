// Whole int8 programs on the native backend: the levels of the reference, to the last one.
#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "net.hpp"

using namespace rdquant;
using core::DType;
using program::kNone;
using program::Role;
using program::ValueId;
using testing::Net;

namespace {

std::mt19937 random_levels(5);

core::Tensor levels(DType dtype, const core::Shape& shape) {
  core::Tensor tensor(dtype, shape);
  auto* at = tensor.write().as<std::uint8_t>();
  for (std::int64_t i = 0; i < tensor.size(); ++i) at[i] = static_cast<std::uint8_t>(random_levels());
  return tensor;
}

/// k filters of `size` × `size` on levels of `dtype`, whose results are such levels too.
ValueId convolve(Net& net, DType dtype, ValueId x, std::int64_t k, std::int64_t size, std::int64_t stride = 1,
                 std::int64_t groups = 1) {
  const core::Shape in = net.shape(x);
  const std::int64_t pad = size / 2, from = in[1] / groups;
  const ValueId w = net.add({k, from, size, size}, Role::constant, levels(DType::i8, {k, from, size, size}));
  net.program.values[static_cast<std::size_t>(w)].dtype = DType::i8;
  core::Tensor multipliers(DType::f32, {k});
  for (std::int64_t i = 0; i < k; ++i)
    multipliers.write().as<float>()[i] = 0.01F / static_cast<float>(size * (1 + i % 3));
  const ValueId scales = net.add({k}, Role::constant, std::move(multipliers));
  const std::int32_t low = dtype == DType::u8 ? 0 : -128;
  program::Int8Convolution op;
  op.window = {{size, size}, {stride, stride}, {1, 1}, {pad, pad}, {pad, pad}};
  op.groups = groups;
  op.x_zero = low + 131;
  op.requantize = {{}, 1, low + 120, low, low + 255};
  const auto out = [&](std::int64_t n) { return (n + 2 * pad - size) / stride + 1; };
  const ValueId y =
      net.step(op, {x, w, scales, kNone, kNone, kNone, kNone, kNone}, {in[0], k, out(in[2]), out(in[3])});
  net.program.values[static_cast<std::size_t>(y)].dtype = dtype;
  return y;
}

void check_levels(Net& net, DType dtype, const std::vector<ValueId>& outputs) {
  net.program.outputs = outputs;
  const std::vector<core::Tensor> inputs = {levels(dtype, net.shape(net.program.inputs[0]))};
  const auto expected =
      testing::run(*runtime::backend("reference").prepare(net.program, {1, 0}), net.program, inputs);
  for (const int threads : {1, 2}) {
    const auto got =
        testing::run(*testing::native()->prepare(net.program, {threads, 0}), net.program, inputs);
    for (std::size_t i = 0; i < got.size(); ++i) {
      REQUIRE(got[i].size() == expected[i].size());
      CHECK(std::memcmp(got[i].data(), expected[i].data(), static_cast<std::size_t>(got[i].size())) == 0);
    }
  }
}

}  // namespace

TEST_CASE("convolutions of levels, one after another, in groups and of parts of an image") {
  for (const DType dtype : {DType::u8, DType::i8}) {
    for (const std::int64_t batch : {1, 2}) {
      Net net(1);
      const ValueId x = net.input({batch, 3, 13, 18});
      net.program.values[static_cast<std::size_t>(x)].dtype = dtype;
      const ValueId first = convolve(net, dtype, x, 40, 3, 2);
      const ValueId pointwise = convolve(net, dtype, first, 48, 1);
      const std::vector<ValueId> parts = net.split(pointwise, {24, 20, 4});
      for (const ValueId part : parts) net.program.values[static_cast<std::size_t>(part)].dtype = dtype;
      const ValueId dense = convolve(net, dtype, parts[0], 36, 3);
      const ValueId strided = convolve(net, dtype, parts[1], 24, 5, 2);
      const ValueId grouped = convolve(net, dtype, pointwise, 32, 3, 1, 4);
      const ValueId depthwise = convolve(net, dtype, first, 40, 3, 1, 40);
      check_levels(net, dtype, {dense, strided, grouped, depthwise, parts[2]});
    }
  }
}
