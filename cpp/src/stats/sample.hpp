#pragma once

#include <vector>

#include "rdquant/stats/histogram.hpp"
#include "rdquant/stats/moments.hpp"

namespace rdquant::stats {

/// Weighted points in ascending order that stand for all values.
struct Atoms {
  std::vector<double> x;      ///< mean of the values that the point stands for
  std::vector<double> count;  ///< how many they are
  std::vector<double> upper;  ///< all of them lie at or below this, those of the next point above
};

/// What fitting needs to know of the values, gathered in a few passes; its size does not grow with theirs.
struct Sample {
  Moments moments;
  Histogram histogram;
  Atoms atoms;    ///< all values
  Atoms coarse;   ///< at most a few hundred points, for searches
  Atoms nonzero;  ///< atoms without the values that are 0; empty where there are none of either kind
  bool exact;     ///< atoms are the distinct values themselves
  double median;
  double median_nonzero;  ///< the median where all values are 0
};

[[nodiscard]] Sample take_sample(const Values& values, const Moments& moments, const Histogram& empty,
                                 int threads);

}  // namespace rdquant::stats
