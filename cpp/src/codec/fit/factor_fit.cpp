#include "codec/fit/factor_fit.hpp"

#include <cmath>
#include <cstdlib>

#include "codec/fit/analyse.hpp"

namespace rdquant::codec {
namespace {

constexpr int kMostSteps = 12;  // that a column's or a tap's scale is away from 0

/// About what a scale costs that is so many steps away from the usual one.
double side_bits(int steps) {
  return steps == 0 ? 0.8 : 2.4 + 1.6 * std::log2(static_cast<double>(std::abs(steps)));
}

class FactorFit {
 public:
  FactorFit(const Grid& grid, const Survivors& places, std::span<const double> weights, const FitCosts& costs)
      : grid_(grid), places_(places), weights_(weights), costs_(costs) {
    sizes_ = {grid.rows, grid.cols, grid.taps};
    where_ = {&places.row, &places.col, &places.tap};
    for (int axis = 0; axis < 3; ++axis) scales_[at(axis)].assign(sizes_[at(axis)], 0);
  }

  void run(Model& model, double information) {
    std::fill(scales_[0].begin(), scales_[0].end(), best_base());
    const auto step = [&](std::size_t lines) {
      return step_for(information * static_cast<double>(places_.size()) / static_cast<double>(lines));
    };
    steps_ = {step(grid_.rows), step(grid_.cols), 1};
    for (int round = 0; round < 3; ++round) {
      for (int axis = 0; axis < 3; ++axis) {
        if (sizes_[at(axis)] > 1) fit(axis);
      }
    }
    model.row_step = steps_[0];
    model.col_step = steps_[1];
    model.row_scales = scales_[0];
    model.col_scales = scales_[1];
    model.tap_scales = scales_[2];
  }

 private:
  static std::size_t at(int axis) { return static_cast<std::size_t>(axis); }

  /// How many elements have which sum of the other axes' scales: a histogram, kSums/2 its middle.
  [[nodiscard]] std::array<double, kSums> sums_of_others(int axis) const {
    std::array<double, kSums> sums{};
    sums[kSums / 2] = 1.0;
    for (int other = 0; other < 3; ++other) {
      if (other == axis) continue;
      std::array<double, kSums> one{}, next{};
      for (const std::int32_t s : scales_[at(other)]) one[static_cast<std::size_t>(s + kSums / 2)] += 1.0;
      for (int i = 0; i < kSums; ++i) {
        if (one[static_cast<std::size_t>(i)] == 0.0) continue;
        for (int j = std::max(0, kSums / 2 - i); j < std::min(kSums, kSums + kSums / 2 - i); ++j) {
          next[static_cast<std::size_t>(i + j - kSums / 2)] +=
              one[static_cast<std::size_t>(i)] * sums[static_cast<std::size_t>(j)];
        }
      }
      sums = next;
    }
    return sums;
  }

  [[nodiscard]] int best_base() const {
    double weight = 0.0;
    for (const double w : weights_) weight += w;
    int best = 0;
    double least = 1e300;
    for (int s = 0; s < kScales; ++s) {
      const double bits = static_cast<double>(places_.size()) * costs_.one[at(s)] +
                          weight * costs_.more[at(s)] +
                          static_cast<double>(grid_.size()) * costs_.every[at(s)];
      if (bits < least) least = bits, best = s;
    }
    return best;
  }

  /// Survivors by line of an axis: places[starts[l]] … places[starts[l + 1] − 1].
  struct Lines {
    std::vector<std::size_t> starts, places;
  };
  [[nodiscard]] Lines lines_of(int axis) const {
    const auto& line = *where_[at(axis)];
    Lines lines;
    lines.starts.assign(sizes_[at(axis)] + 1, 0);
    for (const std::uint32_t l : line) ++lines.starts[l + 1];
    for (std::size_t l = 1; l < lines.starts.size(); ++l) lines.starts[l] += lines.starts[l - 1];
    lines.places.resize(line.size());
    auto next = lines.starts;
    for (std::size_t i = 0; i < line.size(); ++i) lines.places[next[line[i]]++] = i;
    return lines;
  }

  void fit(int axis) {
    const auto others = sums_of_others(axis);
    const Lines lines = lines_of(axis);
    const int base = axis == 0 ? median(scales_[0]) : 0, step = steps_[at(axis)];
    const int low = axis == 0 ? -(base / step) : -kMostSteps;
    const int high = axis == 0 ? (kScales - 1 - base) / step : kMostSteps;
    std::vector<double> every(static_cast<std::size_t>(high - low + 1));
    for (int o = low; o <= high; ++o) {
      double bits = 0.0;
      for (int j = 0; j < kSums; ++j) {
        const double count = others[static_cast<std::size_t>(j)];
        if (count > 0.0) bits += count * costs_.every[scale_index(base + step * o + j - kSums / 2)];
      }
      every[static_cast<std::size_t>(o - low)] = bits;
    }
    std::vector<std::int32_t> fitted(sizes_[at(axis)]);
    double gain = 0.0;
    for (std::size_t l = 0; l < fitted.size(); ++l) {
      const auto members =
          std::span(lines.places).subspan(lines.starts[l], lines.starts[l + 1] - lines.starts[l]);
      const auto [steps, saved] = best_of(axis, members, base, step, low, every);
      fitted[l] = base + step * steps;
      gain += saved - side_bits(0);
    }
    if (gain <= 0.0) std::fill(fitted.begin(), fitted.end(), base);
    scales_[at(axis)] = std::move(fitted);
  }

  /// Steps of the best scale of a line, and what it saves over `base`.
  [[nodiscard]] std::pair<int, double> best_of(int axis, std::span<const std::size_t> members, int base,
                                               int step, int low, const std::vector<double>& every) const {
    std::array<double, kSums> count{}, weight{};
    int first = kSums, last = -1;
    for (const std::size_t i : members) {
      int j = kSums / 2;
      for (int other = 0; other < 3; ++other) {
        if (other != axis) j += scales_[at(other)][(*where_[at(other)])[i]];
      }
      count[static_cast<std::size_t>(j)] += 1.0;
      weight[static_cast<std::size_t>(j)] += weights_.empty() ? 0.0 : weights_[i];
      first = std::min(first, j);
      last = std::max(last, j);
    }
    int best = 0;
    double least = 1e300, at_base = 0.0;
    for (std::size_t c = 0; c < every.size(); ++c) {
      const int o = low + static_cast<int>(c);
      double bits = every[c] + side_bits(o);
      for (int j = first; j <= last; ++j) {
        const std::size_t s = scale_index(base + step * o + j - kSums / 2);
        bits += count[static_cast<std::size_t>(j)] * costs_.one[s] +
                weight[static_cast<std::size_t>(j)] * costs_.more[s];
      }
      if (o == 0) at_base = bits - side_bits(0);
      if (bits < least) least = bits, best = o;
    }
    return {best, at_base - least + side_bits(0)};
  }

  Grid grid_;
  const Survivors& places_;
  std::span<const double> weights_;
  FitCosts costs_;
  std::array<std::size_t, 3> sizes_{};
  std::array<const std::vector<std::uint32_t>*, 3> where_{};
  std::array<std::vector<std::int32_t>, 3> scales_;
  std::array<int, 3> steps_{1, 1, 1};
};

}  // namespace

void fit_factors(Model& model, const Survivors& places, std::span<const double> weights,
                 const FitCosts& costs, double information) {
  FactorFit(model.grid, places, weights, costs).run(model, information);
}

}  // namespace rdquant::codec
