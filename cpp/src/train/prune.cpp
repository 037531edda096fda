#include "rdquant/train/prune.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "rdquant/core/cpu.hpp"
#include "rdquant/core/error.hpp"
#include "rdquant/core/parallel.hpp"
#include "simd/dispatch.hpp"
#include "train/kernels.hpp"

namespace rdquant::train {
namespace {

using core::InvalidArgument;

constexpr std::size_t kGrain = 32;  // blocks per thread, at least: about 40 µs of work

const Kernels& selected_kernels() { return simd::selected(RDQUANT_VARIANTS(kernels)); }

void sums(const float* w, std::size_t n, double shift, BlockSums& out) {
  selected_kernels().sums_f32(w, n, shift, out);
}
void sums(const double* w, std::size_t n, double shift, BlockSums& out) {
  selected_kernels().sums_f64(w, n, shift, out);
}
std::int64_t apply(const float* w, std::size_t n, const Rule<float>& rule, float* out, float* pruned) {
  return selected_kernels().apply_f32(w, n, rule, out, pruned);
}
std::int64_t apply(const double* w, std::size_t n, const Rule<double>& rule, double* out, double* pruned) {
  return selected_kernels().apply_f64(w, n, rule, out, pruned);
}

void check(double gamma, int bits) {
  if (!(gamma >= 0.0) || !std::isfinite(gamma)) {
    throw InvalidArgument("gamma: expected a finite number of at least 0, got " + std::to_string(gamma));
  }
  if (bits < 2 || bits > kFloatBits) {
    throw InvalidArgument("bits: expected 2 to 32 (32: prune only), got " + std::to_string(bits));
  }
}

template <typename T>
void check(const Layer<T>& layer) {
  const std::size_t n = layer.weights.size();
  if (layer.out.size() != n) {
    throw InvalidArgument(layer.name + "out: expected " + std::to_string(n) + " values, got " +
                          std::to_string(layer.out.size()));
  }
  if (!layer.pruned.empty() && layer.pruned.size() != n) {
    throw InvalidArgument(layer.name + "pruned: expected " + std::to_string(n) + " values, got " +
                          std::to_string(layer.pruned.size()));
  }
}

template <typename T>
[[noreturn]] void refuse(const Layer<T>& layer) {
  const std::span<const T> w = layer.weights;
  const auto bad = std::find_if(w.begin(), w.end(), [](T v) { return !std::isfinite(v); });
  if (bad == w.end()) {
    throw InvalidArgument(layer.name + "weights are too large: their variance overflows float64");
  }
  throw InvalidArgument(layer.name + "weight at index " + std::to_string(bad - w.begin()) + " is " +
                        (std::isnan(*bad) ? "NaN" : "infinite") + "; all weights must be finite");
}

/// At most kBlock values of one layer.
struct Block {
  std::size_t layer, begin, size;
};

template <typename T>
std::vector<Block> blocks_of(std::span<const Layer<T>> layers) {
  std::vector<Block> blocks;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const std::size_t n = layers[l].weights.size();
    for (std::size_t begin = 0; begin < n; begin += kBlock) {
      blocks.push_back({.layer = l, .begin = begin, .size = std::min(kBlock, n - begin)});
    }
  }
  return blocks;
}

struct Spread {
  double deviation;  ///< σ
  double most;       ///< greatest magnitude
};

template <typename T>
Spread spread(const Layer<T>& layer, std::span<const BlockSums> blocks) {
  const double n = static_cast<double>(layer.weights.size());
  double sum = 0.0, squares = 0.0, most = 0.0;
  for (const BlockSums& block : blocks) {
    if (!block.finite) refuse(layer);
    sum += block.sum;
    squares += block.squares;
    most = std::max(most, block.most);
  }
  const double variance = std::max(0.0, (squares - sum * sum / n) / n);
  if (!std::isfinite(squares) || !std::isfinite(variance)) refuse(layer);
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

// The rule of every layer, from one pass over all of them; nothing is written before all are known to be
// finite.
template <typename T>
std::vector<Rule<T>> rules_of(std::span<const Layer<T>> layers, std::span<const Block> blocks, double gamma,
                              int bits, int threads) {
  std::vector<BlockSums> sums_of(blocks.size());
  core::parallel_for(blocks.size(), kGrain, threads, [&](std::size_t first, std::size_t last) {
    for (std::size_t b = first; b < last; ++b) {
      const std::span<const T> w = layers[blocks[b].layer].weights;
      sums(w.data() + blocks[b].begin, blocks[b].size, static_cast<double>(w.front()), sums_of[b]);
    }
  });
  std::vector<Rule<T>> rules(layers.size());
  std::size_t first = 0;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const std::size_t count = (layers[l].weights.size() + kBlock - 1) / kBlock;
    if (count == 0) continue;
    rules[l] = rule_of<T>(spread(layers[l], std::span(sums_of).subspan(first, count)), gamma, bits);
    first += count;
  }
  return rules;
}

template <typename T>
std::vector<Pruned> run(std::span<const Layer<T>> layers, double gamma, int bits, int threads) {
  check(gamma, bits);
  for (const Layer<T>& layer : layers) check(layer);
  const std::vector<Block> blocks = blocks_of(layers);
  const std::vector<Rule<T>> rules = rules_of(layers, std::span(blocks), gamma, bits, threads);
  std::vector<std::int64_t> nonzero(blocks.size());
  core::parallel_for(blocks.size(), kGrain, threads, [&](std::size_t first, std::size_t last) {
    for (std::size_t b = first; b < last; ++b) {
      const auto& [l, begin, size] = blocks[b];
      const Layer<T>& layer = layers[l];
      T* pruned = layer.pruned.empty() ? nullptr : layer.pruned.data() + begin;
      nonzero[b] = apply(layer.weights.data() + begin, size, rules[l], layer.out.data() + begin, pruned);
    }
  });
  std::vector<Pruned> result(layers.size());
  for (std::size_t l = 0; l < layers.size(); ++l) {
    result[l].threshold = static_cast<double>(rules[l].threshold);
    result[l].step = static_cast<double>(rules[l].step);
  }
  for (std::size_t b = 0; b < blocks.size(); ++b) result[blocks[b].layer].nonzero += nonzero[b];
  return result;
}

}  // namespace

std::vector<Pruned> prune_quantize(std::span<const Layer<float>> layers, double gamma, int bits,
                                   int threads) {
  return run(layers, gamma, bits, threads);
}

std::vector<Pruned> prune_quantize(std::span<const Layer<double>> layers, double gamma, int bits,
                                   int threads) {
  return run(layers, gamma, bits, threads);
}

Pruned prune_quantize(std::span<const float> weights, double gamma, int bits, std::span<float> out,
                      int threads) {
  const Layer<float> layer = {.weights = weights, .out = out, .name = {}};
  return run(std::span(&layer, 1), gamma, bits, threads).front();
}

Pruned prune_quantize(std::span<const double> weights, double gamma, int bits, std::span<double> out,
                      int threads) {
  const Layer<double> layer = {.weights = weights, .out = out, .name = {}};
  return run(std::span(&layer, 1), gamma, bits, threads).front();
}

}  // namespace rdquant::train
