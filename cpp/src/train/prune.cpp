#include "rdquant/train/prune.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "kernels.hpp"
#include "rdquant/core/cpu.hpp"
#include "rdquant/core/error.hpp"
#include "rdquant/core/parallel.hpp"

namespace rdquant::train {
namespace {

using core::InvalidArgument;

constexpr std::size_t kGrain = 32;  // blocks that are worth a thread: about 40 µs of work

const Kernels& choose() {
#if defined(__x86_64__)
  if (core::selected_isa() == core::Isa::avx512) return avx512::kernels;
  if (core::selected_isa() == core::Isa::avx2) return avx2::kernels;
#endif
  return baseline::kernels;
}

const Kernels& selected_kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

void sums(const float* w, std::size_t n, double shift, BlockSums& out) {
  selected_kernels().sums_f32(w, n, shift, out);
}
void sums(const double* w, std::size_t n, double shift, BlockSums& out) {
  selected_kernels().sums_f64(w, n, shift, out);
}
std::int64_t apply(const float* w, std::size_t n, const Rule<float>& rule, float* out) {
  return selected_kernels().apply_f32(w, n, rule, out);
}
std::int64_t apply(const double* w, std::size_t n, const Rule<double>& rule, double* out) {
  return selected_kernels().apply_f64(w, n, rule, out);
}

void check(double gamma, int bits, std::size_t weights, std::size_t out) {
  if (!(gamma >= 0.0) || !std::isfinite(gamma)) {
    throw InvalidArgument("gamma: expected a finite number of at least 0, got " + std::to_string(gamma));
  }
  if (bits < 2 || bits > kFloatBits) {
    throw InvalidArgument("bits: expected 2 to 32 (32: prune only), got " + std::to_string(bits));
  }
  if (weights != out) {
    throw InvalidArgument("out: expected " + std::to_string(weights) + " values, got " + std::to_string(out));
  }
}

template <typename T>
[[noreturn]] void refuse(std::span<const T> weights) {
  const auto bad = std::find_if(weights.begin(), weights.end(), [](T w) { return !std::isfinite(w); });
  if (bad == weights.end()) {
    throw InvalidArgument("weights are too large: their variance overflows float64");
  }
  throw InvalidArgument("weight at index " + std::to_string(bad - weights.begin()) + " is " +
                        (std::isnan(*bad) ? "NaN" : "infinite") + "; all weights must be finite");
}

// Runs body(begin, end) over ranges of whole blocks of n values.
template <typename Body>
void over_blocks(std::size_t n, int threads, const Body& body) {
  const std::size_t blocks = (n + kBlock - 1) / kBlock;
  core::parallel_for(blocks, kGrain, threads, [&](std::size_t first, std::size_t last) {
    body(first * kBlock, std::min(n, last * kBlock));
  });
}

struct Spread {
  double deviation;  ///< σ
  double most;       ///< greatest magnitude
};

template <typename T>
Spread spread(std::span<const T> weights, int threads) {
  const double n = static_cast<double>(weights.size());
  const double shift = static_cast<double>(weights.front());
  std::vector<BlockSums> blocks((weights.size() + kBlock - 1) / kBlock);
  over_blocks(weights.size(), threads, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; i += kBlock) {
      sums(weights.data() + i, std::min(kBlock, end - i), shift, blocks[i / kBlock]);
    }
  });
  double sum = 0.0, squares = 0.0, most = 0.0;
  for (const BlockSums& block : blocks) {
    if (!block.finite) refuse(weights);
    sum += block.sum;
    squares += block.squares;
    most = std::max(most, block.most);
  }
  const double variance = std::max(0.0, (squares - sum * sum / n) / n);
  if (!std::isfinite(squares) || !std::isfinite(variance)) refuse(weights);
  return {.deviation = std::sqrt(variance), .most = most};
}

template <typename T>
Rule<T> rule_of(const Spread& found, double gamma, int bits) {
  Rule<T> rule = {.threshold = static_cast<T>(gamma * found.deviation), .step = T{0}};
  const double threshold = static_cast<double>(rule.threshold);
  if (bits == kFloatBits || !(found.most > threshold)) return rule;
  const double levels = std::ldexp(1.0, bits - 1) - 1.0;
  rule.step = static_cast<T>((found.most - threshold) / levels);
  return rule;
}

template <typename T>
Pruned run(std::span<const T> weights, double gamma, int bits, std::span<T> out, int threads) {
  check(gamma, bits, weights.size(), out.size());
  if (weights.empty()) return {};
  const Rule<T> rule = rule_of<T>(spread(weights, threads), gamma, bits);
  std::vector<std::int64_t> nonzero((weights.size() + kBlock - 1) / kBlock);
  over_blocks(weights.size(), threads, [&](std::size_t begin, std::size_t end) {
    nonzero[begin / kBlock] = apply(weights.data() + begin, end - begin, rule, out.data() + begin);
  });
  Pruned result = {.threshold = static_cast<double>(rule.threshold), .step = static_cast<double>(rule.step)};
  for (const std::int64_t count : nonzero) result.nonzero += count;
  return result;
}

}  // namespace

Pruned prune_quantize(std::span<const float> weights, double gamma, int bits, std::span<float> out,
                      int threads) {
  return run(weights, gamma, bits, out, threads);
}

Pruned prune_quantize(std::span<const double> weights, double gamma, int bits, std::span<double> out,
                      int threads) {
  return run(weights, gamma, bits, out, threads);
}

}  // namespace rdquant::train
