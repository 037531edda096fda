#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace rdquant::stats {

/// A tensor seen along one axis: `outer` x `length` x `inner` values in C order; element (o, t, i) is
/// followed by (o, t + 1, i). A flat array is 1 x n x 1.
struct Lines {
  std::size_t outer = 1;
  std::size_t length = 0;
  std::size_t inner = 1;
};

/// Autocovariance along the lines for lags 0..lags: the mean of (x_t - m)(x_{t+k} - m) over all pairs of one
/// line at distance k, m the mean of the tensor. By FFT where that is cheaper than the definition; O(n log
/// length).
///
/// @throws InvalidArgument  sizes that disagree, a value that is not finite, no value, lags not below the
/// length.
template <typename T>
[[nodiscard]] std::vector<double> autocovariance(std::span<const T> values, const Lines& lines,
                                                 std::size_t lags);

struct MutualInformation {
  double bits;          ///< with the correction of Miller and Madow for the bias; may be slightly negative
  double plain_bits;    ///< plug-in estimate
  std::int64_t pairs;   ///< neighbouring pairs
  std::int64_t levels;  ///< occupied bins of one value
};

/// Mutual information, in bits, of a value and its successor along the lines, each in one of `bins` bins of
/// nearly equal probability.
///
/// @throws InvalidArgument  as autocovariance; length below 2; bins outside 2..1024.
template <typename T>
[[nodiscard]] MutualInformation mutual_information(std::span<const T> values, const Lines& lines, int bins);

}  // namespace rdquant::stats
