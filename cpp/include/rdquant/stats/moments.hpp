#pragma once

#include <cstdint>
#include <limits>

#include "rdquant/stats/values.hpp"

namespace rdquant::stats {

/// Count, extremes and central moments of a set of numbers. Two of them merge into those of the union
/// (P. Pébay, Formulas for robust, one-pass parallel computation of covariances and arbitrary-order
/// statistical moments, SAND2008-6212). All in float64; of an empty set every average is NaN.
struct Moments {
  std::int64_t count = 0;
  std::int64_t zeros = 0;  ///< values equal to zero
  double mean = 0.0;
  double m2 = 0.0;  ///< sum of (x - mean)^2
  double m3 = 0.0;  ///< sum of (x - mean)^3
  double m4 = 0.0;  ///< sum of (x - mean)^4
  double sum_abs = 0.0;
  double min = std::numeric_limits<double>::infinity();
  double max = -std::numeric_limits<double>::infinity();

  void merge(const Moments& other) noexcept;

  [[nodiscard]] double average() const noexcept;
  /// m2 / count: the population variance.
  [[nodiscard]] double variance() const noexcept;
  [[nodiscard]] double std() const noexcept;
  /// Third standardized moment; 0 where the variance is 0.
  [[nodiscard]] double skewness() const noexcept;
  /// Fourth standardized moment less 3; 0 where the variance is 0.
  [[nodiscard]] double excess_kurtosis() const noexcept;
  [[nodiscard]] double mean_abs() const noexcept;
};

/// Moments of all values in one pass. The result does not depend on the number of threads or the instruction
/// set.
///
/// @throws InvalidArgument  a value is NaN or infinite; the message names the array and the index.
[[nodiscard]] Moments moments(const Values& values, int threads = 1);

}  // namespace rdquant::stats
