#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "kernel_reference.hpp"
#include "rdquant/core/error.hpp"
#include "runtime/kernels/float32/winograd/winograd.hpp"

using namespace rdquant;
using reference::at;
using reference::Doubles;
using reference::Floats;
using namespace rdquant::runtime::kernels;

namespace {

constexpr Index kGap = 48;  // floats between images
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kMark = 123.0f;

// Errors seen are below a third of these, as parts of the greatest output.
double bound(Index tile) { return tile == 2 ? 1e-6 : 5e-6; }

std::vector<core::Isa> all_isas() {
  std::vector<core::Isa> isas;
  for (const core::Isa isa : {core::Isa::baseline, core::Isa::avx2, core::Isa::avx512}) {
    if (isa <= core::available_isa()) isas.push_back(isa);
  }
  return isas;
}

ConvShape shape(Index n, Index c, Index h, Index w, Index k, Index pad) {
  return {.n = n,
          .c = c,
          .h = h,
          .w = w,
          .k = k,
          .kh = 3,
          .kw = 3,
          .top = pad,
          .left = pad,
          .bottom = pad,
          .right = pad};
}

struct Options {
  core::Isa isa;
  Index tile = 4;
  Index threads = 1;
  Activation activation = {};
  enum { none, first, last, in_place } residual = none;
};

struct Case {
  explicit Case(const ConvShape& s)
      : shape(s),
        x(reference::random_floats(s.n * s.c * s.h * s.w, 1)),
        weights(reference::random_floats(s.k * s.c * 9, 2)),
        bias(reference::random_floats(s.k, 3)),
        residual(reference::random_floats(s.n * s.k * s.oh() * s.ow(), 4)),
        sums(reference::convolve(s, x, weights, bias)) {}

  ConvShape shape;
  Floats x, weights, bias, residual;
  Doubles sums;
};

// The blocked output, with kMark in its gaps; items run backwards.
Floats run(const Case& c, const Options& o) {
  const ConvShape& s = c.shape;
  const Winograd& kernels = winograd(o.isa);
  const WinogradPlan plan = plan_winograd(s, o.tile, o.isa, o.threads);
  const Index area = s.oh() * s.ow();
  const Index blocks = divide(s.k, plan.block);
  Floats packed(at(plan.weights), kNan);
  for (Index block = blocks; block-- > 0;)
    kernels.pack(plan, c.weights.data(), packed.data(), block, block + 1);
  const Floats x = reference::blocked(c.x, s.n, s.c, s.h * s.w, plan.block, kGap);
  const Floats residual = reference::blocked(c.residual, s.n, s.k, area, plan.block, kGap);
  Floats bias(at(blocks * plan.block), 0.0f);
  std::copy(c.bias.begin(), c.bias.end(), bias.begin());
  Floats y = o.residual == Options::in_place ? residual : Floats(residual.size(), kMark);
  ConvArgs args;
  args.src = x.data();
  args.src_image = static_cast<Index>(x.size()) / s.n;
  args.weights = packed.data();
  args.bias = bias.data();
  args.dst = y.data();
  args.dst_image = args.residual_image = static_cast<Index>(y.size()) / s.n;
  args.activation = o.activation;
  if (o.residual != Options::none)
    args.residual = o.residual == Options::in_place ? y.data() : residual.data();
  args.residual_last = o.residual == Options::last;
  for (Index t = o.threads; t-- > 0;) {
    Floats scratch(at(plan.scratch), kNan);
    kernels.run(plan, args, scratch.data(), t * plan.items / o.threads, (t + 1) * plan.items / o.threads);
  }
  return y;
}

void check(const Case& c, const Options& o) {
  const ConvShape& s = c.shape;
  const Floats y = run(c, o);
  const Index block = winograd(o.isa).block;
  const Index area = s.oh() * s.ow();
  const Index image = static_cast<Index>(y.size()) / s.n;
  double error = 0.0;
  double greatest = 1.0;
  for (Index i = 0; i < s.n * s.k * area; ++i) {
    const Index channel = i / area % s.k;
    double want = c.sums[at(i)];
    greatest = std::max(greatest, std::fabs(want));
    if (o.residual == Options::first || o.residual == Options::in_place) want += c.residual[at(i)];
    want = reference::function(o.activation, want, channel);
    if (o.residual == Options::last) want += c.residual[at(i)];
    const double got = reference::element(y, image, i / area / s.k, channel, i % area, area, block);
    error = std::max(error, std::isfinite(got) ? std::fabs(got - want) : HUGE_VAL);
  }
  const std::string name = std::string(core::isa_name(o.isa)) + " F" + std::to_string(o.tile) + " c " +
                           std::to_string(s.c) + " " + std::to_string(s.h) + "×" + std::to_string(s.w) +
                           " k " + std::to_string(s.k) + " threads " + std::to_string(o.threads);
  CAPTURE(name);
  CHECK(error <= bound(o.tile) * greatest);
  Index wrong = 0;
  for (Index n = 0; n < s.n; ++n) {
    for (Index i = 0; i < kGap; ++i)
      wrong += y[at((n + 1) * image - 1 - i)] != (o.residual == Options::in_place ? 0.0f : kMark);
    for (Index channel = s.k; channel < divide(s.k, block) * block; ++channel) {
      for (Index i = 0; i < area; ++i)
        wrong += reference::element(y, image, n, channel, i, area, block) != 0.0f;
    }
  }
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("every shape, tile and instruction set gives the direct sum, however the work is divided") {
  const ConvShape shapes[] = {
      shape(1, 16, 12, 12, 16, 1), shape(2, 20, 13, 9, 40, 1), shape(1, 3, 5, 7, 8, 0),
      shape(3, 48, 13, 13, 24, 1), shape(1, 1, 3, 3, 1, 0),    shape(1, 5, 1, 1, 33, 1),
      shape(5, 17, 4, 6, 31, 1),   shape(1, 8, 3, 50, 70, 1),  shape(1, 64, 30, 41, 32, 0),
      shape(1, 260, 6, 6, 16, 1),
  };
  for (const ConvShape& s : shapes) {
    const Case c(s);
    for (const core::Isa isa : all_isas()) {
      for (const Index tile : {2, 4}) {
        for (const Index threads : {1, 2, 3}) check(c, {.isa = isa, .tile = tile, .threads = threads});
      }
    }
  }
}

TEST_CASE("each side has its own padding") {
  for (int sides = 0; sides < 16; ++sides) {
    ConvShape s = shape(1, 9, 6, 5, 10, 0);
    s.top = sides & 1;
    s.left = sides >> 1 & 1;
    s.bottom = sides >> 2 & 1;
    s.right = sides >> 3;
    const Case c(s);
    for (const core::Isa isa : all_isas()) {
      for (const Index tile : {2, 4}) check(c, {.isa = isa, .tile = tile});
    }
  }
}

TEST_CASE("activations and residuals follow the sum") {
  const Case c(shape(2, 12, 11, 10, 21, 1));
  Floats slopes(32, 0.0f);
  for (Index i = 0; i < c.shape.k; ++i) slopes[at(i)] = 0.01f * static_cast<float>(i);
  const Activation activations[] = {{.function = Function::relu},
                                    {.function = Function::clip, .alpha = 0.5f, .beta = 6.0f},
                                    {.function = Function::leaky_relu, .alpha = 0.1f},
                                    {.function = Function::prelu, .slopes = slopes.data()},
                                    {.function = Function::silu},
                                    {.function = Function::sigmoid}};
  for (const Activation& activation : activations) {
    for (const core::Isa isa : all_isas()) {
      for (const Index tile : {2, 4}) {
        for (const auto residual : {Options::none, Options::first, Options::last, Options::in_place})
          check(c, {.isa = isa, .tile = tile, .threads = 2, .activation = activation, .residual = residual});
      }
    }
  }
}

TEST_CASE("the division of the work does not change a bit") {
  const Case c(shape(2, 70, 19, 22, 72, 1));
  for (const core::Isa isa : all_isas()) {
    for (const Index tile : {2, 4}) {
      const Floats alone = run(c, {.isa = isa, .tile = tile});
      for (const Index threads : {2, 3, 7})
        CHECK(run(c, {.isa = isa, .tile = tile, .threads = threads}) == alone);
    }
  }
}

TEST_CASE("weights beyond the second cache get fewer and larger items") {
  const ConvShape s = shape(1, 256, 20, 20, 64, 1);
  for (const core::Isa isa : all_isas()) {
    CHECK(plan_winograd(s, 4, isa, 1).items == 1);
    CHECK(plan_winograd(s, 4, isa, 2).items >= 2);
    CHECK(plan_winograd(s, 4, isa, 1).weights >= 36 * s.c * s.k);
  }
}

TEST_CASE("what cannot run is refused, and never pays") {
  ConvShape s = shape(1, 16, 32, 32, 16, 1);
  CHECK(winograd_pays(s) == 4);
  CHECK_THROWS_AS(static_cast<void>(plan_winograd(s, 3, core::Isa::baseline, 1)), core::Unsupported);
  const auto refused = [](const ConvShape& bad) {
    CHECK(winograd_pays(bad) == 0);
    CHECK_THROWS_AS(static_cast<void>(plan_winograd(bad, 4, core::Isa::baseline, 1)), core::Unsupported);
  };
  s.sh = 2;
  refused(s);
  s = shape(1, 16, 32, 32, 16, 1);
  s.groups = 16;
  refused(s);
  s = shape(1, 16, 32, 32, 16, 2);
  refused(s);
  s = shape(1, 16, 32, 32, 16, 0);
  s.kw = 1;
  refused(s);
}

TEST_CASE("small images take small tiles, or none where weights are many; first layers none") {
  CHECK(winograd_pays(shape(1, 64, 40, 40, 64, 1)) == 4);
  CHECK(winograd_pays(shape(1, 48, 13, 13, 192, 1)) == 2);
  CHECK(winograd_pays(shape(1, 64, 8, 8, 64, 1)) == 2);
  CHECK(winograd_pays(shape(8, 64, 8, 8, 64, 1)) == 4);
  CHECK(winograd_pays(shape(1, 512, 7, 7, 512, 1)) == 0);
  CHECK(winograd_pays(shape(1, 3, 32, 32, 16, 1)) == 0);
}
