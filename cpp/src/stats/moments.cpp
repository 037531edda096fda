#include "rdquant/stats/moments.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "rdquant/core/error.hpp"
#include "rdquant/core/parallel.hpp"
#include "stats/kernels.hpp"

namespace rdquant::stats {
namespace {

// Blocks that one partial result covers. Fixed, so that the sum does not depend on the number of threads.
constexpr std::size_t kSlab = 64 * kBlock;

void sums(std::span<const float> x, BlockSums& out) { kernels().sums_f32(x.data(), x.size(), out); }
void sums(std::span<const double> x, BlockSums& out) { kernels().sums_f64(x.data(), x.size(), out); }

template <typename T>
[[noreturn]] void throw_not_finite(const std::string& name, std::span<const T> data, std::size_t from) {
  const auto bad = std::find_if(data.begin() + static_cast<std::ptrdiff_t>(from), data.end(),
                                [](T x) { return !std::isfinite(x); });
  const char* const what = std::isnan(*bad) ? "NaN" : "infinite";
  throw core::InvalidArgument(name + ": element " + std::to_string(bad - data.begin()) + " is " + what +
                              "; all values must be finite");
}

template <typename T>
Moments slab_moments(const std::string& name, std::span<const T> data, std::size_t begin, std::size_t end) {
  Moments result;
  for (std::size_t i = begin; i < end; i += kBlock) {
    const std::size_t n = std::min(kBlock, end - i);
    BlockSums block;
    sums(data.subspan(i, n), block);
    if (!block.finite) throw_not_finite(name, data, i);
    result.merge({.count = static_cast<std::int64_t>(n),
                  .zeros = block.zeros,
                  .mean = block.mean,
                  .m2 = block.m2,
                  .m3 = block.m3,
                  .m4 = block.m4,
                  .sum_abs = block.sum_abs,
                  .min = block.min,
                  .max = block.max});
  }
  return result;
}

template <typename T>
Moments array_moments(const std::string& name, std::span<const T> data, int threads) {
  const std::size_t slabs = (data.size() + kSlab - 1) / kSlab;
  std::vector<Moments> partial(slabs);
  core::parallel_for(slabs, 1, threads, [&](std::size_t first, std::size_t last) {
    for (std::size_t s = first; s < last; ++s) {
      partial[s] = slab_moments(name, data, s * kSlab, std::min(data.size(), (s + 1) * kSlab));
    }
  });
  Moments result;
  for (const Moments& part : partial) result.merge(part);
  return result;
}

}  // namespace

void Moments::merge(const Moments& other) noexcept {
  if (other.count == 0) return;
  if (count == 0) {
    *this = other;
    return;
  }
  const double a = static_cast<double>(count);
  const double b = static_cast<double>(other.count);
  const double n = a + b;
  const double delta = other.mean - mean;
  const double step = delta / n;
  m4 += other.m4 + delta * step * step * step * a * b * (a * a - a * b + b * b) +
        6.0 * step * step * (a * a * other.m2 + b * b * m2) + 4.0 * step * (a * other.m3 - b * m3);
  m3 += other.m3 + delta * step * step * a * b * (a - b) + 3.0 * step * (a * other.m2 - b * m2);
  m2 += other.m2 + delta * step * a * b;
  mean += step * b;
  sum_abs += other.sum_abs;
  min = std::min(min, other.min);
  max = std::max(max, other.max);
  count += other.count;
  zeros += other.zeros;
}

double Moments::average() const noexcept { return count > 0 ? mean : std::nan(""); }
double Moments::variance() const noexcept {
  return count > 0 ? std::max(0.0, m2) / static_cast<double>(count) : std::nan("");
}
double Moments::std() const noexcept { return std::sqrt(variance()); }
double Moments::skewness() const noexcept {
  const double v = variance();
  if (count == 0) return std::nan("");
  return min < max && v > 0.0 ? m3 / static_cast<double>(count) / (v * std::sqrt(v)) : 0.0;
}
double Moments::excess_kurtosis() const noexcept {
  const double v = variance();
  if (count == 0) return std::nan("");
  return min < max && v * v > 0.0 ? m4 / static_cast<double>(count) / (v * v) - 3.0 : 0.0;
}
double Moments::mean_abs() const noexcept {
  return count > 0 ? sum_abs / static_cast<double>(count) : std::nan("");
}

Moments moments(const Values& values, int threads) {
  Moments result;
  for (const NamedValues& part : values) {
    std::visit([&](auto data) { result.merge(array_moments(part.name, data, threads)); }, part.data);
  }
  return result;
}

}  // namespace rdquant::stats
