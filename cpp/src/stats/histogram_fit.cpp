// Least KL and least SSE over a histogram.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "stats/family_structs.hpp"
#include "stats/fitters.hpp"
#include "stats/optimise.hpp"

namespace rdquant::stats {

Target::Target(const Histogram& histogram)
    : low_(histogram.low()), width_(histogram.width()), y_(histogram.density()), zero_bin_(-1) {
  const std::size_t bins = y_.size();
  const std::vector<double> edges = histogram.edges();
  const double sum = std::accumulate(y_.begin(), y_.end(), 0.0) + static_cast<double>(bins) * kDensityFloor;
  double first = 0.0;
  double second = 0.0;
  for (std::size_t i = 0; i < bins; ++i) {
    centres_.push_back(0.5 * (edges[i] + edges[i + 1]));
    p_.push_back((y_[i] + kDensityFloor) / sum);
    log_p_.push_back(std::log(p_[i]));
    first += p_[i] * (centres_[i] - low_);
    second += p_[i] * (centres_[i] - low_) * (centres_[i] - low_);
  }
  entropy_ = std::inner_product(p_.begin(), p_.end(), log_p_.begin(), 0.0);
  if (histogram.low() <= 0.0 && histogram.high() >= 0.0) zero_bin_ = histogram.bin_of(0.0);
  mean_ = low_ + first;
  std_ = std::max(std::sqrt(std::max(0.0, second - first * first)), 0.3 * width_);
}

void Target::fill(Family family, const Parameters& p, std::vector<double>& q) const {
  q.resize(y_.size());
  with_family(family, p, [&](const auto& distribution) {
    for (std::size_t i = 0; i < q.size(); ++i) q[i] = distribution.pdf(centres_[i]);
  });
  if (info(family).spike() && zero_bin_ >= 0) q[static_cast<std::size_t>(zero_bin_)] += p.shape / width_;
}

double Target::distance(Criterion criterion, const std::vector<double>& q) const {
  double sum = 0.0;
  if (criterion == Criterion::sse) {
    for (std::size_t i = 0; i < q.size(); ++i) sum += (q[i] - y_[i]) * (q[i] - y_[i]);
    return sum;
  }
  double cross = 0.0;
  if (criterion == Criterion::kl) {  // sum P log P - sum P log q + log sum q
    for (std::size_t i = 0; i < q.size(); ++i) {
      sum += q[i] + kDensityFloor;
      cross += p_[i] * std::log(q[i] + kDensityFloor);
    }
    return std::max(0.0, entropy_ - cross + std::log(sum));
  }
  for (std::size_t i = 0; i < q.size(); ++i) {  // sum q (log q - log P) / sum q - log sum q
    const double v = q[i] + kDensityFloor;
    sum += v;
    cross += v * (std::log(v) - log_p_[i]);
  }
  return std::max(0.0, cross / sum - std::log(sum));
}

double Target::objective(Family family, Criterion criterion, const Parameters& p) const {
  thread_local std::vector<double> q;
  fill(family, p, q);
  const double value = distance(criterion, q);
  return std::isnan(value) ? kInfinity : value;
}

Distances Target::distances(Family family, const Parameters& p) const {
  std::vector<double> q;
  fill(family, p, q);
  return {distance(Criterion::kl, q), distance(Criterion::kl_reverse, q), distance(Criterion::sse, q)};
}

// A uniform density sees only which centres it covers and its height: all runs of bins are tried (every k-th
// of many), with the height that is best within what covers just that run.
Parameters Target::minimise_uniform(Criterion criterion, const Parameters& start) const {
  const int bins = static_cast<int>(y_.size());
  const int stride = std::max(1, bins / 256);
  std::vector<double> mass(1, 0.0), logs(1, 0.0);  // running sums of P and of log P
  std::vector<double> y(1, 0.0);
  for (std::size_t i = 0; i < y_.size(); ++i) {
    mass.push_back(mass.back() + p_[i]);
    logs.push_back(logs.back() + log_p_[i]);
    y.push_back(y.back() + y_[i]);
  }
  Parameters best = start;
  double least = objective(Family::uniform, criterion, start);
  const double floor_log = std::log(kDensityFloor);
  const double squares = std::inner_product(y_.begin(), y_.end(), y_.begin(), 0.0);
  for (int i = 0; i < bins; i += stride) {
    for (int j = i + 1; j <= bins; j += stride) {
      const double k = j - i;
      const double inside = y[j] - y[i];
      // Scales that cover exactly the centres i .. j - 1, with a margin for centres rounded otherwise.
      const double narrow = std::max(k - 1.0, 0.5) * width_ * (1.0 + 1e-5);
      const double wide = (k + 1.0) * width_ * (1.0 - 1e-5);
      // Against the floor outside, KL(P||Q) favours a low top and KL(Q||P) a high one.
      const double scale = criterion == Criterion::sse
                               ? std::clamp(k / std::max(inside, 1e-300), narrow, wide)
                           : criterion == Criterion::kl ? wide
                                                        : narrow;
      const double h = 1.0 / scale;
      double value;
      if (criterion == Criterion::sse) {
        value = squares + k * h * h - 2.0 * h * inside;
      } else {
        const double v = h + kDensityFloor;
        const double sum = k * v + (bins - k) * kDensityFloor;
        const double covered = mass[j] - mass[i];
        value = criterion == Criterion::kl
                    ? entropy_ - covered * std::log(v) - (mass[bins] - covered) * floor_log + std::log(sum)
                    : (k * v * std::log(v) + (bins - k) * kDensityFloor * floor_log -
                       v * (logs[j] - logs[i]) - kDensityFloor * (logs[bins] - (logs[j] - logs[i]))) /
                              sum -
                          std::log(sum);
      }
      if (value >= least) continue;
      const double middle = low_ + 0.5 * (i + j) * width_;
      const Parameters candidate{0.0, middle - 0.5 * scale, scale};
      const double exact = objective(Family::uniform, criterion, candidate);
      if (exact < least) {
        least = exact;
        best = candidate;
      }
    }
  }
  return best;
}

std::vector<Parameters> Target::starts(Family family, const Parameters& mle) const {
  std::vector<Parameters> result = {mle};
  const auto top = static_cast<std::size_t>(std::max_element(y_.begin(), y_.end()) - y_.begin());
  const double peak = centres_[top];
  const double core =
      std::max(0.4 / y_[top], 0.3 * width_);  // standard deviation of a normal density of this height
  switch (family) {
    case Family::exponential:
      for (std::size_t i = 0; i < y_.size(); i += std::max<std::size_t>(1, y_.size() / 128)) {
        for (const double scale : {core, 3.0 * core, std_, 4.0 * std_}) {
          result.push_back({0.0, centres_[i] - 0.01 * width_, scale});
        }
      }
      break;
    case Family::gamma:
    case Family::alpha: {
      const Coordinates map{family, 1.0, 1e-300};
      for (const double shape : {1.0, 3.0, 10.0, 30.0, 100.0, 1000.0}) {
        const double c = map.from({shape, 0.0, 1.0})[2];
        result.push_back(map.to({peak, std::log(core), c}));
        result.push_back(map.to({mean_, std::log(std_), c}));
      }
      break;
    }
    default: {
      const double shape = mle.shape;
      for (const double scale : {0.5 * core, core, 2.0 * core}) result.push_back({shape, peak, scale});
      if (family == Family::student_t || family == Family::generalized_gaussian) {
        for (const double other : {0.8, 2.0, 8.0}) result.push_back({other, peak, core});
      }
    }
  }
  return result;
}

namespace {

template <std::size_t D, typename F>
Minimum<D> descend(const F& f, const std::array<double, 3>& c, const Point<D>& step, bool smooth) {
  constexpr int kSize = D;
  Point<D> at;
  std::copy_n(c.begin(), D, at.data());
  Minimum<D> found = simplex<D>(f, at, step, (smooth ? 60 : 150) * kSize, smooth ? 1e-5 : 1e-10);
  if (smooth) found = newton<D>(f, found, 1e-4, 8);
  return smooth ? found : simplex<D>(f, found.at, along(Point<D>{}, 0.1, step), 100 * kSize, 1e-12);
}

}  // namespace

Parameters Target::refine(Family family, Criterion criterion, const Parameters& start) const {
  const double range = width_ * static_cast<double>(y_.size());
  const Coordinates map{family, std_, 1e-9 * range};
  // A location far outside the histogram, which normalised densities cannot tell from others, is not allowed.
  const auto value = [&](const std::array<double, 3>& c) {
    if (std::abs(c[0] * std_ - mean_) > 10.0 * range) return kInfinity;
    return objective(family, criterion, map.to(c));
  };
  const std::array<double, 3> c = map.from(start);
  const std::array<double, 3> step = map.step(c);
  std::array<double, 3> end{};
  const bool smooth = family != Family::exponential && family != Family::laplace &&
                      family != Family::generalized_gaussian && family != Family::spike_laplace;
  if (info(family).parameters() == 2) {
    const auto f = [&](const Point<2>& at) { return value({at[0], at[1], 0.0}); };
    const Minimum<2> found = descend<2>(f, c, {step[0], step[1]}, smooth);
    end = {found.at[0], found.at[1], 0.0};
  } else {
    const auto f = [&](const Point<3>& at) { return value({at[0], at[1], at[2]}); };
    const Minimum<3> found = descend<3>(f, c, {step[0], step[1], step[2]}, smooth);
    end = {found.at[0], found.at[1], found.at[2]};
  }
  return map.to(end);
}

Parameters Target::minimise(Family family, Criterion criterion, const Parameters& start) const {
  if (family == Family::uniform) return minimise_uniform(criterion, start);
  struct Candidate {
    Parameters p;
    double value;
  };
  std::vector<Candidate> candidates;
  for (const Parameters& p : starts(family, start))
    candidates.push_back({p, objective(family, criterion, p)});
  // The exponential's objective jumps where its edge passes a centre: several edges are followed.
  const std::size_t wanted = family == Family::exponential ? 5 : info(family).parameters() == 2 ? 1 : 2;
  const std::size_t tries = std::min(wanted, candidates.size());
  Candidate best = candidates.front();
  std::partial_sort(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(tries),
                    candidates.end(),
                    [](const Candidate& a, const Candidate& b) { return a.value < b.value; });
  for (std::size_t i = 0; i < tries; ++i) {
    const Parameters p = refine(family, criterion, candidates[i].p);
    const double value = objective(family, criterion, p);
    if (value < best.value) best = {p, value};
  }
  if (family == Family::exponential) {
    // The edge settles on a bin's centre, where the last digit would decide whether the bin counts: it moves
    // off.
    const double bin = std::round((best.p.loc - low_) / width_ - 0.5);
    const double centre = low_ + (bin + 0.5) * width_;
    if (std::abs(best.p.loc - centre) < 1e-6 * width_) best.p.loc = centre - 1e-6 * width_;
  }
  return best.p;
}

}  // namespace rdquant::stats
