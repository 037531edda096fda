#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "codec/fit/analyse.hpp"

namespace rdquant::codec {
namespace {

constexpr double kScaleBits = 3.0;  // of a scale in the side information

/// σ in levels of the Laplace density whose rounded values have mean magnitude `mean`.
double unrounded(double mean) {
  const double e = std::max(mean, 1e-4);
  const double y = (std::sqrt(1.0 + 4.0 * e * e) - 1.0) / (2.0 * e);  // exp(−1/(2σ))
  return -0.5 / std::log(y);
}

std::int32_t scale_of(double mean) {
  const double s = 31.0 + 8.0 * std::log2(std::max(unrounded(mean), 1e-3));
  return clamp_scale(static_cast<std::int32_t>(std::lround(s)));
}

/// Fits σ(row)·σ(column)·σ(tap) to magnitudes of residuals, one factor after the other, and keeps a factor
/// where it saves more than it costs.
class ScaleFit {
 public:
  ScaleFit(const Grid& grid, std::vector<float> magnitudes)
      : grid_(grid),
        a_(std::move(magnitudes)),
        row_(grid.rows, 1.0),
        col_(grid.cols, 1.0),
        tap_(grid.taps, 1.0) {}

  void run(Model& model) {
    const double n = static_cast<double>(grid_.size());
    const double mean = std::accumulate(a_.begin(), a_.end(), 0.0) / n;
    const auto all = sums();
    std::vector<double> rows = ratio(all.row, n / static_cast<double>(grid_.rows));
    const bool by_row = grid_.rows > 1 && gain(rows, mean) > kScaleBits * static_cast<double>(grid_.rows);
    row_ = by_row ? rows : std::vector<double>(grid_.rows, floor(mean));
    bool by_col = false, by_tap = false;
    if (grid_.cols > 1) {
      std::vector<double> cols = ratio(sums().col, n / static_cast<double>(grid_.cols));
      by_col = gain(cols, average(cols)) > kScaleBits * static_cast<double>(grid_.cols);
      if (by_col) col_ = normalised(cols);
    }
    if (grid_.taps > 1) {
      std::vector<double> taps = ratio(sums().tap, n / static_cast<double>(grid_.taps));
      by_tap = gain(taps, average(taps)) > kScaleBits * static_cast<double>(grid_.taps);
      if (by_tap) tap_ = normalised(taps);
    }
    if (by_row && (by_col || by_tap)) {
      std::fill(row_.begin(), row_.end(), 1.0);
      row_ = ratio(sums().row, n / static_cast<double>(grid_.rows));
    } else if (!by_row) {
      std::fill(row_.begin(), row_.end(), floor(mean));
    }
    model.row_step = by_row ? step_for(n / static_cast<double>(grid_.rows)) : 1;
    model.col_step = by_col ? step_for(n / static_cast<double>(grid_.cols)) : 1;
    model.row_scales = absolute(model.row_step);
    model.col_scales = relative(col_, model.col_step);
    model.tap_scales = relative(tap_, 1);
  }

 private:
  struct Sums {
    std::vector<double> row, col, tap;
  };

  static double floor(double mean) { return std::max(mean, 0.02); }
  static double average(const std::vector<double>& v) {
    return std::accumulate(v.begin(), v.end(), 0.0) / static_cast<double>(v.size());
  }
  static std::vector<double> normalised(std::vector<double> v) {
    const double mean = average(v);
    for (double& x : v) x /= mean;
    return v;
  }
  static std::vector<double> ratio(std::vector<double> totals, double count) {
    for (double& x : totals) x = floor(x / count);
    return totals;
  }
  /// Bits that one scale for each of the means saves over one for all of them.
  [[nodiscard]] double gain(const std::vector<double>& means, double mean) const {
    double sum = 0.0;
    for (const double m : means) sum += std::log2(floor(mean)) - std::log2(m);
    return sum * static_cast<double>(grid_.size()) / static_cast<double>(means.size());
  }
  /// Sums of a/(σ(row)·σ(column)·σ(tap)).
  [[nodiscard]] Sums sums() const {
    Sums s{std::vector<double>(grid_.rows), std::vector<double>(grid_.cols), std::vector<double>(grid_.taps)};
    std::vector<double> inverse(grid_.cols * grid_.taps), at(grid_.cols * grid_.taps);
    for (std::size_t i = 0; i < grid_.cols; ++i) {
      for (std::size_t t = 0; t < grid_.taps; ++t) inverse[i * grid_.taps + t] = 1.0 / (col_[i] * tap_[t]);
    }
    for (std::size_t o = 0; o < grid_.rows; ++o) {
      const float* const a = a_.data() + o * inverse.size();
      const double scale = 1.0 / row_[o];
      double total = 0.0;
      for (std::size_t i = 0; i < inverse.size(); ++i) {
        const double x = scale * a[i] * inverse[i];
        at[i] += x;
        total += x;
      }
      s.row[o] = total;
    }
    for (std::size_t i = 0; i < grid_.cols; ++i) {
      for (std::size_t t = 0; t < grid_.taps; ++t) {
        s.col[i] += at[i * grid_.taps + t];
        s.tap[t] += at[i * grid_.taps + t];
      }
    }
    return s;
  }

  [[nodiscard]] std::vector<std::int32_t> absolute(int step) const {
    std::vector<std::int32_t> out(row_.size());
    for (std::size_t o = 0; o < out.size(); ++o) out[o] = scale_of(row_[o]);
    const std::int32_t base = median(out);
    for (std::int32_t& s : out) {
      s = base + step * static_cast<std::int32_t>(std::lround(static_cast<double>(s - base) / step));
    }
    return out;
  }
  static std::vector<std::int32_t> relative(const std::vector<double>& factors, int step) {
    std::vector<std::int32_t> out(factors.size());
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] = step * static_cast<std::int32_t>(std::lround(8.0 * std::log2(factors[i]) / step));
    }
    // A vector that does not vary is not sent: it is all zeros then.
    if (std::adjacent_find(out.begin(), out.end(), std::not_equal_to<>()) == out.end()) {
      std::fill(out.begin(), out.end(), 0);
    }
    return out;
  }

  Grid grid_;
  std::vector<float> a_;
  std::vector<double> row_, col_, tap_;
};

}  // namespace

int step_for(double information) {
  return std::clamp(static_cast<int>(std::lround(1.7 * 11.5 / std::sqrt(std::max(information, 1e-9)))), 1, 4);
}

void fit_scales(Model& model, std::vector<float> magnitudes) {
  ScaleFit(model.grid, std::move(magnitudes)).run(model);
}

}  // namespace rdquant::codec
