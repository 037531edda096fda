#include "rdquant/stats/histogram.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <mutex>
#include <numeric>
#include <string>

#include "rdquant/core/error.hpp"
#include "rdquant/core/parallel.hpp"
#include "rdquant/stats/moments.hpp"
#include "stats/kernels.hpp"

namespace rdquant::stats {
namespace {

constexpr int kMostBins = 1 << 24;
constexpr int kFewBins = 256;

bool indices(std::span<const float> x, const UniformMap& map, std::int32_t* out) {
  return kernels().uniform_f32(x.data(), x.size(), map, out);
}
bool indices(std::span<const double> x, const UniformMap& map, std::int32_t* out) {
  return kernels().uniform_f64(x.data(), x.size(), map, out);
}

}  // namespace

Histogram::Histogram(double low, double high, int bins) : low_(low), high_(high) {
  if (bins < 1 || bins > kMostBins) {
    throw core::InvalidArgument("bins = " + std::to_string(bins) + ": expected 1.." +
                                std::to_string(kMostBins));
  }
  if (!std::isfinite(low) || !std::isfinite(high) || !(low < high) || !std::isfinite(high - low)) {
    throw core::InvalidArgument("range = (" + std::to_string(low) + ", " + std::to_string(high) +
                                "): expected finite low < high");
  }
  counts_.assign(static_cast<std::size_t>(bins), 0);
}

int Histogram::bin_of(double x) const noexcept {
  const double step = width();
  int i = std::clamp(static_cast<int>((x - low_) / step), 0, bins() - 1);
  while (i > 0 && x < low_ + i * step) --i;
  while (i < bins() - 1 && x >= low_ + (i + 1) * step) ++i;
  return i;
}

template <typename T>
void Histogram::count(std::span<const T> data, Counts& into) const {
  // Rounding of the edges and of t, in bins.
  const double margin = 8.0 * std::numeric_limits<double>::epsilon() *
                        (bins() + std::max(std::abs(low_), std::abs(high_)) / width());
  const UniformMap map{low_, 1.0 / width(), static_cast<double>(bins() - 1), margin};
  std::array<std::int32_t, kBlock> index;
  // Neighbouring values often fall into one bin; four tables in turn keep their increments apart.
  std::array<std::uint32_t, 4 * kFewBins> tables;
  const bool few = bins() <= kFewBins;
  for (std::size_t i = 0; i < data.size(); i += kBlock) {
    const std::span<const T> block = data.subspan(i, std::min(kBlock, data.size() - i));
    if (indices(block, map, index.data())) {
      for (const T value : block) {
        const double x = static_cast<double>(value);
        if (x < low_ || x > high_) {
          ++(x < low_ ? into.below : into.above);
        } else {
          ++into.bins[static_cast<std::size_t>(bin_of(x))];
        }
      }
    } else if (!few) {
      for (std::size_t j = 0; j < block.size(); ++j) ++into.bins[static_cast<std::size_t>(index[j])];
    } else {
      std::fill_n(tables.begin(), 4 * counts_.size(), 0);
      for (std::size_t j = 0; j < block.size(); ++j) ++tables[4 * static_cast<std::size_t>(index[j]) + j % 4];
      for (std::size_t b = 0; b < counts_.size(); ++b) {
        into.bins[b] +=
            std::int64_t{tables[4 * b]} + tables[4 * b + 1] + tables[4 * b + 2] + tables[4 * b + 3];
      }
    }
  }
}

template void Histogram::count(std::span<const float>, Counts&) const;
template void Histogram::count(std::span<const double>, Counts&) const;

void Histogram::add(const Counts& counts) {
  for (std::size_t b = 0; b < counts_.size(); ++b) counts_[b] += counts.bins[b];
  below_ += counts.below;
  above_ += counts.above;
}

void Histogram::add(const Values& values, int threads) {
  static_cast<void>(moments(values, threads));  // refuses NaN and infinity
  std::mutex mutex;
  for (const NamedValues& part : values) {
    std::visit(
        [&](auto data) {
          core::parallel_for(data.size(), kGrain, threads, [&](std::size_t begin, std::size_t end) {
            Counts local = no_counts();
            count(data.subspan(begin, end - begin), local);
            const std::lock_guard lock(mutex);
            add(local);
          });
        },
        part.data);
  }
}

void Histogram::merge(const Histogram& other) {
  if (other.low_ != low_ || other.high_ != high_ || other.bins() != bins()) {
    throw core::InvalidArgument("histograms merge only over the same range and number of bins");
  }
  for (std::size_t b = 0; b < counts_.size(); ++b) counts_[b] += other.counts_[b];
  below_ += other.below_;
  above_ += other.above_;
}

std::int64_t Histogram::inside() const noexcept {
  return std::accumulate(counts_.begin(), counts_.end(), std::int64_t{0});
}

std::vector<double> Histogram::edges() const {
  std::vector<double> result(counts_.size() + 1);
  for (std::size_t i = 0; i < counts_.size(); ++i) result[i] = low_ + static_cast<double>(i) * width();
  result.back() = high_;
  return result;
}

std::vector<double> Histogram::density() const {
  std::vector<double> result(counts_.size(), 0.0);
  const std::int64_t n = inside();
  if (n == 0) return result;
  const double unit = 1.0 / (static_cast<double>(n) * width());
  std::transform(counts_.begin(), counts_.end(), result.begin(),
                 [unit](std::int64_t c) { return static_cast<double>(c) * unit; });
  return result;
}

Range data_range(double min, double max) noexcept {
  return min < max ? Range{min, max} : Range{min - 0.5, max + 0.5};
}

}  // namespace rdquant::stats
