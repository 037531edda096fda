#pragma once

#include <cstdint>
#include <vector>

#include "rdquant/stats/values.hpp"

namespace rdquant::stats {

/// Counts of values over bins of equal width. Bin i holds edge(i) <= x < edge(i + 1); the last bin also holds
/// its upper edge. Values outside are counted in `below` and `above`. Merging two histograms of the same bins
/// gives exactly the histogram of all their values.
class Histogram {
 public:
  /// @throws InvalidArgument  bins outside 1..2^24, or not low < high, or either not finite.
  Histogram(double low, double high, int bins);

  /// @throws InvalidArgument  a value is NaN or infinite; nothing has been added then.
  void add(const Values& values, int threads = 1);

  /// Counts made apart from the histogram, by a pass that does other work on the same values or by a thread.
  struct Counts {
    std::vector<std::int64_t> bins;
    std::int64_t below = 0;
    std::int64_t above = 0;
  };
  [[nodiscard]] Counts no_counts() const { return {std::vector<std::int64_t>(counts_.size(), 0)}; }
  /// Counts finite values (float or double) with this histogram's edges.
  template <typename T>
  void count(std::span<const T> data, Counts& into) const;
  void add(const Counts& counts);

  /// @throws InvalidArgument  the other's range or number of bins differs.
  void merge(const Histogram& other);

  [[nodiscard]] double low() const noexcept { return low_; }
  [[nodiscard]] double high() const noexcept { return high_; }
  [[nodiscard]] int bins() const noexcept { return static_cast<int>(counts_.size()); }
  [[nodiscard]] double width() const noexcept { return (high_ - low_) / bins(); }
  [[nodiscard]] const std::vector<std::int64_t>& counts() const noexcept { return counts_; }
  [[nodiscard]] std::int64_t below() const noexcept { return below_; }
  [[nodiscard]] std::int64_t above() const noexcept { return above_; }
  /// Values inside the range.
  [[nodiscard]] std::int64_t inside() const noexcept;
  /// The bins() + 1 edges: low + i * (high - low) / bins, the last one exactly high.
  [[nodiscard]] std::vector<double> edges() const;
  /// Counts / (inside * width), which sums to 1 / width; all 0 where nothing is inside.
  [[nodiscard]] std::vector<double> density() const;
  /// Index of the bin that holds x, which must lie inside the range: the definition.
  [[nodiscard]] int bin_of(double x) const noexcept;

 private:
  double low_;
  double high_;
  std::vector<std::int64_t> counts_;
  std::int64_t below_ = 0;
  std::int64_t above_ = 0;
};

/// The range that NumPy takes for data with these extremes: [min, max], or half a unit to both sides of a
/// single value.
struct Range {
  double low;
  double high;
};
[[nodiscard]] Range data_range(double min, double max) noexcept;

}  // namespace rdquant::stats
