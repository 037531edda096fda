#include "codec/fit/analyse.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <utility>

#include "codec/rans/streams.hpp"
#include "codec/rdo/trellis_code.hpp"
#include "codec/rdo/viterbi.hpp"

namespace rdquant::codec {
namespace {

constexpr std::size_t kLeastSample = 1024;
constexpr std::int32_t kLeastClosed = 16;  // least reach of levels that may end where their type does
constexpr double kCoarseMean = 24.0;       // mean magnitude from which the low bits are sent as they are

/// Centre and shift of the levels, and the coarse levels.
void coarsen(std::span<const std::int32_t> levels, Analysis& a) {
  Model& model = a.model;
  if (model.trellis()) {  // the code needs the levels as they are
    a.coarse.assign(levels.begin(), levels.end());
    return;
  }
  const auto [least, most] = std::minmax_element(levels.begin(), levels.end());
  double sum = 0.0, magnitude = 0.0;
  for (const std::int32_t v : levels) sum += v;
  const double n = static_cast<double>(levels.size());
  for (const std::int32_t v : levels) magnitude += std::abs(v - sum / n);
  const double spread = magnitude / n;
  // Levels around zero keep zero where it is: dead zones and signs belong there.
  if (std::abs(sum / n) > 0.5 * spread + 0.5) model.centre = static_cast<std::int32_t>(std::lround(sum / n));
  const std::int64_t reach = std::max(std::abs(static_cast<std::int64_t>(*least) - model.centre),
                                      std::abs(static_cast<std::int64_t>(*most) - model.centre));
  while ((reach >> model.shift) >= kReach || std::ldexp(spread, -model.shift) > kCoarseMean) ++model.shift;
  a.coarse.resize(levels.size());
  for (std::size_t i = 0; i < levels.size(); ++i) {
    const std::int64_t difference = static_cast<std::int64_t>(levels[i]) - model.centre;
    a.coarse[i] = static_cast<std::int32_t>(difference >> model.shift);
  }
}

std::vector<double> row_weights(const Grid& grid, std::span<const std::int32_t> coarse) {
  const std::size_t n = grid.cols * grid.taps;
  std::vector<double> weights(grid.rows);
  for (std::size_t o = 0; o < grid.rows; ++o) {
    double sum = 0.0;
    for (std::size_t i = 0; i < n; ++i) sum += std::abs(coarse[o * n + i]);
    const double mean = sum / static_cast<double>(n) + 0.25;
    weights[o] = 1.0 / (mean * mean);
  }
  return weights;
}

std::vector<std::int32_t> means_of(const Model& model, std::span<const std::int32_t> coarse) {
  std::vector<std::int32_t> means(coarse.size(), 0);
  if (model.predictors.empty()) return means;
  const std::size_t taps = model.grid.taps, row = model.grid.cols * taps;
  for (std::size_t q = 0; q < model.grid.slices(); ++q) {
    const std::int32_t* const slice = coarse.data() + q * taps;
    const std::int32_t* const above = q >= model.grid.cols ? slice - row : nullptr;
    for (std::size_t t = 0; t < taps; ++t)
      means[q * taps + t] = predict(model.predictors[t], slice, t, above);
  }
  return means;
}

/// The window that costs least: every symbol takes one count of kTotal from all others, every residual beyond
/// costs an edge symbol and a byte or two.
std::int32_t best_window(const Model& model, std::span<const std::int32_t> coarse,
                         std::span<const std::int32_t> means) {
  std::vector<double> beyond(kMaxWindow + 2, 0.0);
  for (std::size_t i = 0; i < coarse.size(); ++i) {
    const bool odd = (coarse[i] & 1) != 0;
    const std::int32_t r = model.trellis() ? std::abs((coarse[i] >> 1) - rounded(halved_mean(means[i], odd)))
                                           : std::abs(coarse[i] - rounded(means[i]));
    beyond[static_cast<std::size_t>(std::min(r, kMaxWindow + 1))] += 1.0;
  }
  for (std::size_t r = beyond.size() - 1; r-- > 0;) beyond[r] += beyond[r + 1];
  const double each = 1.4427 * static_cast<double>(coarse.size()) / kTotal;
  std::int32_t best = kMaxWindow;
  double least = 1e300;
  for (std::int32_t w = 1; w <= kMaxWindow; ++w) {
    const double bits = each * (2 * w + 1) + 22.0 * beyond[static_cast<std::size_t>(w)];
    if (bits < least) {
      least = bits;
      best = w;
    }
  }
  return best;
}

/// Every n-th slice, all its taps, so that about `size` levels come together; fewer of a small tensor.
std::vector<std::size_t> sample_of(const Grid& grid, std::size_t size) {
  size = std::min(size, std::max(kLeastSample, grid.size() / 8));
  const std::size_t slices = std::max<std::size_t>(64, size / grid.taps);
  const std::size_t step = std::max<std::size_t>(1, grid.slices() / slices) | 1;
  std::vector<std::size_t> positions;
  for (std::size_t q = 0; q < grid.slices(); q += step) {
    for (std::size_t t = 0; t < grid.taps; ++t) positions.push_back(q * grid.taps + t);
  }
  return positions;
}

/// What is known of the levels at some positions before shape, dead zone and the scales' offset are.
class Sample {
 public:
  Sample(const Model& model, std::span<const std::int32_t> coarse, std::span<const std::size_t> positions)
      : symbols_(model.symbols()),
        window_(model.window),
        size_(positions.size()),
        levels_(size_ + kWide),
        means_(size_ + kWide),
        scales_(size_ + kWide),
        dead_(size_ + kWide),
        multipliers_(size_ + kWide),
        even_(size_ + kWide, 1) {
    const std::size_t taps = model.grid.taps, cols = model.grid.cols;
    for (std::size_t n = 0; n < size_; ++n) {
      const std::size_t i = positions[n], q = i / taps, t = i % taps;
      std::int32_t mean = 0, level = coarse[i];
      if (!model.predictors.empty()) {
        const std::int32_t* const slice = coarse.data() + q * taps;
        mean = predict(model.predictors[t], slice, t, q >= cols ? slice - cols * taps : nullptr);
      }
      if (model.trellis()) {
        even_[n] = (level & 1) == 0 ? 1 : 0;
        mean = halved_mean(mean, (level & 1) != 0);
        level >>= 1;
      }
      levels_[n] = level;
      means_[n] = mean;
      scales_[n] = model.row_scales[q / cols] + model.col_scales[q % cols] + model.tap_scales[t];
      if (!model.closed && std::abs(level - rounded(mean)) >= model.window) beyond_ += 10.0;
    }
  }

  /// Bits of the levels, side information left out, if all scales are raised by `offset`.
  [[nodiscard]] double bits(int shape, std::int32_t dead, std::int32_t offset) {
    if (shape != shape_) cells_ = cells_for(shape, symbols_);
    shape_ = shape;
    for (std::size_t n = 0; n < size_; ++n) {
      dead_[n] = dead * even_[n];
      multipliers_[n] = kMultipliers[static_cast<std::size_t>(clamp_scale(scales_[n] + offset))];
    }
    BitsTask task;
    task.size = size_;
    task.cells = cells_.data();
    task.symbols = static_cast<std::int32_t>(symbols_);
    task.window = window_;
    task.levels = levels_.data();
    task.means = means_.data();
    task.dead = dead_.data();
    task.multipliers = multipliers_.data();
    return beyond_ + coded_bits(task);
  }

 private:
  std::uint32_t symbols_;
  std::int32_t window_;
  std::size_t size_;
  std::vector<std::int32_t> levels_, means_, scales_, dead_, multipliers_, even_;
  double beyond_ = 0.0;
  int shape_ = -1;
  Cells cells_{};
};

/// Leaves out what does not pay at this rate: prediction, row, column and tap scales, each judged by a
/// sample.
void prune(Model& model, std::span<const std::int32_t> coarse, std::span<const std::size_t> positions) {
  const double times = static_cast<double>(coarse.size()) / static_cast<double>(positions.size());
  const auto cost = [&](const Model& m) {
    Writer side;
    write_model(side, m);
    return times * sample_bits(m, coarse, positions) + 8.0 * static_cast<double>(side.size());
  };
  double best = cost(model);
  const auto try_without = [&](auto&& leave_out) {
    Model other = model;
    if (!leave_out(other)) return;
    const double bits = cost(other);
    if (bits < best) {
      best = bits;
      model = std::move(other);
    }
  };
  // Both say whether anything changes.
  const auto even = [](std::vector<std::int32_t>& scales) {
    const bool vary = std::adjacent_find(scales.begin(), scales.end(), std::not_equal_to<>()) != scales.end();
    std::fill(scales.begin(), scales.end(), median(scales));
    return vary;
  };
  const auto zero = [](std::vector<std::int32_t>& scales) {
    const bool any = std::any_of(scales.begin(), scales.end(), [](std::int32_t s) { return s != 0; });
    std::fill(scales.begin(), scales.end(), 0);
    return any;
  };
  try_without([](Model& m) { return !std::exchange(m.predictors, {}).empty(); });
  try_without([&](Model& m) { return zero(m.col_scales); });
  try_without([&](Model& m) { return even(m.row_scales); });
  try_without([&](Model& m) { return zero(m.tap_scales); });
}

/// Shape, dead zone and a common offset of the scales by search along each of them in turn.
double refine(Model& model, std::span<const std::int32_t> coarse, std::span<const std::size_t> positions) {
  Sample sample(model, coarse, positions);
  const auto [least, most] = std::minmax_element(model.row_scales.begin(), model.row_scales.end());
  std::int32_t offset = 0, shape = model.shape;
  double best = sample.bits(shape, model.dead, offset);
  int idle =
      0;  // values tried since one has moved, that one included: once all are, there is nothing to find
  const auto climb = [&](std::int32_t& value, std::int32_t low, std::int32_t high, std::int32_t step) {
    if (++idle > 3) return;
    const std::int32_t before = value;
    for (const std::int32_t way : {step, -step}) {
      while (value + way >= low && value + way <= high) {
        value += way;
        const double bits = sample.bits(shape, model.dead, offset);
        if (bits >= best) {
          value -= way;
          break;
        }
        best = bits;
        idle = 1;
      }
      if (value != before) return;
    }
  };
  for (int round = 0; round < 2; ++round) {
    climb(shape, 0, kShapes - 1, 1);
    climb(offset, -*least, kScales - 1 - *most, 1);
    if (model.shift == 0 && model.centre == 0) climb(model.dead, -8, 22, 2);
  }
  model.shape = shape;
  for (std::int32_t& s : model.row_scales) s += offset;
  return best * static_cast<double>(coarse.size()) / static_cast<double>(positions.size());
}

/// Scales, window, shape and dead zone of a model that has its predictors; the bits of it all.
void fit_density(Analysis& a, const std::vector<std::int32_t>& means, std::size_t sample) {
  std::vector<float> magnitudes(a.coarse.size());
  for (std::size_t i = 0; i < magnitudes.size(); ++i) {
    magnitudes[i] =
        static_cast<float>(std::abs(16 * a.coarse[i] - means[i])) / (a.model.trellis() ? 32.0F : 16.0F);
  }
  fit_scales(a.model, std::move(magnitudes));
  if (!a.model.closed) a.model.window = best_window(a.model, a.coarse, means);
  a.model.shape = 3;
  const auto positions = sample_of(a.model.grid, sample);
  prune(a.model, a.coarse, positions);
  a.bits = refine(a.model, a.coarse, positions) +
           static_cast<double>(a.model.shift) * static_cast<double>(a.coarse.size());
  Writer side;
  write_model(side, a.model);
  a.bits += 8.0 * static_cast<double>(side.size());
}

}  // namespace

double sample_bits(const Model& model, std::span<const std::int32_t> coarse,
                   std::span<const std::size_t> positions) {
  return Sample(model, coarse, positions).bits(model.shape, model.dead, 0);
}

Analysis analyse(const Grid& grid, std::span<const std::int32_t> levels, std::size_t up_streams,
                 const Trellis& trellis, std::size_t sample) {
  Analysis a;
  a.model.grid = grid;
  if (trellis.states != 0) {
    a.model.log_states = std::countr_zero(static_cast<unsigned>(trellis.states));
    a.model.chains = static_cast<std::size_t>(trellis.chains);
  }
  coarsen(levels, a);
  const auto weights = row_weights(grid, a.coarse);
  a.model.predictors = fit_predictors(grid, a.coarse, weights, !a.model.trellis() && grid.cols >= up_streams);
  const auto means = means_of(a.model, a.coarse);
  fit_density(a, means, sample);
  return a;
}

std::optional<Analysis> analyse_closed(const Grid& grid, std::span<const std::int32_t> levels) {
  const auto [least, most] = std::minmax_element(levels.begin(), levels.end());
  const std::int64_t reach =
      std::max(std::abs(static_cast<std::int64_t>(*least)), static_cast<std::int64_t>(*most));
  if (reach < kLeastClosed || reach > kMaxWindow) return {};
  const auto ends =
      std::count_if(levels.begin(), levels.end(), [&](std::int32_t v) { return std::abs(v) == reach; });
  if (2 * static_cast<std::size_t>(ends) < grid.rows) return {};
  Analysis a;
  a.model.grid = grid;
  a.model.closed = true;
  a.model.window = static_cast<std::int32_t>(reach);
  a.coarse.assign(levels.begin(), levels.end());
  fit_density(a, std::vector<std::int32_t>(levels.size(), 0), kSample);
  return a;
}

double fit_table(Model& model, std::span<const std::int32_t> symbols) {
  model.table = true;
  std::vector<std::uint64_t> counts(
      static_cast<std::size_t>(*std::max_element(symbols.begin(), symbols.end())) + 1);
  for (const std::int32_t s : symbols) ++counts[static_cast<std::size_t>(s)];
  // Counts out of kTotal, none of them 0 that occurs; what is over or missing falls on the commonest symbol.
  std::vector<std::int64_t> scaled(counts.size());
  std::int64_t left = kTotal;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const auto share = static_cast<std::int64_t>(counts[i] * kTotal / symbols.size());
    scaled[i] = counts[i] == 0 ? 0 : std::max<std::int64_t>(1, share);
    left -= scaled[i];
  }
  *std::max_element(scaled.begin(), scaled.end()) += left;
  model.cumulated.assign(1, 0);
  double bits = 0.0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] > 0) {
      bits -= static_cast<double>(counts[i]) * std::log2(static_cast<double>(scaled[i]) / kTotal);
    }
    model.cumulated.push_back(model.cumulated.back() + static_cast<std::uint32_t>(scaled[i]));
  }
  Writer side;
  write_model(side, model);
  return bits + 8.0 * static_cast<double>(side.size());
}

TableAnalysis analyse_table(const Grid& grid, std::span<const std::int32_t> levels) {
  TableAnalysis out;
  const auto [least, most] = std::minmax_element(levels.begin(), levels.end());
  const std::int64_t symbols = static_cast<std::int64_t>(*most) - *least + 1;
  if (symbols > static_cast<std::int64_t>(kMaxSymbols) || symbols < 2) return out;
  out.fits = true;
  Model& model = out.analysis.model;
  model.grid = grid;
  model.centre = *least;
  out.analysis.coarse.resize(levels.size());
  for (std::size_t i = 0; i < levels.size(); ++i) out.analysis.coarse[i] = levels[i] - model.centre;
  out.analysis.bits = fit_table(model, out.analysis.coarse);
  return out;
}

}  // namespace rdquant::codec
