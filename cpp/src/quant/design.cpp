// Quantizers designed for given values: Lloyd–Max codebooks and minifloat biases.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "rdquant/core/error.hpp"
#include "rdquant/quant/quantizer.hpp"

namespace rdquant::quant {
namespace {

std::vector<float> sorted_finite(std::span<const float> x) {
  core::require(!x.empty(), "x is empty; a quantizer cannot be designed for no values");
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (!std::isfinite(x[i])) {
      throw core::InvalidArgument("value at index " + std::to_string(i) + " is not finite");
    }
  }
  std::vector<float> sorted(x.begin(), x.end());
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

// Start of Lloyd's algorithm: centres whose density follows p^(1/3), p taken from a histogram of 2048 bins.
std::vector<double> companded_centres(const std::vector<float>& sorted, int count) {
  constexpr int kBins = 2048;
  const double low = sorted.front();
  const double width = (static_cast<double>(sorted.back()) - low) / kBins;
  std::vector<double> mass(kBins, 0.0);
  for (const float v : sorted) mass[std::min(kBins - 1, static_cast<int>((v - low) / width))] += 1.0;
  std::vector<double> cumulative(kBins + 1, 0.0);
  for (int b = 0; b < kBins; ++b) cumulative[b + 1] = cumulative[b] + std::cbrt(mass[b]);
  std::vector<double> centres(count);
  int b = 0;
  for (int k = 0; k < count; ++k) {
    const double target = cumulative.back() * (k + 0.5) / count;
    while (b < kBins - 1 && cumulative[b + 1] < target) ++b;
    const double inside = (target - cumulative[b]) / std::max(cumulative[b + 1] - cumulative[b], 1e-300);
    centres[k] = low + width * (b + std::clamp(inside, 0.0, 1.0));
  }
  return centres;
}

// One round: cells from midpoints, centres from cell means. Returns the squared error before the move, up to
// the constant Σx²; empty cells keep their centre.
double lloyd_round(const std::vector<float>& sorted, const std::vector<double>& sums,
                   std::vector<double>& centres) {
  double error = 0.0;
  std::size_t begin = 0;
  for (std::size_t k = 0; k < centres.size(); ++k) {
    std::size_t end = sorted.size();
    if (k + 1 < centres.size()) {
      const double middle = 0.5 * (centres[k] + centres[k + 1]);
      end = static_cast<std::size_t>(
          std::upper_bound(sorted.begin() + static_cast<std::ptrdiff_t>(begin), sorted.end(), middle,
                           [](double value, float element) { return value < element; }) -
          sorted.begin());
    }
    const double n = static_cast<double>(end - begin);
    const double sum = sums[end] - sums[begin];
    error += n * centres[k] * centres[k] - 2.0 * centres[k] * sum;
    if (n > 0) centres[k] = sum / n;
    begin = end;
  }
  return error;
}

}  // namespace

Codebook lloyd_max(std::span<const float> x, int count, int rounds) {
  if (count < 1 || count > 65536) {
    throw core::InvalidArgument("a codebook has 1 to 65536 values, got " + std::to_string(count));
  }
  const std::vector<float> sorted = sorted_finite(x);
  std::vector<float> distinct = sorted;
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  if (distinct.size() <= static_cast<std::size_t>(count)) return {std::move(distinct)};

  std::vector<double> sums(sorted.size() + 1, 0.0);
  double energy = 0.0;
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    sums[i + 1] = sums[i] + sorted[i];
    energy += static_cast<double>(sorted[i]) * sorted[i];
  }
  std::vector<double> centres = companded_centres(sorted, count);
  double previous = std::numeric_limits<double>::infinity();
  for (int round = 0; round < rounds; ++round) {
    const double error = energy + lloyd_round(sorted, sums, centres);
    if (previous - error <= 1e-7 * error) break;
    previous = error;
  }
  Codebook book;
  for (const double centre : centres) {
    const auto value = static_cast<float>(centre);
    if (book.values.empty() || value > book.values.back()) book.values.push_back(value);
  }
  return book;
}

int best_bias(std::span<const float> x, int exponent, int mantissa) {
  core::require(!x.empty(), "x is empty; a bias cannot be chosen for no values");
  Minifloat format{
      .exponent = exponent, .mantissa = mantissa, .bias = (1 << std::max(0, std::min(exponent, 8))) - 1};
  format.bias = std::clamp(format.bias - 127, -127, 126);
  validate(format);
  float greatest = 0.0f;
  for (const float v : x) greatest = std::max(greatest, std::fabs(v));
  if (greatest == 0.0f) return 126;
  // Around the bias that places max|x| in the topmost binade; saturating a few weights can pay, so look
  // further up too.
  const int top = (1 << exponent) - 1;
  const int fits = top - std::ilogb(greatest);
  std::vector<std::int32_t> levels(x.size());
  std::vector<float> back(x.size());
  double least = std::numeric_limits<double>::infinity();
  int best = fits;
  for (int bias = fits - 1; bias <= fits + 8; ++bias) {
    if (bias > 126 || top - bias > 127) continue;
    format.bias = bias;
    quantize(format, x, levels);
    dequantize(format, levels, back);
    double error = 0.0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double d = static_cast<double>(x[i]) - back[i];
      error += d * d;
    }
    if (error < least) {
      least = error;
      best = bias;
    }
  }
  return best;
}

}  // namespace rdquant::quant
