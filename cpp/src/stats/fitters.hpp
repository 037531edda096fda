#pragma once

#include <span>

#include "rdquant/stats/fit.hpp"
#include "stats/sample.hpp"

namespace rdquant::stats {

/// Parameters of greatest likelihood. The values must not all be equal.
[[nodiscard]] Parameters fit_likelihood(Family family, const Sample& sample);

/// Log-likelihood of all values. A family with a spike counts an exact zero with its probability.
[[nodiscard]] double log_likelihood(Family family, const Parameters& p, const Sample& sample);

/// Largest difference of the two distribution functions; beyond the exact case, to the largest probability of
/// the family in one fine bin.
[[nodiscard]] double kolmogorov_smirnov(Family family, const Parameters& p, const Sample& sample);

/// The histogram with what its criteria need, computed once.
class Target {
 public:
  explicit Target(const Histogram& histogram);
  [[nodiscard]] Distances distances(Family family, const Parameters& p) const;
  /// Parameters that make `criterion` (not mle) least; never worse than `start`.
  [[nodiscard]] Parameters minimise(Family family, Criterion criterion, const Parameters& start) const;

 private:
  [[nodiscard]] double objective(Family family, Criterion criterion, const Parameters& p) const;
  [[nodiscard]] double distance(Criterion criterion, const std::vector<double>& q) const;
  void fill(Family family, const Parameters& p, std::vector<double>& q) const;
  [[nodiscard]] Parameters minimise_uniform(Criterion criterion, const Parameters& start) const;
  [[nodiscard]] std::vector<Parameters> starts(Family family, const Parameters& mle) const;
  [[nodiscard]] Parameters refine(Family family, Criterion criterion, const Parameters& start) const;

  double low_, width_;
  std::vector<double> centres_, y_, p_, log_p_;
  double entropy_;     // sum of P log P
  int zero_bin_;       // the bin that holds 0, or -1
  double mean_, std_;  // of the histogram
};

/// Coordinates in which families are near quadratic: see the definition.
struct Coordinates {
  Family family;
  double unit;   ///< size of one step in location
  double floor;  ///< smallest scale
  [[nodiscard]] std::array<double, 3> from(const Parameters& p) const;
  [[nodiscard]] Parameters to(const std::array<double, 3>& c) const;
  /// A first step in every coordinate.
  [[nodiscard]] std::array<double, 3> step(const std::array<double, 3>& c) const;
};

}  // namespace rdquant::stats
