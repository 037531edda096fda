#include "rdquant/codec/rate.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "rdquant/core/error.hpp"

namespace rdquant::codec {
namespace {

constexpr std::size_t kBlock =
    16384;  // values; levels and restored values of one block fit a second-level cache

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
  std::vector<std::int32_t> levels(std::min(kBlock, x.size()));
  std::vector<float> values(restored.empty() ? levels.size() : 0);
  double error = 0.0;
  for (const quant::Run& run : quant::runs_of(x.size(), quantizers.size(), inner, kBlock)) {
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

}  // namespace rdquant::codec
