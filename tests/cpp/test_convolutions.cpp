#include <doctest/doctest.h>

#include "conv_shapes.hpp"
#include "kernel_reference.hpp"
#include "rdquant/core/error.hpp"

using namespace reference;
using rdquant::core::Isa;

namespace {

std::vector<Isa> isas() {
  std::vector<Isa> all;
  for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
    if (isa <= rdquant::core::available_isa()) all.push_back(isa);
  }
  return all;
}

enum class Residual { none, before, after, in_place };

struct Case {
  ConvShape shape;
  Activation activation = {};
  Residual residual = Residual::none;
};

Floats padded(Floats x, Index multiple) {
  x.resize(at(divide(static_cast<Index>(x.size()), multiple) * multiple), 0.0f);
  return x;
}

// What a run wrote, against the plain sums with their epilogue; and that it wrote nothing else.
void compare(const Case& test, const ConvArgs& args, const Floats& dst, const Doubles& sums,
             const Floats& slopes, const Floats& residual, Index block) {
  const ConvShape& s = test.shape;
  const Index area = s.oh() * s.ow();
  Activation f = test.activation;
  f.slopes = slopes.data();
  double worst = 0.0;
  for (Index i = 0; i < s.n * s.k * area; ++i) {
    const Index channel = i / area % s.k;
    const double extra = test.residual == Residual::none ? 0.0 : residual[at(i)];
    double expected = sums[at(i)];
    expected =
        args.residual_last ? function(f, expected, channel) + extra : function(f, expected + extra, channel);
    const double got = element(dst, args.dst_image, i / area / s.k, channel, i % area, area, block);
    const double error = std::fabs(got - expected) / std::fmax(1.0, std::fabs(expected));
    worst = std::fmax(worst, std::isfinite(got) ? error : 1e9);
  }
  const double terms = static_cast<double>(s.c / s.groups * s.kh * s.kw);
  CHECK(worst < 2e-6 + 3e-7 * std::sqrt(terms) * 4.0);
  for (Index n = 0; n < s.n; ++n) {
    for (Index channel = s.k; channel < divide(s.k, block) * block; ++channel) {
      CHECK(element(dst, args.dst_image, n, channel, area - 1, area, block) == 0.0f);
    }
    const float beyond = test.residual == Residual::in_place ? 0.0f : 7.0f;
    CHECK(dst[at((n + 1) * args.dst_image - 32)] == beyond);
  }
}

// Runs the convolution in three ranges of items, in disorder, into images further apart than they are long.
void check(const Case& test, ConvMethod method) {
  const ConvShape& s = test.shape;
  const Index area = s.oh() * s.ow();
  const Floats x = random_floats(s.n * s.c * s.h * s.w, 1);
  const Floats w = random_floats(s.k * (s.c / s.groups) * s.kh * s.kw, 2);
  const Floats bias = random_floats(s.k, 3);
  const Floats slopes = random_floats(s.k, 4);
  const Floats residual = random_floats(s.n * s.k * area, 5);
  const Doubles sums = reference::convolve(s, x, w, bias);
  for (const Isa isa : isas()) {
    const Kernels& kernels = rdquant::runtime::kernels::kernels(isa);
    const Index block = kernels.block;
    CAPTURE(rdquant::core::isa_name(isa));
    CAPTURE(describe(s));
    const ConvPlan plan = kernels.plan(s, method).value();
    Floats packed(at(plan.weights), 1e30f);
    const Index middle = plan.pack_items / 2;
    kernels.pack(plan, w.data(), packed.data(), middle, plan.pack_items);
    kernels.pack(plan, w.data(), packed.data(), 0, middle);

    const bool plain = method == ConvMethod::few_channels;
    const Floats src = plain ? x : blocked(x, s.n, s.c, s.h * s.w, block, 48);
    const Floats whole_bias = padded(bias, block);
    const Floats whole_slopes = padded(slopes, block);
    const Floats other = blocked(residual, s.n, s.k, area, block, 32);
    Floats dst(other.size(), 7.0f);
    if (test.residual == Residual::in_place) dst = other;
    ConvArgs args;
    args.src = src.data();
    args.src_image = static_cast<Index>(src.size()) / s.n;
    args.weights = packed.data();
    args.bias = whole_bias.data();
    args.dst = dst.data();
    args.dst_image = static_cast<Index>(dst.size()) / s.n;
    args.residual_image = args.dst_image;
    args.residual_last = test.residual == Residual::after;
    if (test.residual != Residual::none) args.residual = other.data();
    if (test.residual == Residual::in_place) args.residual = dst.data();
    args.activation = test.activation;
    args.activation.slopes = whole_slopes.data();
    const Index first = plan.items / 3;
    const Index second = plan.items - plan.items / 4;
    kernels.convolve(plan, args, second, plan.items);
    kernels.convolve(plan, args, 0, first);
    kernels.convolve(plan, args, first, second);
    compare(test, args, dst, sums, slopes, residual, block);
  }
}

constexpr Function kAll[] = {
    Function::none,         Function::relu,     Function::clip,       Function::leaky_relu, Function::prelu,
    Function::sigmoid,      Function::silu,     Function::hard_swish, Function::tanh,       Function::elu,
    Function::hard_sigmoid, Function::gelu_erf, Function::mish,       Function::gelu_tanh,  Function::exp,
    Function::erf,          Function::negate,   Function::abs};

}  // namespace

TEST_CASE("depthwise convolutions") {
  for (const Index size : {1, 2, 3, 5, 7, 8, 13, 14, 15, 28, 31}) {
    for (const Index stride : {1, 2}) {
      check({square(19, size, 19, 3, stride, 1, 19)}, ConvMethod::depthwise);
      check({square(5, size, 5, 5, stride, 2, 5)}, ConvMethod::depthwise);
    }
  }
  check({square(16, 9, 16, 3, 1, 4, 16)}, ConvMethod::depthwise);
  check({square(16, 12, 16, 7, 3, 3, 16)}, ConvMethod::depthwise);
  check({square(16, 6, 16, 1, 1, 0, 16)}, ConvMethod::depthwise);
  check({crooked(21, 21, 21)}, ConvMethod::depthwise);
}

TEST_CASE("first layers") {
  for (const Index size : {7, 8, 16, 27, 33, 64}) {
    check({square(3, size, 24, 3, 2, 1)}, ConvMethod::few_channels);
    check({square(3, size, 16, 3, 1, 1)}, ConvMethod::few_channels);
    check({square(1, size, 5, 6, 2, 2)}, ConvMethod::few_channels);
    check({square(4, size, 40, 7, 2, 3)}, ConvMethod::few_channels);
  }
  check({square(3, 4, 8, 3, 1, 5)}, ConvMethod::few_channels);
  check({square(3, 27, 96, 11, 2, 0)}, ConvMethod::few_channels);
  check({crooked(3, 33, 1)}, ConvMethod::few_channels);
  ConvShape line = square(2, 500, 19, 251, 1, 7);  // a long kernel, as over samples of sound
  line.h = line.kh = 1;
  line.top = line.bottom = 0;
  check({line}, ConvMethod::few_channels);
}

TEST_CASE("dense convolutions") {
  for (const Index size : {1, 2, 3, 5, 7, 8, 13, 14, 20, 29}) {
    for (const Index stride : {1, 2}) {
      check({square(24, size, 40, 1, stride, 0)}, ConvMethod::dense);
      check({square(16, size, 16, 3, stride, 1)}, ConvMethod::dense);
      check({square(20, size, 33, 3, stride, 1)}, ConvMethod::dense);
    }
  }
  check({square(3, 6, 50, 5, 1, 2)}, ConvMethod::dense);
  check({square(17, 4, 8, 3, 1, 5)}, ConvMethod::dense);
  check({square(48, 9, 64, 7, 3, 3)}, ConvMethod::dense);
  check({crooked(37, 21, 1)}, ConvMethod::dense);
}

TEST_CASE("dense convolutions in groups") {
  check({square(64, 7, 32, 3, 1, 1, 2)}, ConvMethod::dense);
  check({square(32, 7, 64, 3, 2, 1, 8)}, ConvMethod::dense);
  check({square(64, 6, 64, 1, 1, 0, 16)}, ConvMethod::dense);
  check({square(6, 6, 9, 3, 1, 1, 3)}, ConvMethod::dense);
  check({square(48, 5, 48, 5, 1, 2, 2)}, ConvMethod::dense);
  check({crooked(64, 32, 4)}, ConvMethod::dense);
}

TEST_CASE("dense convolutions in groups that fill no whole blocks") {
  for (const Index groups : {2, 3, 5}) {
    for (const Index channels : {5, 12, 24, 40, 56}) {
      check({square(channels * groups, 7, channels * groups, 3, 1, 1, groups)}, ConvMethod::dense);
      check({square(channels * groups, 6, 20 * groups, 1, 1, 0, groups)}, ConvMethod::dense);
      check({square(24 * groups, 6, channels * groups, 3, 2, 1, groups)}, ConvMethod::dense);
    }
  }
  check({square(240, 5, 240, 3, 1, 1, 2)}, ConvMethod::dense);
  check({square(20, 5, 220, 3, 1, 1, 20)}, ConvMethod::dense);
  check({square(220, 5, 20, 3, 1, 1, 20)}, ConvMethod::dense);
}

TEST_CASE("activations and residuals") {
  for (const Function function : kAll) {
    CAPTURE(static_cast<int>(function));
    const Activation f = {function, function == Function::clip ? -0.25f : 0.3f, 0.6f, nullptr};
    for (const Residual residual : {Residual::none, Residual::before, Residual::after, Residual::in_place}) {
      check({square(19, 9, 19, 3, 1, 1, 19), f, residual}, ConvMethod::depthwise);
      check({square(2, 9, 19, 3, 2, 1), f, residual}, ConvMethod::few_channels);
      ConvShape s = square(6, 9, 37, 1, 1, 0);
      s.n = 2;
      check({s, f, residual}, ConvMethod::dense);
      check({square(3, 15, 19, 3, 1, 1), f, residual}, ConvMethod::dense);
    }
  }
  const Activation positive = {Function::clip, 0.25f, 0.5f, nullptr};
  check({square(19, 9, 19, 3, 1, 1, 19), positive}, ConvMethod::depthwise);
}

TEST_CASE("what cannot be run is refused") {
  const Kernels& kernels = rdquant::runtime::kernels::kernels(Isa::baseline);
  using namespace rdquant::core;
  CHECK_FALSE(kernels.plan(square(8, 9, 16, 3, 1, 1), ConvMethod::depthwise));
  CHECK_FALSE(kernels.plan(square(5, 9, 16, 3, 1, 1), ConvMethod::few_channels));
  CHECK_FALSE(kernels.plan(square(4, 99, 16, 31, 1, 1), ConvMethod::few_channels));
  CHECK_FALSE(kernels.plan(square(3, 99, 16, 11, 4, 1), ConvMethod::few_channels));
  CHECK_FALSE(kernels.plan(square(8, 3, 16, 5, 1, 0), ConvMethod::dense));
  CHECK_FALSE(kernels.plan(square(8, 3, 16, 3, 0, 0), ConvMethod::dense));
  CHECK_FALSE(kernels.plan(square(8, 3, 16, 3, 1, -1), ConvMethod::dense));
  CHECK_FALSE(kernels.plan(square(8, 3, 15, 3, 1, 1, 2), ConvMethod::dense));
}
