#pragma once

#include <optional>
#include <string>
#include <vector>

#include "rdquant/stats/families.hpp"
#include "rdquant/stats/histogram.hpp"
#include "rdquant/stats/moments.hpp"

namespace rdquant::stats {

/// What a fit makes best. With y the density of the named histogram and q the family's density at the bins'
/// centres:
/// - mle: the likelihood of all values;
/// - kl: KL(P||Q) = sum P log(P / Q), thesis equation 2.41, P = (y + ε) / sum(y + ε), Q = (q + ε) / sum(q +
/// ε);
/// - kl_reverse: KL(Q||P), the order of the arguments in `fitter`;
/// - sse: sum of (q - y)^2.
/// ε = kDensityFloor keeps empty bins and bins beyond the family's support finite.
enum class Criterion { mle, kl, kl_reverse, sse };

/// A density, in 1 / (unit of the values): the floor that `fitter` uses.
inline constexpr double kDensityFloor = 1e-10;

struct FitOptions {
  std::vector<Family> families;
  std::vector<Criterion> criteria = {Criterion::mle};
  int bins = 100;
  std::optional<Range> range;  ///< of the histogram; without it, the data's
  int threads = 1;             ///< for the passes over the values; 0: all cores
};

struct Fit {
  Family family;
  Criterion criterion;
  Parameters parameters;
  double kl, kl_reverse, sse;
  double loglik, aic, bic;
  double ks;        ///< largest difference of the distribution functions
  bool degenerate;  ///< all values are equal: scale 0, a point mass, which matches its histogram
};

struct FitResult {
  Moments moments;
  Histogram histogram;
  std::vector<Fit> fits;  ///< families within criteria, in the requested order
};

/// Fits families to all values (likelihood) and to their histogram (the other criteria). Values are read
/// three times, in blocks; memory does not grow with their number. Up to 16384 values the likelihood is
/// computed from the values themselves; beyond, from about 10^4 bins (finer around the median, kept with the
/// mean of their values), which gives log-likelihoods to better than 1e-6 per value.
///
/// Where a likelihood has no maximum, these are the bounds: the location of gamma and alpha stays below the
/// smallest value by between (mean - min) / count and 1000 standard deviations (the normal limit); scales
/// stay above 1e-9 of the range.
///
/// @throws InvalidArgument  no values, a value that is not finite, bad bins or range.
[[nodiscard]] FitResult fit(const Values& values, const FitOptions& options);

/// The three distances of Fit for given parameters, over a histogram.
struct Distances {
  double kl, kl_reverse, sse;
};
[[nodiscard]] Distances distances(const Histogram& histogram, Family family, const Parameters& parameters);

}  // namespace rdquant::stats
