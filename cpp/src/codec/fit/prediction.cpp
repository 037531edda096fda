#include <algorithm>
#include <cmath>

#include "codec/fit/analyse.hpp"
#include "rdquant/linalg/cholesky.hpp"

namespace rdquant::codec {
namespace {

constexpr std::size_t kMostSlices = 32768;  // that moments are taken from
constexpr double kCoefficientBits = 6.5;    // of side information

/// Weighted second moments of the features of a slice: its taps, the taps of the slice above, and 1.
struct Moments {
  explicit Moments(std::size_t n) : size(n), sums(n * n) {}
  double& at(std::size_t i, std::size_t j) { return sums[i * size + j]; }
  [[nodiscard]] double at(std::size_t i, std::size_t j) const { return sums[i * size + j]; }
  std::size_t size;
  std::vector<double> sums;
  double slices = 0.0;
};

Moments moments_of(const Grid& grid, std::span<const std::int32_t> coarse, std::span<const double> weights,
                   bool up) {
  const std::size_t taps = grid.taps, n = (up ? 2 * taps : taps) + 1;
  Moments m(n);
  const std::size_t step = std::max<std::size_t>(1, grid.slices() / kMostSlices);
  std::vector<double> f(n), g(n);
  // An odd stride walks through all columns.
  for (std::size_t q = up ? grid.cols : 0; q < grid.slices(); q += step | 1) {
    const std::int32_t* const slice = coarse.data() + q * taps;
    for (std::size_t t = 0; t < taps; ++t) {
      f[t] = slice[t];
      if (up) f[taps + t] = slice[t - grid.cols * taps];
    }
    f[n - 1] = 1.0;
    const double w = weights[q / grid.cols];
    for (std::size_t i = 0; i < n; ++i) g[i] = w * f[i];
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j <= i; ++j) m.at(i, j) += g[i] * f[j];
    }
    m.slices += 1.0;
  }
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = i + 1; j < n; ++j) m.at(i, j) = m.at(j, i);
  }
  return m;
}

/// Least squares of feature `target` on `on`, with a little damping.
std::vector<double> solve(const Moments& m, std::size_t target, const std::vector<std::size_t>& on) {
  const std::size_t n = on.size();
  std::vector<double> a(n * n), y(n);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = i; j < n; ++j) {
      a[i * n + j] = m.at(on[i], on[j]) * (i == j ? 1.0 + 1e-6 : 1.0) + (i == j ? 1e-9 : 0.0);
    }
    y[i] = m.at(on[i], target);
  }
  // One panel: files depend on the order of sums.
  linalg::factorise(a, n, {.least = 1e-12, .panel = n});
  linalg::solve(a, n, y);
  return y;
}

/// Σ weight·(target − Σ c·feature)².
double error_of(const Moments& m, std::size_t target, const std::vector<std::size_t>& on,
                const std::vector<double>& c) {
  double error = m.at(target, target);
  for (std::size_t i = 0; i < on.size(); ++i) {
    error -= 2.0 * c[i] * m.at(on[i], target);
    for (std::size_t j = 0; j < on.size(); ++j) error += c[i] * c[j] * m.at(on[i], on[j]);
  }
  return std::max(error, 1e-9);
}

struct Choice {
  Predictor predictor;
  double bits = 0.0;  // gained, side information paid
};

Choice try_features(const Moments& m, const Grid& grid, std::size_t t, const std::vector<std::size_t>& on) {
  const std::size_t taps = grid.taps;
  std::vector<double> c = solve(m, t, on);
  Choice choice;
  int used = 0;
  for (std::size_t i = 0; i < on.size(); ++i) {
    const bool bias = on[i] == m.size - 1;
    const double unit = bias ? 16.0 : 64.0;
    const double limit = bias ? 16.0 * kReach : 255.0;
    const auto whole = static_cast<std::int32_t>(std::clamp(std::nearbyint(c[i] * unit), -limit, limit));
    c[i] = whole / unit;
    if (whole != 0) ++used;
    if (bias) {
      choice.predictor.bias = whole;
    } else if (on[i] >= taps) {
      choice.predictor.up = whole;
    } else {
      auto& past = choice.predictor.past;
      past.resize(std::max(past.size(), t - on[i]));
      past[t - 1 - on[i]] = whole;
    }
  }
  // The least variance that matters is that of rounding: 1/12 level².
  const double floor = m.at(m.size - 1, m.size - 1) / 12.0;
  const double before = m.at(t, t) + floor, after = error_of(m, t, on, c) + floor;
  choice.bits =
      0.5 * static_cast<double>(grid.slices()) * std::log2(before / after) - kCoefficientBits * used;
  return choice;
}

}  // namespace

std::vector<Predictor> fit_predictors(const Grid& grid, std::span<const std::int32_t> coarse,
                                      std::span<const double> weights, bool up) {
  if (grid.slices() < 8 || grid.size() < 64) return {};
  up = up && grid.rows > 1;
  const Moments m = moments_of(grid, coarse, weights, up);
  std::vector<Predictor> predictors(grid.taps);
  bool any = false;
  for (std::size_t t = 0; t < grid.taps; ++t) {
    std::vector<std::size_t> past;
    for (std::size_t j = t - std::min(t, kMaxPast); j < t; ++j) past.push_back(j);
    std::vector<std::vector<std::size_t>> candidates = {{m.size - 1}};
    if (!past.empty()) {
      candidates.push_back(past);
      candidates.push_back(past);
      candidates.back().push_back(m.size - 1);
    }
    if (up) {
      candidates.push_back(candidates.back());
      candidates.back().push_back(grid.taps + t);
      candidates.push_back({grid.taps + t});
    }
    Choice best;
    for (const auto& on : candidates) {
      Choice choice = try_features(m, grid, t, on);
      if (choice.bits > best.bits) best = std::move(choice);
    }
    auto& kept = best.predictor.past;
    while (!kept.empty() && kept.back() == 0) kept.pop_back();
    any = any || best.bits > 0.0;
    predictors[t] = std::move(best.predictor);
  }
  if (!any) predictors.clear();
  return predictors;
}

}  // namespace rdquant::codec
