#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "kernel_reference.hpp"
#include "runtime/kernels/float32/winograd/winograd.hpp"

// What is not a number stays so: in every kernel of float32, on every instruction set.

using namespace reference;
using rdquant::core::Isa;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

template <class Body>
void for_every_isa(Body body) {
  for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
    if (isa > rdquant::core::available_isa()) continue;
    CAPTURE(rdquant::core::isa_name(isa));
    body(rdquant::runtime::kernels::kernels(isa));
  }
}

std::vector<Activation> activations() {
  using enum Function;
  std::vector<Activation> all;
  for (const Function f : {none, relu, leaky_relu, sigmoid, silu, hard_swish, Function::tanh, elu, gelu_erf,
                           gelu_tanh, mish, Function::exp, Function::erf, Function::sqrt, reciprocal,
                           Function::abs, negate, Function::floor, Function::ceil}) {
    all.push_back({f, 0.1f, 0.0f});
  }
  all.push_back({clip, 0.0f, 6.0f});
  all.push_back({hard_sigmoid, 0.2f, 0.5f});
  return all;
}

Index count_nan(const Floats& x) {
  return std::count_if(x.begin(), x.end(), [](float v) { return std::isnan(v); });
}

ConvShape shape(Index c, Index size, Index k, Index kernel, Index groups = 1) {
  ConvShape s;
  s.c = c;
  s.h = s.w = size;
  s.k = k;
  s.kh = s.kw = kernel;
  s.top = s.left = s.bottom = s.right = kernel / 2;
  s.groups = groups;
  return s;
}

}  // namespace

TEST_CASE("exp goes on to the largest float32") {
  for_every_isa([&](const Kernels& kernels) {
    Floats x{87, 88, 88.02F, 88.1F, 88.3F, 88.5F, 88.72F, 88.73F, 1000, -87.3F, -87.4F, -1000};
    Floats y(x.size());
    kernels.unary({Function::exp, 0, 0}, x.data(), y.data(), 0, static_cast<Index>(x.size()));
    for (std::size_t i = 0; i < x.size(); ++i) {
      CAPTURE(x[i]);
      const float exact = x[i] < -87.33F ? 0 : std::exp(x[i]);  // denormal numbers become zero
      if (std::isinf(exact)) {
        CHECK(y[i] == exact);
      } else {
        CHECK(std::abs(y[i] - exact) <= 1e-6F * exact);
      }
    }
  });
}

TEST_CASE("functions of one number") {
  for_every_isa([&](const Kernels& kernels) {
    for (const Activation& f : activations()) {
      CAPTURE(static_cast<int>(f.function));
      Floats x(45, 0.5f), y(45);
      for (const std::size_t i : {0U, 7U, 16U, 31U, 40U, 44U}) x[i] = kNan;
      kernels.unary(f, x.data(), y.data(), 0, 45);
      for (std::size_t i = 0; i < 45; ++i) CHECK(std::isnan(y[i]) == std::isnan(x[i]));
    }
  });
}

TEST_CASE("functions of two numbers") {
  using enum Binary;
  for_every_isa([&](const Kernels& kernels) {
    for (const Binary f : {add, sub, mul, div, Binary::min, Binary::max, prelu}) {
      CAPTURE(static_cast<int>(f));
      Floats a(45, -0.5f), b(45, 2.0f), y(45);
      for (const std::size_t i : {0U, 16U, 44U}) a[i] = kNan;
      for (const std::size_t i : {7U, 31U, 40U}) b[i] = kNan;
      kernels.binary(f, a.data(), 1, b.data(), 1, y.data(), 0, 45);
      for (std::size_t i = 0; i < 45; ++i) CHECK(std::isnan(y[i]) == (std::isnan(a[i]) || std::isnan(b[i])));
    }
  });
}

TEST_CASE("softmax of a row and of a column") {
  for_every_isa([&](const Kernels& kernels) {
    for (const Index length : {3, 16, 37}) {
      for (Index place = 0; place < length; ++place) {
        Floats x = random_floats(3 * length, 1), y(x.size());
        x[at(length + place)] = kNan;
        kernels.softmax(x.data(), y.data(), length, 0, 3);
        for (Index i = 0; i < 3 * length; ++i) CHECK(std::isnan(y[at(i)]) == (i / length == 1));
        x = random_floats(length * 21, 2);
        y.assign(x.size(), 0.0f);
        x[at(place * 21 + 18)] = kNan;
        kernels.softmax_columns(x.data(), y.data(), length, 21, 0, 21);
        for (Index i = 0; i < length * 21; ++i) CHECK(std::isnan(y[at(i)]) == (i % 21 == 18));
      }
    }
  });
}

TEST_CASE("windows") {
  for_every_isa([&](const Kernels& kernels) {
    const Index block = kernels.block;
    for (const bool average : {false, true}) {
      PoolShape s;
      s.c = block;
      s.h = s.w = 7;
      s.kh = s.kw = 3;
      s.top = s.left = s.bottom = s.right = 1;
      s.oh = s.ow = 7;
      s.average = average;
      for (Index pixel = 0; pixel < 49; ++pixel) {
        Floats x = random_floats(49 * block, 3), y(x.size());
        x[at(pixel * block + 5)] = kNan;
        kernels.pool(s, x.data(), 49 * block, y.data(), 49 * block, 0, 7);
        const Index rows = 3 - (pixel / 7 == 0) - (pixel / 7 == 6);
        const Index columns = 3 - (pixel % 7 == 0) - (pixel % 7 == 6);
        CHECK(count_nan(y) == rows * columns);
        CHECK(std::isnan(y[at(pixel * block + 5)]));
      }
    }
    Floats x = random_floats(49 * block, 3), y(at(block));
    x[at(20 * block + 5)] = kNan;
    kernels.global_average(x.data(), 49 * block, y.data(), block, block, 49, 0, 1);
    CHECK(count_nan(y) == 1);
    CHECK(std::isnan(y[5]));
  });
}

TEST_CASE("convolutions") {
  struct Case {
    ConvMethod method;
    ConvShape s;
  };
  const Case cases[] = {{ConvMethod::depthwise, shape(16, 9, 16, 3, 16)},
                        {ConvMethod::few_channels, shape(3, 9, 16, 3)},
                        {ConvMethod::dense, shape(16, 9, 16, 3)},
                        {ConvMethod::dense, shape(16, 9, 16, 1)}};
  for_every_isa([&](const Kernels& kernels) {
    for (const Case& test : cases) {
      const ConvShape& s = test.s;
      const ConvPlan plan = kernels.plan(s, test.method).value();
      const Floats w = random_floats(s.k * s.c / s.groups * s.kh * s.kw, 4);
      Floats packed(at(plan.weights));
      kernels.pack(plan, w.data(), packed.data(), 0, plan.pack_items);
      const Floats slopes(16, 0.25f);
      std::vector<Activation> all = activations();
      all.push_back({Function::prelu, 0.0f, 0.0f, slopes.data()});
      for (const Activation& f : all) {
        CAPTURE(static_cast<int>(f.function));
        Floats x(at(s.c * s.h * s.w), 0.5f), y(at(s.k * s.h * s.w));
        const bool plain = test.method == ConvMethod::few_channels;
        x[at(plain ? 4 * 9 + 4 : (4 * 9 + 4) * kernels.block)] =
            kNan;  // channel 0 of the pixel in the middle
        ConvArgs args;
        args.src = x.data();
        args.src_image = s.c * s.h * s.w;
        args.weights = packed.data();
        args.dst = y.data();
        args.dst_image = s.k * s.h * s.w;
        args.activation = f;
        kernels.convolve(plan, args, 0, plan.items);
        const Index filters = test.method == ConvMethod::depthwise ? 1 : s.k;
        if (f.function == Function::sqrt) continue;  // of negative sums
        CHECK(count_nan(y) == filters * s.kh * s.kw);
      }
    }
  });
}

TEST_CASE("a first convolution with maxima") {
  for_every_isa([&](const Kernels& kernels) {
    const ConvShape s = shape(3, 9, 16, 3);
    for (const Index size : {2, 3, 4}) {
      const ConvPlan plan = kernels.plan(s, ConvMethod::few_channels).value();
      const Floats w = random_floats(s.k * s.c * 9, 4);
      Floats packed(at(plan.weights));
      kernels.pack(plan, w.data(), packed.data(), 0, plan.pack_items);
      Floats x(at(s.c * 81), 0.5f);
      x[at(4 * 9 + 4)] = kNan;
      PoolShape pool;
      pool.c = s.k;
      pool.h = pool.w = 9;
      pool.kh = pool.kw = size;
      pool.oh = pool.ow = 9 - size + 1;
      Floats y(at(s.k * pool.oh * pool.ow)), scratch(at(plan.blocks * size * 9 * kernels.block));
      ConvArgs args;
      args.src = x.data();
      args.src_image = s.c * 81;
      args.weights = packed.data();
      args.dst = y.data();
      args.dst_image = s.k * pool.oh * pool.ow;
      args.activation = {Function::relu};
      const Index groups = divide(divide(s.k, kernels.block), plan.blocks);
      kernels.few_channels_pooled(plan, args, pool, scratch.data(), 0, groups * pool.oh);
      const Index reached =
          std::min(3 + size - 1, pool.oh);  // rows and columns from 3..5, size windows around them
      CHECK(count_nan(y) == s.k * reached * reached);
    }
  });
}

TEST_CASE("Winograd and fully connected layers") {
  for_every_isa([&](const Kernels& kernels) {
    const Winograd& winograd = rdquant::runtime::kernels::winograd(kernels.isa);
    const ConvShape s = shape(16, 12, 16, 3);
    for (const Index tile : {2, 4}) {
      const WinogradPlan plan = plan_winograd(s, tile, kernels.isa, 1);
      const Floats w = random_floats(s.k * s.c * 9, 4);
      Floats packed(at(plan.weights)), scratch(at(plan.scratch));
      winograd.pack(plan, w.data(), packed.data(), 0, divide(s.k, kernels.block));
      Floats x(at(s.c * 144), 0.5f), y(at(s.k * 144));
      x[at((5 * 12 + 6) * kernels.block)] = kNan;
      ConvArgs args;
      args.src = x.data();
      args.src_image = s.c * 144;
      args.weights = packed.data();
      args.dst = y.data();
      args.dst_image = s.k * 144;
      args.activation = {Function::relu};
      winograd.run(plan, args, scratch.data(), 0, plan.items);
      for (Index k = 0; k < s.k; ++k) {
        for (Index row = 4; row <= 6; ++row) {
          for (Index column = 5; column <= 7; ++column) {
            const Index place =
                (k / kernels.block * 144 + row * 12 + column) * kernels.block + k % kernels.block;
            CHECK(std::isnan(y[at(place)]));
          }
        }
      }
    }
    Floats x(3 * 20, 0.5f), w = random_floats(7 * 20, 5), y(3 * 7);
    x[20 + 17] = kNan;
    LinearArgs args;
    args.rows = 3;
    args.in = 20;
    args.out = 7;
    args.x = x.data();
    args.x_row = 20;
    args.w = w.data();
    args.y = y.data();
    args.y_row = 7;
    args.activation = {Function::relu};
    kernels.linear(args, 0, 2);
    for (std::size_t i = 0; i < y.size(); ++i) CHECK(std::isnan(y[i]) == (i / 7 == 1));
  });
}
