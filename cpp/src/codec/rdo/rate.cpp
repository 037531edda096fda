#include "rdquant/codec/rate.hpp"

#include <algorithm>
#include <array>
#include <mutex>
#include <vector>

#include "rdquant/core/error.hpp"
#include "rdquant/core/parallel.hpp"

namespace rdquant::codec {
namespace {

constexpr std::size_t kCached = 4096;                 // values; their levels fit a first-level cache
constexpr std::size_t kGrain = std::size_t{1} << 17;  // values per thread, at least

double squared_distance(std::span<const float> a, const float* b) {
  std::array<double, 8> sums{};
  std::size_t i = 0;
  for (; i + 8 <= a.size(); i += 8) {
    for (std::size_t j = 0; j < 8; ++j) {
      const double d = static_cast<double>(a[i + j]) - b[i + j];
      sums[j] += d * d;
    }
  }
  double sum = 0.0;
  for (; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - b[i];
    sum += d * d;
  }
  for (const double s : sums) sum += s;
  return sum;
}

}  // namespace

double measure(std::span<const quant::Quantizer> quantizers, std::size_t inner, std::span<const float> x,
               entropy::Counter& counter, std::span<float> restored) {
  core::require(restored.empty() || restored.size() == x.size(), "restored must have as many elements as x");
  std::vector<std::int32_t> levels(std::min(kCached, x.size()));
  std::vector<float> values(restored.empty() ? levels.size() : 0);
  double error = 0.0;
  for (const quant::Run& run : quant::runs_of(x.size(), quantizers.size(), inner, kCached)) {
    const std::size_t n = run.end - run.begin;
    const auto block = x.subspan(run.begin, n);
    const std::span<std::int32_t> some(levels.data(), n);
    const std::span<float> back =
        restored.empty() ? std::span<float>(values.data(), n) : restored.subspan(run.begin, n);
    quant::quantize(quantizers[run.channel], block, some, run.begin);
    counter.add(some);
    quant::dequantize(quantizers[run.channel], some, back, run.begin);
    error += squared_distance(block, back.data());
  }
  return error;
}

void count(std::span<const quant::Quantizer> quantizers, std::size_t inner, std::span<const float> x,
           entropy::Counter& counter, int threads) {
  const std::vector<quant::Run> runs = quant::runs_of(x.size(), quantizers.size(), inner, kCached);
  const auto count_runs = [&](std::size_t begin, std::size_t end, entropy::Counter& into) {
    alignas(64) std::array<std::int32_t, kCached> levels;
    for (std::size_t r = begin; r < end; ++r) {
      const quant::Run& run = runs[r];
      const std::span<std::int32_t> some(levels.data(), run.end - run.begin);
      quant::quantize(quantizers[run.channel], x.subspan(run.begin, some.size()), some, run.begin);
      into.add(some);
    }
  };
  std::mutex mutex;
  const std::size_t grain = runs.empty() ? 1 : std::max<std::size_t>(1, kGrain * runs.size() / x.size());
  core::parallel_for(runs.size(), grain, threads, [&](std::size_t begin, std::size_t end) {
    entropy::Counter part(x.size());
    count_runs(begin, end, part);
    const std::lock_guard lock(mutex);
    counter.merge(part);
  });
}

}  // namespace rdquant::codec
