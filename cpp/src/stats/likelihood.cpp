// Maximum likelihood, family by family, and the log-likelihood.
#include <algorithm>
#include <cmath>

#include "stats/family_structs.hpp"
#include "stats/fitters.hpp"
#include "stats/optimise.hpp"

namespace rdquant::stats {
namespace {

constexpr double kScaleFloor = 1e-9;  // of the range

const Atoms& nonzero(const Sample& s) { return s.nonzero.x.empty() ? s.atoms : s.nonzero; }

double floor_scale(const Sample& s) { return kScaleFloor * (s.moments.max - s.moments.min); }

double sum_logpdf(Family family, const Parameters& p, const Atoms& atoms) {
  return with_family(family, p, [&](const auto& distribution) {
    double sum = 0.0;
    for (std::size_t i = 0; i < atoms.x.size(); ++i) sum += atoms.count[i] * distribution.logpdf(atoms.x[i]);
    return sum;
  });
}

double mean_distance(const Atoms& atoms, double from) {
  double sum = 0.0;
  double n = 0.0;
  for (std::size_t i = 0; i < atoms.x.size(); ++i) {
    sum += atoms.count[i] * std::abs(atoms.x[i] - from);
    n += atoms.count[i];
  }
  return sum / n;
}

// Distance between the quartiles.
double quartile_range(const Atoms& atoms, double total) {
  double cumulated = 0.0;
  double low = atoms.x.front();
  for (std::size_t i = 0; i < atoms.x.size(); ++i) {
    if (cumulated < 0.25 * total) low = atoms.x[i];
    cumulated += atoms.count[i];
    if (cumulated >= 0.75 * total) return atoms.x[i] - low;
  }
  return atoms.x.back() - low;
}

// Searches on a few hundred atoms, then finishes on all.
template <std::size_t D>
Parameters search(Family family, const Sample& s, const std::vector<Parameters>& starts) {
  const double n = static_cast<double>(s.moments.count);
  const Coordinates map{family, s.moments.std(), floor_scale(s)};
  const auto expand = [&](const Point<D>& at) {
    std::array<double, 3> c{};
    std::copy_n(at.data(), D, c.begin());
    return map.to(c);
  };
  const auto on = [&](const Atoms& atoms) {
    return [&](const Point<D>& at) {
      const double value = -sum_logpdf(family, expand(at), atoms) / n;
      return std::isnan(value) ? kInfinity : value;
    };
  };
  const auto rough = on(s.coarse);
  const auto full = on(s.atoms);
  Minimum<D> best{{}, kInfinity};
  for (const Parameters& start : starts) {
    const std::array<double, 3> c = map.from(start);
    Point<D> at;
    std::copy_n(c.begin(), D, at.data());
    const std::array<double, 3> first = map.step(c);
    Point<D> step;
    std::copy_n(first.begin(), D, step.data());
    const Minimum<D> found = simplex<D>(rough, at, step, 300, 1e-7);
    if (found.value < best.value) best = found;
  }
  best.value = full(best.at);
  best = newton<D>(full, best, 1e-4, 6);
  // Few values make rough likelihoods; the generalized Gaussian's is not smooth in its location.
  if (family == Family::generalized_gaussian || s.atoms.x.size() <= 2048) {
    Point<D> step;
    step.fill(1e-3);
    best = simplex<D>(full, best.at, step, 120, 1e-14);
    best = newton<D>(full, best, 1e-4, 4);
  }
  return expand(best.at);
}

struct Sums {
  double log_mean, inverse, inverse_square;  // means of log(x - loc), 1 / (x - loc), 1 / (x - loc)^2
};

Sums sums_above(const Atoms& atoms, double loc, double n, bool logs_only) {
  Sums s{};
  for (std::size_t i = 0; i < atoms.x.size(); ++i) {
    const double d = atoms.x[i] - loc;
    s.log_mean += atoms.count[i] * std::log(d);
    if (logs_only) continue;
    const double r = 1.0 / d;
    s.inverse += atoms.count[i] * r;
    s.inverse_square += atoms.count[i] * r * r;
  }
  return {s.log_mean / n, s.inverse / n, s.inverse_square / n};
}

// Gamma's best shape and scale for a given location: log a - ψ(a) = log(mean) - mean(log).
Parameters gamma_at(const Sample& sample, const Atoms& atoms, double loc) {
  const double mean = sample.moments.mean - loc;
  const double s =
      std::log(mean) - sums_above(atoms, loc, static_cast<double>(sample.moments.count), true).log_mean;
  if (!(s > 5e-7)) return {1e6, loc, mean / 1e6};
  double a = (3.0 - s + std::sqrt((s - 3.0) * (s - 3.0) + 24.0 * s)) / (12.0 * s);
  for (int i = 0; i < 4; ++i)
    a = 1.0 / (1.0 / a + (std::log(a) - digamma(a) - s) / (a * a * (1.0 / a - trigamma(a))));
  a = std::clamp(a, 1e-3, 1e6);
  return {a, loc, mean / a};
}

// Alpha's best shape a and scale b for a given location. With the means S1 of 1/(x - loc) and S2 of 1/(x -
// loc)^2, b solves S2 b^2 - a S1 b - 1 = 0 and a solves b S1 = a + φ(a) / Φ(a).
Parameters alpha_at(const Sample& sample, const Atoms& atoms, double loc) {
  const Sums sums = sums_above(atoms, loc, static_cast<double>(sample.moments.count), false);
  const auto scale_of = [&](double a) {
    const double h = a * sums.inverse;
    return (h + std::sqrt(h * h + 4.0 * sums.inverse_square)) / (2.0 * sums.inverse_square);
  };
  double low = std::log(1e-3);
  double high = std::log(1e4);
  for (int i = 0; i < 48; ++i) {
    const double middle = 0.5 * (low + high);
    const double a = std::exp(middle);
    const double ratio = std::exp(-0.5 * a * a - kLogSqrt2Pi - log_normal_cdf(a));
    (scale_of(a) * sums.inverse > a + ratio ? low : high) = middle;
  }
  const double a = std::exp(0.5 * (low + high));
  return {a, loc, scale_of(a)};
}

// The other parameters have formulas once the location is given: a search over log(min - loc), on a grid with
// few atoms first and around its best point with all.
template <typename At>
Parameters search_location(Family family, const Sample& s, const At& at) {
  constexpr int kGrid = 28;
  const double n = static_cast<double>(s.moments.count);
  const double low = std::log((s.moments.mean - s.moments.min) / n);
  const double high = std::log(1e3 * s.moments.std());
  const auto value = [&](const Atoms& atoms, double t) {
    const double v = -sum_logpdf(family, at(s, atoms, s.moments.min - std::exp(t)), atoms) / n;
    return std::isnan(v) ? kInfinity : v;
  };
  const double step = (high - low) / (kGrid - 1);
  int best = 0;
  double least = kInfinity;
  for (int i = 0; i < kGrid; ++i) {
    const double v = value(s.coarse, low + i * step);
    if (v < least) {
      least = v;
      best = i;
    }
  }
  const double middle = low + best * step;
  const auto full = [&](double t) { return value(s.atoms, t); };
  const Minimum<1> found =
      brent(full, std::max(low, middle - step), middle, std::min(high, middle + step), s.exact ? 24 : 14);
  return at(s, s.atoms, s.moments.min - std::exp(found.at[0]));
}

std::vector<Parameters> with_shapes(std::initializer_list<double> shapes, double loc, double scale) {
  std::vector<Parameters> result;
  for (const double shape : shapes) result.push_back({shape, loc, scale});
  return result;
}

Parameters fit_spike(Family family, const Sample& s) {
  const double zeros = static_cast<double>(s.moments.zeros);
  const double n = static_cast<double>(s.moments.count);
  const double share = zeros / n;
  if (family == Family::spike_laplace) {
    const double scale = mean_distance(nonzero(s), s.median_nonzero);
    return {share, s.median_nonzero, std::max(scale, floor_scale(s))};
  }
  const double mean = s.moments.mean * n / (n - zeros);
  const double second = (s.moments.m2 + n * s.moments.mean * s.moments.mean) / (n - zeros);
  const double variance = zeros > 0.0 ? second - mean * mean : s.moments.variance();
  return {share, mean, std::max(std::sqrt(std::max(0.0, variance)), floor_scale(s))};
}

}  // namespace

Parameters fit_likelihood(Family family, const Sample& s) {
  const Moments& m = s.moments;
  const double spread = std::max(quartile_range(s.atoms, static_cast<double>(m.count)), 1e-6 * m.std());
  switch (family) {
    case Family::gaussian:
      return {0.0, m.mean, m.std()};
    case Family::uniform:
      return {0.0, m.min, m.max - m.min};
    case Family::exponential:
      return {0.0, m.min, m.mean - m.min};
    case Family::laplace:
      return {0.0, s.median, mean_distance(s.atoms, s.median)};
    case Family::cauchy:
      return search<2>(family, s, {{0.0, s.median, 0.5 * spread}});
    case Family::logistic:
      return search<2>(family, s, {{0.0, s.median, 0.45 * spread}});
    case Family::gamma:
      return search_location(family, s, gamma_at);
    case Family::alpha:
      return search_location(family, s, alpha_at);
    case Family::generalized_gaussian:
      return search<3>(family, s, with_shapes({0.7, 1.5, 4.0}, s.median, spread));
    case Family::student_t:
      return search<3>(family, s, with_shapes({1.0, 4.0, 50.0}, s.median, 0.7 * spread));
    case Family::spike_laplace:
    case Family::spike_gaussian:
      break;
  }
  return fit_spike(family, s);
}

double log_likelihood(Family family, const Parameters& p, const Sample& s) {
  const Moments& m = s.moments;
  const double n = static_cast<double>(m.count);
  if (family == Family::gaussian) {
    const double offset = m.mean - p.loc;
    return n * (-kLogSqrt2Pi - std::log(p.scale)) - 0.5 * (m.m2 + n * offset * offset) / (p.scale * p.scale);
  }
  if (family == Family::uniform) {
    return m.min >= p.loc && m.max <= p.loc + p.scale * (1.0 + 1e-15) ? -n * std::log(p.scale) : -kInfinity;
  }
  if (family == Family::exponential) {
    return m.min >= p.loc ? -n * (std::log(p.scale) + (m.mean - p.loc) / p.scale) : -kInfinity;
  }
  if ((family == Family::gamma || family == Family::alpha) && m.min < p.loc) return -kInfinity;
  if (!info(family).spike()) return sum_logpdf(family, p, s.atoms);
  const double spike = m.zeros > 0 ? static_cast<double>(m.zeros) * std::log(p.shape) : 0.0;
  return spike + sum_logpdf(family, p, nonzero(s));
}

double kolmogorov_smirnov(Family family, const Parameters& p, const Sample& s) {
  const Atoms& atoms = s.atoms;
  std::vector<double> share(atoms.x.size());
  double sum = 0.0;
  for (std::size_t i = 0; i < share.size(); ++i) {
    sum += atoms.count[i];
    share[i] = sum / static_cast<double>(s.moments.count);
  }
  return with_family(family, p, [&](const auto& distribution) {
    double worst = 0.0;
    const auto look = [&](std::size_t i) {
      const double value = distribution.cdf(atoms.upper[i]);
      worst = std::max(worst, std::abs(share[i] - value));
      // The step of the values at a point: the distribution function just below it, which a spike at 0
      // shares.
      if (s.exact) {
        const double below = value - (info(family).spike() && atoms.x[i] == 0.0 ? p.shape : 0.0);
        worst = std::max(worst, std::abs(below - (i == 0 ? 0.0 : share[i - 1])));
      }
      return value;
    };
    struct Piece {
      std::size_t first, last;
      double low, high;  // the distribution function at both ends
    };
    const std::size_t end = share.size() - 1;
    std::vector<Piece> open = {{0, end, look(0), look(end)}};
    while (!open.empty()) {  // both functions rise, so a piece bounds what lies inside it
      const Piece piece = open.back();
      open.pop_back();
      const double most = std::max(share[piece.last] - piece.low, piece.high - share[piece.first]);
      if (piece.last - piece.first < 2 || most <= worst) continue;
      const std::size_t middle = piece.first + (piece.last - piece.first) / 2;
      const double value = look(middle);
      open.push_back({piece.first, middle, piece.low, value});
      open.push_back({middle, piece.last, value, piece.high});
    }
    return worst;
  });
}

}  // namespace rdquant::stats
