#include "rdquant/stats/fit.hpp"

#include <cmath>
#include <limits>
#include <utility>

#include "rdquant/core/error.hpp"
#include "stats/fitters.hpp"

namespace rdquant::stats {
namespace {

// All values equal `value`: the limit of every family is a point mass, whose histogram is that of the values.
Fit point_mass(Family family, Criterion criterion, double value) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  const bool spike = info(family).spike() && value == 0.0;
  return {.family = family,
          .criterion = criterion,
          .parameters = {spike ? 1.0 : 0.0, value, 0.0},
          .kl = 0.0,
          .kl_reverse = 0.0,
          .sse = 0.0,
          .loglik = kInf,
          .aic = -kInf,
          .bic = -kInf,
          .ks = 0.0,
          .degenerate = true};
}

Fit describe(Family family, Criterion criterion, const Parameters& p, const Sample& sample,
             const Target& target) {
  const Distances d = target.distances(family, p);
  const double loglik = log_likelihood(family, p, sample);
  const double k = info(family).parameters();
  return {.family = family,
          .criterion = criterion,
          .parameters = p,
          .kl = d.kl,
          .kl_reverse = d.kl_reverse,
          .sse = d.sse,
          .loglik = loglik,
          .aic = 2.0 * k - 2.0 * loglik,
          .bic = k * std::log(static_cast<double>(sample.moments.count)) - 2.0 * loglik,
          .ks = kolmogorov_smirnov(family, p, sample),
          .degenerate = false};
}

}  // namespace

FitResult fit(const Values& values, const FitOptions& options) {
  const Moments m = moments(values, options.threads);
  if (m.count == 0) throw core::InvalidArgument("fit: no values; expected at least one");
  const Range range = options.range.value_or(data_range(m.min, m.max));
  FitResult result{m, Histogram(range.low, range.high, options.bins), {}};
  if (!(m.min < m.max)) {
    result.histogram.add(values);
    for (const Criterion criterion : options.criteria) {
      for (const Family family : options.families)
        result.fits.push_back(point_mass(family, criterion, m.min));
    }
    return result;
  }
  Sample sample = take_sample(values, m, result.histogram, options.threads);
  if (sample.histogram.inside() == 0)
    throw core::InvalidArgument("fit: no value lies in the histogram's range");
  const Target target(sample.histogram);
  std::vector<Parameters> likeliest;
  for (const Family family : options.families) likeliest.push_back(fit_likelihood(family, sample));
  for (const Criterion criterion : options.criteria) {
    for (std::size_t i = 0; i < likeliest.size(); ++i) {
      const Family family = options.families[i];
      const Parameters p =
          criterion == Criterion::mle ? likeliest[i] : target.minimise(family, criterion, likeliest[i]);
      result.fits.push_back(describe(family, criterion, p, sample, target));
    }
  }
  result.histogram = std::move(sample.histogram);
  return result;
}

Distances distances(const Histogram& histogram, Family family, const Parameters& parameters) {
  check(family, parameters);
  return Target(histogram).distances(family, parameters);
}

}  // namespace rdquant::stats
