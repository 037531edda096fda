#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "rdquant/core/cpu.hpp"
#include "rdquant/core/error.hpp"
#include "rdquant/stats/dependence.hpp"
#include "rdquant/stats/fit.hpp"
#include "stats/kernels.hpp"
#include "stats/special.hpp"

using namespace rdquant;
using namespace rdquant::stats;

namespace {

std::vector<double> laplace_sample(std::size_t n, unsigned seed) {
  std::mt19937_64 engine(seed);
  std::exponential_distribution<double> size(25.0);
  std::vector<double> x(n);
  for (double& v : x) v = (engine() & 1U ? 1.0 : -1.0) * size(engine);
  return x;
}

std::vector<Kernels> all_kernels() {
  std::vector<Kernels> sets = {baseline::table};
#if defined(__x86_64__)
  if (core::available_isa() >= core::Isa::avx2) sets.push_back(avx2::table);
  if (core::available_isa() >= core::Isa::avx512) sets.push_back(avx512::table);
#endif
  return sets;
}

Values named(const std::vector<double>& x) { return {{"x", std::span<const double>(x)}}; }

}  // namespace

TEST_CASE("every instruction set gives the bits of the baseline, for every length of the tail") {
  const std::vector<double> x = laplace_sample(kBlock, 1);
  std::vector<float> narrow(x.begin(), x.end());
  const UniformMap uniform{-10.0, 3.7, 99.0, 1e-7};
  const FineMap fine{0.003, 40.0, std::int64_t{20} << kFineBits};
  for (const std::size_t n : {kBlock, std::size_t{1}, std::size_t{7}, std::size_t{8}, std::size_t{29}}) {
    BlockSums want{}, want_narrow{};
    std::vector<std::int32_t> index(n), index_fine(n), got(n);
    baseline::table.sums_f64(x.data(), n, want);
    baseline::table.sums_f32(narrow.data(), n, want_narrow);
    const bool check = baseline::table.uniform_f64(x.data(), n, uniform, index.data());
    baseline::table.fine_f32(narrow.data(), n, fine, index_fine.data());
    for (const Kernels& set : all_kernels()) {
      BlockSums sums{};
      set.sums_f64(x.data(), n, sums);
      CHECK(sums.mean == want.mean);
      CHECK(sums.m4 == want.m4);
      CHECK(sums.sum_abs == want.sum_abs);
      set.sums_f32(narrow.data(), n, sums);
      CHECK(sums.m3 == want_narrow.m3);
      CHECK(set.uniform_f64(x.data(), n, uniform, got.data()) == check);
      CHECK(got == index);
      set.fine_f32(narrow.data(), n, fine, got.data());
      CHECK(got == index_fine);
    }
  }
}

TEST_CASE("kernels report values that are not finite, wherever they stand") {
  for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    for (std::size_t at = 0; at < 19; ++at) {
      std::vector<double> x(19, 1.0);
      x[at] = bad;
      for (const Kernels& set : all_kernels()) {
        BlockSums sums{};
        set.sums_f64(x.data(), x.size(), sums);
        CHECK_FALSE(sums.finite);
      }
    }
  }
}

TEST_CASE("moments name the array and the element that is not finite") {
  std::vector<double> x(10000, 0.5);
  x[9001] = std::nan("");
  CHECK_THROWS_WITH_AS(static_cast<void>(moments({{"tensor 'w'", std::span<const double>(x)}})),
                       "tensor 'w': element 9001 is NaN; all values must be finite", core::InvalidArgument);
}

TEST_CASE("moments merge to those of all values") {
  const std::vector<double> x = laplace_sample(30000, 2);
  const std::span<const double> all(x);
  Moments merged = moments({{"a", all.first(11111)}});
  merged.merge(moments({{"b", all.subspan(11111)}}));
  const Moments whole = moments(named(x), 2);
  CHECK(merged.count == whole.count);
  CHECK(merged.mean == doctest::Approx(whole.mean).epsilon(1e-12));
  CHECK(merged.variance() == doctest::Approx(whole.variance()).epsilon(1e-12));
  CHECK(merged.skewness() == doctest::Approx(whole.skewness()).epsilon(1e-9));
  CHECK(merged.excess_kurtosis() == doctest::Approx(whole.excess_kurtosis()).epsilon(1e-10));
}

TEST_CASE("a histogram counts as its definition does, also on edges and outside") {
  Histogram h(-0.3, 0.7, 10);
  std::vector<double> x = h.edges();
  for (const double edge : h.edges()) {
    x.push_back(std::nextafter(edge, -1.0));
    x.push_back(std::nextafter(edge, 1.0));
  }
  const std::vector<double> more = laplace_sample(5000, 3);
  x.insert(x.end(), more.begin(), more.end());
  h.add(named(x));
  const std::vector<double> edges = h.edges();
  std::vector<std::int64_t> want(10, 0);
  std::int64_t below = 0, above = 0;
  for (const double v : x) {
    if (v < -0.3 || v > 0.7) {
      ++(v < -0.3 ? below : above);
      continue;
    }
    const auto upper = std::upper_bound(edges.begin(), edges.end() - 1, v);
    ++want[static_cast<std::size_t>(std::min<std::ptrdiff_t>(upper - edges.begin() - 1, 9))];
  }
  CHECK(h.counts() == want);
  CHECK(h.below() == below);
  CHECK(h.above() == above);
  CHECK_THROWS_AS(Histogram(1.0, 1.0, 5), core::InvalidArgument);
  CHECK_THROWS_AS(Histogram(0.0, 1.0, 0), core::InvalidArgument);
  CHECK_THROWS_AS(h.merge(Histogram(0.0, 1.0, 10)), core::InvalidArgument);
}

TEST_CASE("special functions: known values") {
  CHECK(digamma(1.0) == doctest::Approx(-0.57721566490153286).epsilon(1e-13));
  CHECK(trigamma(1.0) == doctest::Approx(1.6449340668482264).epsilon(1e-13));
  CHECK(gamma_p(2.5, 1.0) == doctest::Approx(0.15085496391539038).epsilon(1e-12));
  CHECK(gamma_p(1.0, 30.0) == doctest::Approx(1.0 - std::exp(-30.0)).epsilon(1e-14));
  CHECK(beta_i(2.0, 3.0, 0.4) == doctest::Approx(0.5248).epsilon(1e-12));
  for (const double p : {1e-12, 0.02, 0.5, 0.9, 1.0 - 1e-9}) {
    CHECK(normal_cdf(normal_quantile(p)) == doctest::Approx(p).epsilon(1e-12));
  }
  // Both sides of the step to the expansion for large a.
  CHECK(gamma_p(2000.0, 1990.0) == doctest::Approx(gamma_p(2000.0001, 1990.0001)).epsilon(1e-7));
}

TEST_CASE("fits: exact below, fine bins above, equal in what they find") {
  const std::vector<double> x = laplace_sample(200000, 4);
  FitOptions options;
  for (int i = 0; i < kFamilies; ++i) options.families.push_back(static_cast<Family>(i));
  options.criteria = {Criterion::mle, Criterion::kl, Criterion::kl_reverse, Criterion::sse};
  const FitResult result = fit(named(x), options);
  REQUIRE(result.fits.size() == 4 * kFamilies);
  const Fit& laplace = result.fits[static_cast<std::size_t>(Family::laplace)];
  std::vector<double> sorted = x;
  std::sort(sorted.begin(), sorted.end());
  CHECK(laplace.parameters.loc == 0.5 * (sorted[99999] + sorted[100000]));
  double loglik = 0.0;
  std::vector<double> values(x.size());
  evaluate(Family::laplace, laplace.parameters, Function::logpdf, x, values);
  for (const double v : values) loglik += v;
  CHECK(laplace.loglik == doctest::Approx(loglik).epsilon(1e-7));
  for (std::size_t i = 0; i < kFamilies; ++i) {
    const Fit& mle = result.fits[i];
    CHECK(result.fits[kFamilies + i].kl <= mle.kl);
    CHECK(result.fits[2 * kFamilies + i].kl_reverse <= mle.kl_reverse);
    CHECK(result.fits[3 * kFamilies + i].sse <= mle.sse);
    CHECK(mle.ks >= 0.0);
    CHECK(mle.ks <= 1.0);
  }
}

TEST_CASE("fits of equal values are point masses; of none, an error") {
  const std::vector<double> same(100, 0.25);
  FitOptions options;
  options.families = {Family::gamma, Family::spike_laplace};
  for (const Fit& f : fit(named(same), options).fits) {
    CHECK(f.degenerate);
    CHECK(f.parameters.loc == 0.25);
    CHECK(f.parameters.scale == 0.0);
    CHECK(f.kl == 0.0);
  }
  CHECK_THROWS_AS(static_cast<void>(fit({}, options)), core::InvalidArgument);
}

TEST_CASE("autocovariance by FFT is the definition") {
  const std::vector<double> x = laplace_sample(6 * 500, 5);
  const Lines lines{2, 500, 3};
  const std::vector<double> got = autocovariance(std::span<const double>(x), lines, 300);
  const double mean = moments(named(x)).mean;
  for (const std::size_t k : {std::size_t{0}, std::size_t{1}, std::size_t{299}}) {
    double sum = 0.0;
    for (std::size_t o = 0; o < 2; ++o) {
      for (std::size_t i = 0; i < 3; ++i) {
        for (std::size_t t = 0; t + k < 500; ++t) {
          sum += (x[(o * 500 + t) * 3 + i] - mean) * (x[(o * 500 + t + k) * 3 + i] - mean);
        }
      }
    }
    CHECK(got[k] == doctest::Approx(sum / (6.0 * static_cast<double>(500 - k))).epsilon(1e-9));
  }
  CHECK_THROWS_AS(static_cast<void>(autocovariance(std::span<const double>(x), lines, 500)),
                  core::InvalidArgument);
  CHECK_THROWS_AS(static_cast<void>(mutual_information(std::span<const double>(x), {1, 7, 1}, 4)),
                  core::InvalidArgument);
}
