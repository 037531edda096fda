#include "codec/rdo/viterbi.hpp"

#include <algorithm>
#include <bit>
#include <numeric>
#include <vector>

#include "simd/dispatch.hpp"

namespace rdquant::codec {
namespace {

/// 16 − log2(width), the bits of a symbol of `width` counts of kTotal, within 3e-5.
float bits_of(std::int32_t width) noexcept {
  const auto image = std::bit_cast<std::int32_t>(static_cast<float>(width < 1 ? 1 : width));
  const auto exponent = static_cast<float>((image >> 23) - 127);
  const float f = std::bit_cast<float>((image & 0x7fffff) | 0x3f800000) - 1.0F;
  const float bow = 0.44174030F + f * (-0.26602988F + f * (0.14631435F - f * 0.04400469F));
  return 16.0F - exponent - f * (1.0F + (1.0F - f) * bow);
}

/// Start of the interval of coded level k, as `symbol_start` has it, without a branch.
std::int32_t start_of(const auto& r, std::int32_t k, std::int32_t mean, std::int32_t multiplier,
                      std::int32_t dead) noexcept {
  const std::int32_t first = ((mean + 8) >> 4) - r.window;
  const std::int32_t symbol = std::min(std::max(k - first, 0), r.symbols);
  const std::int32_t level = symbol + first;
  const std::int32_t edge = 16 * level - 8 + (level >= 1 ? dead : -dead) - mean;
  const std::int32_t z = std::min(std::max((edge * multiplier) >> 5, -16384), 16383) + 16384;
  const std::uint32_t cell = r.cells[z >> 4];
  const auto below = static_cast<std::int32_t>(
      (cell >> 16) + (((cell & 0xffff) * (static_cast<std::uint32_t>(z) & 15)) >> 4));
  const std::int32_t inner = symbol + below;
  return symbol <= 0 ? 0 : (symbol >= r.symbols ? static_cast<std::int32_t>(kTotal) : inner);
}

std::int32_t floor_of(float x) noexcept {
  const auto cut = static_cast<std::int32_t>(x);
  return cut - (x < static_cast<float>(cut) ? 1 : 0);
}

/// What level v stands for.
float value_of(const TapTask& r, std::int32_t v) noexcept {
  const float inward = v > 0 ? r.inward : (v < 0 ? -r.inward : 0.0F);
  return static_cast<float>(v) - inward;
}

/// What level v costs where `bits` are its rate.
float cost_of(const TapTask& r, float target, float weight, std::int32_t v, float bits) noexcept {
  const float error = target - value_of(r, v);
  return weight * (error * error) + r.lambda * bits;
}

/// A level and its cost.
struct Candidate {
  std::int32_t level;
  float cost;
};
Candidate cheaper(Candidate a, Candidate b) noexcept { return b.cost < a.cost ? b : a; }

/// Four neighbours around the target, and what they cost: levels 2k + odd of a trellis, or all levels.
struct Four {
  std::int32_t first;  ///< coded level of the lowest
  Candidate at[4];
};
template <bool kHalved>
Four around(const TapTask& r, float target, float weight, std::int32_t mean, std::int32_t multiplier,
            bool odd) noexcept {
  const std::int32_t dead = odd ? 0 : r.dead;
  if constexpr (kHalved) mean = (mean >> 1) - (odd ? 8 : 0);
  Four f{};
  f.first = (kHalved ? floor_of(0.5F * (target - (odd ? 1.0F : 0.0F))) : floor_of(target)) - 1;
  std::int32_t start = start_of(r, f.first, mean, multiplier, dead);
  for (std::int32_t i = 0; i < 4; ++i) {
    const std::int32_t k = f.first + i;
    const std::int32_t end = start_of(r, k + 1, mean, multiplier, dead);
    const std::int32_t v = kHalved ? 2 * k + (odd ? 1 : 0) : k;
    f.at[i] = {v, cost_of(r, target, weight, v, bits_of(end - start))};
    start = end;
  }
  return f;
}

/// The best level of a union's two subsets: those of even and of odd ⌊v/2⌋.
struct Two {
  Candidate even, odd;
};
Two of_union(const TapTask& r, float target, float weight, std::int32_t mean, std::int32_t multiplier,
             bool odd) noexcept {
  const Four f = around<true>(r, target, weight, mean, multiplier, odd);
  const Candidate a = cheaper(f.at[0], f.at[2]), b = cheaper(f.at[1], f.at[3]);
  return (f.first & 1) != 0 ? Two{b, a} : Two{a, b};
}

struct Step {
  Candidate subset[4];
  std::uint32_t second = 0;  // of every state, whether the second arrival is the cheaper
};

/// One chain: slices first, first + chains, …
template <int kLogStates>
void follow_chain(const TapTask& task, std::size_t first, std::vector<Step>& steps) {
  constexpr std::size_t states = std::size_t{1} << kLogStates;
  constexpr auto arrivals = make_arrivals<kLogStates>();
  std::array<float, states> cost, next;
  cost.fill(kFar);
  cost[0] = 0.0F;
  steps.clear();
  for (std::size_t q = first; q < task.slices; q += task.chains) {
    Step& step = steps.emplace_back();
    for (int odd = 0; odd < 2; ++odd) {
      const Two two =
          of_union(task, task.targets[q], task.weights[q], task.means[q], task.multipliers[q], odd != 0);
      step.subset[odd] = two.even;
      step.subset[2 + odd] = two.odd;
    }
    for (std::size_t t = 0; t < states; ++t) {
      const float a = cost[arrivals[t].from[0]] + step.subset[arrivals[t].subset[0]].cost;
      const float b = cost[arrivals[t].from[1]] + step.subset[arrivals[t].subset[1]].cost;
      next[t] = b < a ? b : a;
      step.second |= static_cast<std::uint32_t>(b < a) << t;
    }
    cost = next;
    if (steps.size() % kLevelling == 0) {
      const float least = *std::min_element(cost.begin(), cost.end());
      for (float& c : cost) c -= least;
    }
  }
  auto state = static_cast<std::size_t>(std::min_element(cost.begin(), cost.end()) - cost.begin());
  for (std::size_t i = steps.size(); i-- > 0;) {
    const std::size_t which = (steps[i].second >> state) & 1;
    task.levels[first + i * task.chains] = steps[i].subset[arrivals[state].subset[which]].level;
    state = arrivals[state].from[which];
  }
}

/// One chain down which errors are fed: each state has targets of its own, those of the path that leads to
/// it.
template <int kLogStates>
void follow_fed(const TapTask& task) {
  constexpr std::size_t states = std::size_t{1} << kLogStates;
  constexpr auto arrivals = make_arrivals<kLogStates>();
  struct State {
    float cost = kFar;
    std::vector<float> targets;
    std::vector<std::int32_t> levels;
  };
  std::vector<State> all(states);
  for (std::size_t s = 0; s < states; ++s) {
    for (std::size_t q = 0; q < task.slices; ++q) {
      all[s].targets.push_back(task.own[q * kPlaces + place_of(s)]);
    }
  }
  all[0].cost = 0.0F;
  for (std::size_t q = 0; q < task.slices; ++q) {
    std::vector<Two> two;
    for (std::size_t s = 0; s < states; ++s) {
      const float target = std::min(std::max(all[s].targets[q], -kMostTarget), kMostTarget);
      two.push_back(
          of_union(task, target, task.weights[q], task.means[q], task.multipliers[q], (s & 1) != 0));
    }
    std::vector<State> next(states);
    for (std::size_t t = 0; t < states; ++t) {
      const auto arrive = [&](std::size_t which) {
        const std::size_t from = arrivals[t].from[which];
        const Candidate c = arrivals[t].subset[which] >= 2 ? two[from].odd : two[from].even;
        return Candidate{c.level, all[from].cost + c.cost};
      };
      const Candidate one = arrive(0), other = arrive(1), best = cheaper(one, other);
      next[t] = all[arrivals[t].from[other.cost < one.cost ? 1 : 0]];
      next[t].cost = best.cost;
      next[t].levels.push_back(best.level);
      const float missed = task.targets[q] - value_of(task, best.level);
      for (std::size_t r = q + 1; r < task.slices; ++r) {
        next[t].targets[r] += task.above[q * task.above_stride + r] * missed;
      }
    }
    all = std::move(next);
    if ((q + 1) % kLevelling == 0) {
      float least = kFar;
      for (const State& s : all) least = std::min(least, s.cost);
      for (State& s : all) s.cost -= least;
    }
  }
  const auto cheapest = std::min_element(all.begin(), all.end(),
                                         [](const State& a, const State& b) { return a.cost < b.cost; });
  std::copy(cheapest->levels.begin(), cheapest->levels.end(), task.levels);
}

template <int kLogStates>
void follow(const TapTask& task) {
  if (task.above != nullptr) return follow_fed<kLogStates>(task);
  std::vector<Step> steps;
  for (std::size_t m = 0; m < std::min(task.chains, task.slices); ++m) {
    follow_chain<kLogStates>(task, m, steps);
  }
}

}  // namespace

void choose_levels_plain(const TapTask& task) {
  switch (task.log_states) {
    case 0: {
      for (std::size_t q = 0; q < task.slices; ++q) {
        const Four f =
            around<false>(task, task.targets[q], task.weights[q], task.means[q], task.multipliers[q], false);
        task.levels[q] = cheaper(cheaper(f.at[0], f.at[1]), cheaper(f.at[2], f.at[3])).level;
      }
      return;
    }
    case 3:
      return follow<3>(task);
    default:
      return follow<5>(task);
  }
}

double coded_bits_plain(const BitsTask& task) {
  std::array<float, kWide> sums{};
  for (std::size_t i = 0; i < task.size; ++i) {
    const std::int32_t mean = task.means[i], first = ((mean + 8) >> 4) - task.window;
    const std::int32_t k = std::min(std::max(task.levels[i], first), first + task.symbols - 1);
    const std::int32_t start = start_of(task, k, mean, task.multipliers[i], task.dead[i]);
    const std::int32_t end = start_of(task, k + 1, mean, task.multipliers[i], task.dead[i]);
    sums[i % kWide] += bits_of(end - start);
  }
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

double coded_bits(const BitsTask& task) {
  return simd::selected(RDQUANT_VARIANTS(viterbi_kernels)).coded_bits(task);
}

void choose_levels(const TapTask& task) {
  simd::selected(RDQUANT_VARIANTS(viterbi_kernels)).choose_levels(task);
}

}  // namespace rdquant::codec
