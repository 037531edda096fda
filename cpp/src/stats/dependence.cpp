#include "rdquant/stats/dependence.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <complex>
#include <numbers>
#include <string>
#include <unsupported/Eigen/FFT>

#include "rdquant/core/error.hpp"
#include "rdquant/stats/moments.hpp"

namespace rdquant::stats {
namespace {

constexpr std::size_t kSpread = 1 << 16;

template <typename T>
Moments checked(std::span<const T> values, const Lines& lines) {
  if (lines.outer * lines.length * lines.inner != values.size()) {
    throw core::InvalidArgument("the tensor has " + std::to_string(values.size()) +
                                " values, its lines hold " +
                                std::to_string(lines.outer * lines.length * lines.inner));
  }
  core::require(!values.empty(), "the tensor has no values; expected at least one");
  return moments({{"values", values}});
}

template <typename T>
void add_products(std::span<const T> line, std::size_t stride, std::size_t length, double mean,
                  std::vector<double>& sums) {
  for (std::size_t k = 0; k < sums.size(); ++k) {
    double sum = 0.0;
    for (std::size_t t = 0; t + k < length; ++t) {
      sum += (static_cast<double>(line[t * stride]) - mean) *
             (static_cast<double>(line[(t + k) * stride]) - mean);
    }
    sums[k] += sum;
  }
}

// Sums of products by the Wiener–Khinchin theorem: power spectra of the zero-padded lines add up, and one
// inverse transform gives all lags.
class SpectralSums {
 public:
  SpectralSums(std::size_t length, std::size_t lags)
      : line_(std::bit_ceil(length + lags)), power_(line_.size(), 0.0) {}

  template <typename T>
  void add(std::span<const T> line, std::size_t stride, std::size_t length, double mean) {
    for (std::size_t t = 0; t < length; ++t) line_[t] = static_cast<double>(line[t * stride]) - mean;
    fft_.fwd(spectrum_, line_);
    for (std::size_t f = 0; f < power_.size(); ++f) power_[f] += std::norm(spectrum_[f]);
  }

  void finish(std::vector<double>& sums) {
    std::copy(power_.begin(), power_.end(), spectrum_.begin());
    std::vector<double> all;
    fft_.inv(all, spectrum_);
    std::copy_n(all.begin(), sums.size(), sums.begin());
  }

 private:
  Eigen::FFT<double> fft_;
  std::vector<double> line_, power_;
  std::vector<std::complex<double>> spectrum_;
};

template <typename T>
std::vector<double> quantile_edges(std::span<const T> values, int bins) {
  std::vector<double> some;
  for (std::size_t i = 0; i < values.size(); i += std::max<std::size_t>(1, values.size() / kSpread)) {
    some.push_back(static_cast<double>(values[i]));
  }
  std::sort(some.begin(), some.end());
  std::vector<double> edges;
  for (int b = 1; b < bins; ++b) {
    edges.push_back(some[static_cast<std::size_t>(b) * some.size() / static_cast<std::size_t>(bins)]);
  }
  edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
  return edges;
}

// Entropy of counts in bits, and how many are not zero.
struct Entropy {
  double bits = 0.0;
  double occupied = 0.0;
};

Entropy entropy(const std::vector<std::int64_t>& counts, double n) {
  Entropy result;
  for (const std::int64_t c : counts) {
    if (c == 0) continue;
    const double p = static_cast<double>(c) / n;
    result.bits -= p * std::log2(p);
    result.occupied += 1.0;
  }
  return result;
}

}  // namespace

template <typename T>
std::vector<double> autocovariance(std::span<const T> values, const Lines& lines, std::size_t lags) {
  const Moments m = checked(values, lines);
  if (lags >= lines.length) {
    throw core::InvalidArgument("lags = " + std::to_string(lags) +
                                ": expected fewer than the axis is long (" + std::to_string(lines.length) +
                                ")");
  }
  std::vector<double> sums(lags + 1, 0.0);
  const double padded = static_cast<double>(std::bit_ceil(lines.length + lags));
  const bool direct =
      static_cast<double>(lines.length) * double(lags + 1) < 8.0 * padded * (1.0 + std::log2(padded));
  SpectralSums spectral(direct ? 1 : lines.length, direct ? 0 : lags);
  for (std::size_t o = 0; o < lines.outer; ++o) {
    for (std::size_t i = 0; i < lines.inner; ++i) {
      const std::span<const T> line = values.subspan(o * lines.length * lines.inner + i);
      if (direct) {
        add_products(line, lines.inner, lines.length, m.mean, sums);
      } else {
        spectral.add(line, lines.inner, lines.length, m.mean);
      }
    }
  }
  if (!direct) spectral.finish(sums);
  for (std::size_t k = 0; k <= lags; ++k) {
    sums[k] /= static_cast<double>(lines.outer * lines.inner) * static_cast<double>(lines.length - k);
  }
  return sums;
}

template <typename T>
MutualInformation mutual_information(std::span<const T> values, const Lines& lines, int bins) {
  static_cast<void>(checked(values, lines));
  if (bins < 2 || bins > 1024) {
    throw core::InvalidArgument("bins = " + std::to_string(bins) + ": expected 2..1024");
  }
  if (lines.length < 2) throw core::InvalidArgument("mutual information needs an axis of at least 2 values");
  const std::vector<double> edges = quantile_edges(values, bins);
  const std::size_t levels = edges.size() + 1;
  std::vector<std::uint16_t> level(values.size());
  std::transform(values.begin(), values.end(), level.begin(), [&](T x) {
    return static_cast<std::uint16_t>(std::upper_bound(edges.begin(), edges.end(), double(x)) -
                                      edges.begin());
  });
  std::vector<std::int64_t> joint(levels * levels, 0), first(levels, 0), second(levels, 0);
  for (std::size_t o = 0; o < lines.outer; ++o) {
    const std::size_t base = o * lines.length * lines.inner;
    for (std::size_t j = 0; j < (lines.length - 1) * lines.inner; ++j) {
      const std::size_t a = level[base + j];
      const std::size_t b = level[base + j + lines.inner];
      ++joint[a * levels + b];
      ++first[a];
      ++second[b];
    }
  }
  const double n = static_cast<double>(lines.outer * (lines.length - 1) * lines.inner);
  const Entropy x = entropy(first, n);
  const Entropy y = entropy(second, n);
  const Entropy xy = entropy(joint, n);
  const double plain = x.bits + y.bits - xy.bits;
  const double correction = (x.occupied + y.occupied - xy.occupied - 1.0) / (2.0 * n * std::numbers::ln2);
  return {plain + correction, plain, static_cast<std::int64_t>(n), static_cast<std::int64_t>(x.occupied)};
}

template std::vector<double> autocovariance(std::span<const float>, const Lines&, std::size_t);
template std::vector<double> autocovariance(std::span<const double>, const Lines&, std::size_t);
template MutualInformation mutual_information(std::span<const float>, const Lines&, int);
template MutualInformation mutual_information(std::span<const double>, const Lines&, int);

}  // namespace rdquant::stats
