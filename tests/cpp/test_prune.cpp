#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>
#include <span>
#include <vector>

#include "rdquant/core/error.hpp"
#include "rdquant/train/prune.hpp"

using namespace rdquant;

namespace {

template <typename T>
std::vector<T> laplacian(std::size_t n) {
  std::mt19937 engine(1);
  std::exponential_distribution<T> magnitude(T{10});
  std::vector<T> w(n);
  for (T& v : w) v = (engine() & 1) != 0 ? magnitude(engine) : -magnitude(engine);
  return w;
}

template <typename T>
train::Pruned prune(const std::vector<T>& w, double gamma, int bits, std::vector<T>& out, int threads = 1) {
  out.resize(w.size());
  return train::prune_quantize(std::span<const T>(w), gamma, bits, std::span<T>(out), threads);
}

}  // namespace

TEST_CASE_TEMPLATE("every weight follows equations 2 and 4", T, float, double) {
  for (const std::size_t n : {1, 2, 15, 16, 17, 511, 512, 513, 4095, 4096, 4097, 30000}) {
    for (const int bits : {2, 3, 8, 16, 32}) {
      const std::vector<T> w = laplacian<T>(n);
      std::vector<T> out;
      const train::Pruned done = prune(w, 0.5, bits, out);
      const T threshold = static_cast<T>(done.threshold), step = static_cast<T>(done.step);
      std::int64_t nonzero = 0;
      for (std::size_t i = 0; i < n; ++i) {
        const T kept = std::fabs(w[i]) >= threshold ? w[i] : T{0};
        CHECK(out[i] == (step > T{0} ? step * std::rint(kept / step) : kept));
        CHECK_FALSE((out[i] == T{0} && std::signbit(out[i])));
        nonzero += out[i] != T{0};
      }
      CHECK(done.nonzero == nonzero);
      CHECK((done.step == 0.0) == (bits == 32));
    }
  }
}

TEST_CASE("the threshold is γ standard deviations of the population") {
  const std::vector<double> w = {1.0, 2.0, 3.0, 6.0};  // mean 3, variance 14/4
  std::vector<double> out;
  const train::Pruned done = prune(w, 1.25, 4, out);
  CHECK(done.threshold == doctest::Approx(1.25 * std::sqrt(3.5)).epsilon(1e-15));
  CHECK(done.step == doctest::Approx((6.0 - done.threshold) / 7.0).epsilon(1e-15));
  CHECK(done.nonzero == 2);
}

TEST_CASE_TEMPLATE("threads and place do not change the result", T, float, double) {
  const std::vector<T> w = laplacian<T>(1'000'003);
  std::vector<T> one, many, same = w;
  prune(w, 0.375, 8, one, 1);
  prune(w, 0.375, 8, many, 3);
  train::prune_quantize(std::span<const T>(same), 0.375, 8, std::span<T>(same), 2);
  CHECK(one == many);
  CHECK(one == same);
}

TEST_CASE_TEMPLATE("all layers at once are each layer alone, with what was only pruned beside it", T, float,
                   double) {
  std::vector<std::vector<T>> weights = {laplacian<T>(1), {}, laplacian<T>(10'000), laplacian<T>(300'001)};
  for (T& w : weights[2]) w *= T{3};
  for (const int threads : {1, 3}) {
    std::vector<std::vector<T>> floats = weights, out = weights;
    std::vector<train::Layer<T>> layers;
    for (std::size_t l = 0; l < weights.size(); ++l) {
      layers.push_back({.weights = floats[l], .out = out[l], .pruned = floats[l], .name = {}});
    }
    const auto done = train::prune_quantize(std::span<const train::Layer<T>>(layers), 0.5, 4, threads);
    REQUIRE(done.size() == weights.size());
    for (std::size_t l = 0; l < weights.size(); ++l) {
      std::vector<T> alone, pruned;
      const train::Pruned wanted = prune(weights[l], 0.5, 4, alone);
      prune(weights[l], 0.5, 32, pruned);
      CHECK(out[l] == alone);
      CHECK(floats[l] == pruned);
      CHECK(done[l].threshold == wanted.threshold);
      CHECK(done[l].step == wanted.step);
      CHECK(done[l].nonzero == wanted.nonzero);
    }
  }
}

TEST_CASE("a layer that is not finite is named, and no layer is written") {
  const std::vector<float> good = {1.0F, -2.0F}, bad = {0.0F, std::nanf("")};
  std::vector<float> first = {7.0F, 7.0F}, second = first;
  const std::vector<train::Layer<float>> layers = {{.weights = good, .out = first, .name = "a: "},
                                                   {.weights = bad, .out = second, .name = "b: "}};
  CHECK_THROWS_WITH_AS(train::prune_quantize(std::span(layers), 0.5, 4),
                       doctest::Contains("b: weight at index 1"), core::InvalidArgument);
  CHECK(first == std::vector<float>(2, 7.0F));
  std::vector<train::Layer<float>> small = {
      {.weights = good, .out = first, .pruned = std::span(second).first(1), .name = {}}};
  CHECK_THROWS_WITH_AS(train::prune_quantize(std::span<const train::Layer<float>>(small), 0.5, 4),
                       doctest::Contains("pruned: expected 2"), core::InvalidArgument);
}

TEST_CASE("limits are defined") {
  std::vector<float> out;
  CHECK(prune({}, 0.5, 8, out).nonzero == 0);
  CHECK(prune(std::vector<float>(5000, 0.0F), 0.5, 8, out).nonzero == 0);
  CHECK(prune(laplacian<float>(5000), 1e30, 8, out).nonzero == 0);
  CHECK(out == std::vector<float>(5000, 0.0F));
  prune({-0.3F}, 0.5, 8, out);
  CHECK(out[0] == doctest::Approx(-0.3F).epsilon(1e-6));
  const std::vector<float> pair = {0.5F, -0.5F};  // σ = 0.5: all have magnitude β, so that q = 0
  const train::Pruned done = prune(pair, 1.0, 4, out);
  CHECK(out == pair);
  CHECK(done.step == 0.0);
}

TEST_CASE("what is not allowed is refused, and nothing is written") {
  std::vector<float> w = {1.0F, 2.0F, 3.0F}, out = {7.0F, 7.0F, 7.0F};
  const auto attempt = [&](double gamma, int bits, std::size_t n) {
    train::prune_quantize(std::span<const float>(w), gamma, bits, std::span<float>(out.data(), n));
  };
  CHECK_THROWS_WITH_AS(attempt(-0.1, 8, 3), doctest::Contains("gamma"), core::InvalidArgument);
  CHECK_THROWS_WITH_AS(attempt(std::nan(""), 8, 3), doctest::Contains("gamma"), core::InvalidArgument);
  CHECK_THROWS_WITH_AS(attempt(0.5, 1, 3), doctest::Contains("2 to 32"), core::InvalidArgument);
  CHECK_THROWS_WITH_AS(attempt(0.5, 33, 3), doctest::Contains("got 33"), core::InvalidArgument);
  CHECK_THROWS_WITH_AS(attempt(0.5, 8, 2), doctest::Contains("expected 3 values"), core::InvalidArgument);
  w[1] = std::nanf("");
  CHECK_THROWS_WITH_AS(attempt(0.5, 8, 3), doctest::Contains("index 1 is NaN"), core::InvalidArgument);
  w[1] = -std::numeric_limits<float>::infinity();
  CHECK_THROWS_WITH_AS(attempt(0.5, 8, 3), doctest::Contains("index 1 is infinite"), core::InvalidArgument);
  CHECK(out == std::vector<float>(3, 7.0F));
  const std::vector<double> huge = {1e200, -1e200};
  std::vector<double> wide;
  CHECK_THROWS_WITH_AS(prune(huge, 0.5, 8, wide), doctest::Contains("overflows"), core::InvalidArgument);
}
