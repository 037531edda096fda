// choose_levels over vectors of kWide chains. Included by one file per instruction set, which sets RDQUANT_KERNELS_ISA.
// The same arithmetic as choose_levels_plain (viterbi.cpp), which is the definition.
#include <cstring>

#include "codec/rdo/viterbi.hpp"
#include "simd/floats.inl"
#include "simd/gather.inl"

namespace rdquant::codec {
namespace {

using Ints = simd::Vector<std::int32_t, kWide>;
using Floats = simd::Vector<float, kWide>;

inline Ints splat(std::int32_t a) { return simd::splat_as<Ints>(a); }
inline Floats splat(float a) { return simd::splat_as<Floats>(a); }
inline Floats to_floats(Ints a) { return simd::convert<float>(a); }
/// Towards 0.
inline Ints to_ints(Floats a) { return simd::convert<std::int32_t>(a); }
template <typename V, typename T>
inline V load(const T* from) {
  return simd::load_as<V>(from);
}
/// Writes the low halves of all elements.
inline void store_shorts(std::int16_t* to, Ints a) { store_as(to, simd::convert<std::int16_t>(a)); }

inline Ints floor_of(Floats x) {
  const Ints cut = to_ints(x);
  return cut + (x < to_floats(cut));  // true is −1
}

constexpr std::int32_t kLane[kWide] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

inline Floats bits_of(Ints width) {
  const Ints image = simd::bits_as<Ints>(to_floats(max(width, splat(1))));
  const Floats exponent = to_floats((image >> 23) - 127);
  const Floats f = simd::bits_as<Floats>((image & 0x7fffff) | splat(0x3f800000)) - 1.0F;
  const Floats bow = 0.44174030F + f * (-0.26602988F + f * (0.14631435F - f * 0.04400469F));
  return 16.0F - exponent - f * (1.0F + (1.0F - f) * bow);
}

inline Ints start_of(const auto& task, Ints k, Ints mean, Ints multiplier, Ints dead) {
  const Ints first = ((mean + 8) >> 4) - task.window;
  const Ints symbol = min(max(k - first, splat(0)), splat(task.symbols));
  const Ints level = symbol + first;
  const Ints edge = 16 * level - 8 + select(0 < level, dead, -dead) - mean;
  const Ints z = min(max((edge * multiplier) >> 5, splat(-16384)), splat(16383)) + 16384;
  const Ints cell = simd::gather(task.cells, z >> 4);
  const Ints below = ((cell >> 16) & 0xffff) + (((cell & 0xffff) * (z & 15)) >> 4);
  const Ints inner = select(symbol < task.symbols, symbol + below, splat(static_cast<std::int32_t>(kTotal)));
  return select(0 < symbol, inner, Ints{});
}

inline Floats value_of(const TapTask& task, Ints v) {
  const Floats inward = select(0 < v, splat(task.inward), select(v < 0, splat(-task.inward), Floats{}));
  return to_floats(v) - inward;
}

inline Floats cost_of(const TapTask& task, Floats target, Floats weight, Ints v, Floats bits) {
  const Floats error = target - value_of(task, v);
  return weight * (error * error) + task.lambda * bits;
}

struct Candidates {
  Ints level;
  Floats cost;
};
inline Candidates cheaper(const Candidates& a, const Candidates& b) {
  const Ints second = b.cost < a.cost;
  return {select(second, b.level, a.level), select(second, b.cost, a.cost)};
}

/// What levels are to be chosen for.
struct Wanted {
  Floats target, weight;
  Ints mean, multiplier;
};
/// Of slices q, q + 1, …
inline Wanted wanted_at(const TapTask& task, std::size_t q) {
  return {load<Floats>(task.targets + q), load<Floats>(task.weights + q), load<Ints>(task.means + q),
          load<Ints>(task.multipliers + q)};
}

/// Four neighbours of the targets; returns the coded level of the lowest.
template <bool kHalved, bool kOdd>
inline Ints around(const TapTask& task, const Wanted& wanted, Candidates (&four)[4]) {
  constexpr std::int32_t odd = kOdd ? 1 : 0;
  const Ints dead = splat(kOdd ? 0 : task.dead);
  const auto& [target, weight, whole, multiplier] = wanted;
  const Ints mean = kHalved ? (whole >> 1) - 8 * odd : whole;
  const Ints first = floor_of(kHalved ? 0.5F * (target - static_cast<float>(odd)) : target) - 1;
  Ints start = start_of(task, first, mean, multiplier, dead);
  for (std::int32_t i = 0; i < 4; ++i) {
    const Ints k = first + i, end = start_of(task, k + 1, mean, multiplier, dead);
    const Ints v = kHalved ? 2 * k + odd : k;
    four[i] = {v, cost_of(task, target, weight, v, bits_of(end - start))};
    start = end;
  }
  return first;
}

/// The cheapest levels of a union's two subsets, those of even and of odd ⌊v/2⌋. They follow from four
/// candidates by the parity of the first one.
struct Two {
  Candidates even, odd;
};
template <bool kOdd>
inline Two of_union(const TapTask& task, const Wanted& wanted) {
  Candidates four[4];
  const Ints first = around<true, kOdd>(task, wanted, four);
  const Candidates a = cheaper(four[0], four[2]), b = cheaper(four[1], four[3]);
  const Ints swap = -(first & 1);
  return {{select(swap, b.level, a.level), select(swap, b.cost, a.cost)},
          {select(swap, a.level, b.level), select(swap, a.cost, b.cost)}};
}

/// What the cheapest level of each subset costs, for every slice, and that level.
template <bool kOdd>
inline void best_of_union(const TapTask& task, std::size_t q) {
  const auto put = [&](std::size_t subset, const Candidates& best) {
    store_shorts(task.taken + subset * stride_of(task) + q, best.level);
    store_as(task.costs + subset * stride_of(task) + q, best.cost);
  };
  const Two two = of_union<kOdd>(task, wanted_at(task, q));
  put(kOdd, two.even);
  put(2 + kOdd, two.odd);
}

/// Up to kWide chains beginning at slice `first`.
template <int kLogStates>
class Paths {
 public:
  static void follow(const TapTask& task, std::size_t first, std::size_t active) {
    const std::size_t steps = (task.slices - first + task.chains - 1) / task.chains;
    Floats cost[kStates];
    for (std::size_t s = 0; s < kStates; ++s) cost[s] = splat(s == 0 ? 0.0F : kFar);
    for (std::size_t i = 0; i < steps; ++i) {
      const std::size_t q = first + i * task.chains, left = task.slices - q;
      // Chains that have ended keep their costs.
      const Ints on = load<Ints>(kLane) < static_cast<std::int32_t>(left < kWide ? left : kWide);
      const Ints second = step(cost, task.costs + q, stride_of(task), on);
      store_as(task.second + q, second);  // the next chains, or steps, write over the rest
      if ((i + 1) % kLevelling == 0) level(cost, on);
    }
    for (std::size_t l = 0; l < active; ++l) back(task, cost, first + l, l);
  }

 private:
  static constexpr std::size_t kStates = std::size_t{1} << kLogStates;
  static constexpr auto kArrivals = make_arrivals<kLogStates>();

  /// One level more; of every state, whether its second arrival is the cheaper.
  static Ints step(Floats (&cost)[kStates], const float* costs, std::size_t stride, Ints on) {
    Floats subset[4], next[kStates];
    for (std::size_t j = 0; j < 4; ++j) subset[j] = load<Floats>(costs + j * stride);
    Ints second = {};
#pragma GCC unroll 32
    for (std::size_t t = 0; t < kStates; ++t) {
      const Arrival& a = kArrivals[t];
      const Floats one = cost[a.from[0]] + subset[a.subset[0]];
      const Floats two = cost[a.from[1]] + subset[a.subset[1]];
      next[t] = select(two < one, two, one);
      second = second | ((two < one) & static_cast<std::int32_t>(1U << t));
    }
    for (std::size_t t = 0; t < kStates; ++t) cost[t] = select(on, next[t], cost[t]);
    return second;
  }

  static void level(Floats (&cost)[kStates], Ints on) {
    Floats low = cost[0];
    for (std::size_t s = 1; s < kStates; ++s) low = select(cost[s] < low, cost[s], low);
    low = select(on, low, Floats{});
    for (std::size_t s = 0; s < kStates; ++s) cost[s] = cost[s] - low;
  }

  /// The chain beginning at slice `first`, in lane l.
  static void back(const TapTask& task, const Floats (&cost)[kStates], std::size_t first, std::size_t l) {
    std::size_t state = 0;
    for (std::size_t s = 1; s < kStates; ++s) {
      if (element(cost[s], static_cast<int>(l)) < element(cost[state], static_cast<int>(l))) state = s;
    }
    const std::size_t steps = (task.slices - first + task.chains - 1) / task.chains;
    for (std::size_t i = steps; i-- > 0;) {
      const std::size_t q = first + i * task.chains;
      const std::size_t which = (task.second[q] >> state) & 1;
      task.levels[q] = task.taken[kArrivals[state].subset[which] * stride_of(task) + q];
      state = kArrivals[state].from[which];
    }
  }
};

/// One chain down which errors are fed: each state has targets of its own, those of the path that leads to
/// it. States of even number are in the first vector of a pair, odd ones in the second.
template <int kLogStates>
class FedPath {
 public:
  static void follow(const TapTask& task) {
    Pair<Floats> cost{{select(load<Ints>(kLane) < 1, Floats{}, splat(kFar)), splat(kFar)}};
    for (std::size_t first = 0; first < task.slices; first += kLevelling) {
      const std::size_t last = first + kLevelling < task.slices ? first + kLevelling : task.slices;
      const auto lane = load<Ints>(kLane);
      Block block{first, {{lane, lane + static_cast<std::int32_t>(kWide)}}, {}};
      for (std::size_t q = first; q < last; ++q) step(task, q, block, cost);
      for (std::size_t q = last; q < task.slices; ++q) store(task, q, targets_of(task, q, block, last));
      if (last - first == kLevelling) level(cost);
    }
    back(task, cost);
  }

 private:
  static constexpr std::size_t kStates = std::size_t{1} << kLogStates;
  static constexpr auto kArrivals = make_arrivals<kLogStates>();

  template <typename Vector>
  struct Pair {
    Vector at[2];
  };

  /// What the paths to all states have in common with those at row `first`, and what they missed since.
  struct Block {
    std::size_t first;
    Pair<Ints> origin;  ///< places at row `first`
    float missed[kLevelling][kPlaces];
  };

  /// Of the two arrivals at each place: where from, and whether by odd ⌊v/2⌋.
  struct Places {
    std::int32_t from[2][kPlaces] = {};
    std::int32_t odd[2][kPlaces] = {};
  };
  static constexpr Places kPlacesOf = [] {
    Places p;
    for (std::size_t which = 0; which < 2; ++which) {
      for (std::size_t place = 0; place < kPlaces; ++place) {
        p.from[which][place] = static_cast<std::int32_t>(place);
      }
      for (std::size_t t = 0; t < kStates; ++t) {
        const Arrival& arrival = kArrivals[t];
        p.from[which][place_of(t)] = static_cast<std::int32_t>(place_of(arrival.from[which]));
        p.odd[which][place_of(t)] = arrival.subset[which] >= 2 ? -1 : 0;
      }
    }
    return p;
  }();

  static Ints from_of(std::size_t which, std::size_t p) {
    return load<Ints>(kPlacesOf.from[which] + p * kWide);
  }

  template <typename Vector>
  static Pair<Vector> permuted(const Pair<Vector>& a, const Pair<Ints>& from) {
    return {{lookup(a.at[0], a.at[1], from.at[0]), lookup(a.at[0], a.at[1], from.at[1])}};
  }

  static Pair<Floats> load_pair(const float* from) {
    return {{load<Floats>(from), load<Floats>(from + kWide)}};
  }
  static void store_pair(float* to, const Pair<Floats>& pair) {
    store_as(to, pair.at[0]);
    store_as(to + kWide, pair.at[1]);
  }
  static void store(const TapTask& task, std::size_t q, const Pair<Floats>& targets) {
    store_pair(task.own + q * kPlaces, targets);
  }

  /// Targets of row q in every state, with what rows of the block before `end` feed into them.
  static Pair<Floats> targets_of(const TapTask& task, std::size_t q, const Block& block, std::size_t end) {
    Pair<Floats> own = permuted(load_pair(task.own + q * kPlaces), block.origin);
    for (std::size_t i = block.first; i < end; ++i) {
      const float share = task.above[i * task.above_stride + q];
      const Pair<Floats> missed = load_pair(block.missed[i - block.first]);
      for (std::size_t p = 0; p < 2; ++p) own.at[p] += share * missed.at[p];
    }
    return own;
  }

  static Two levels_of(const TapTask& task, std::size_t q, Floats target, std::size_t odd) {
    const Floats most = splat(kMostTarget);
    target = select(target < -most, -most, select(most < target, most, target));
    const Wanted wanted = {target, splat(task.weights[q]), splat(task.means[q]), splat(task.multipliers[q])};
    return odd != 0 ? of_union<true>(task, wanted) : of_union<false>(task, wanted);
  }

  static void step(const TapTask& task, std::size_t q, Block& block, Pair<Floats>& cost) {
    const Pair<Floats> own = targets_of(task, q, block, q);
    Pair<Ints> even_level, odd_level;
    Pair<Floats> even_cost, odd_cost;
    for (std::size_t p = 0; p < 2; ++p) {
      const Two two = levels_of(task, q, own.at[p], p);
      even_level.at[p] = two.even.level;
      odd_level.at[p] = two.odd.level;
      even_cost.at[p] = cost.at[p] + two.even.cost;
      odd_cost.at[p] = cost.at[p] + two.odd.cost;
    }
    Pair<Ints> from, level;
    for (std::size_t p = 0; p < 2; ++p) {
      const auto arrive = [&](std::size_t which) -> Candidates {
        const Ints at = from_of(which, p), odd = load<Ints>(kPlacesOf.odd[which] + p * kWide);
        return {select(odd, lookup(odd_level.at[0], odd_level.at[1], at),
                       lookup(even_level.at[0], even_level.at[1], at)),
                select(odd, lookup(odd_cost.at[0], odd_cost.at[1], at),
                       lookup(even_cost.at[0], even_cost.at[1], at))};
      };
      const Candidates one = arrive(0), two = arrive(1), best = cheaper(one, two);
      cost.at[p] = best.cost;
      level.at[p] = best.level;
      from.at[p] = select(two.cost < one.cost, from_of(1, p), from_of(0, p));
    }
    for (std::size_t i = block.first; i < q; ++i) {
      float* const missed = block.missed[i - block.first];
      store_pair(missed, permuted(load_pair(missed), from));
    }
    block.origin = permuted(block.origin, from);
    for (std::size_t p = 0; p < 2; ++p) {
      const Floats missed = task.targets[q] - value_of(task, level.at[p]);
      store_as(block.missed[q - block.first] + p * kWide, missed);
      store_shorts(task.path + (2 * q * kPlaces) + p * kWide, level.at[p]);
      store_shorts(task.path + ((2 * q + 1) * kPlaces) + p * kWide, from.at[p]);
    }
  }

  static void level(Pair<Floats>& cost) {
    float low = kFar;
    for (std::size_t s = 0; s < kStates; ++s) low = of(cost, s) < low ? of(cost, s) : low;
    for (Floats& c : cost.at) c = c - low;
  }
  static float of(const Pair<Floats>& cost, std::size_t state) {
    return element(cost.at[state % 2], static_cast<int>(state / 2));
  }

  static void back(const TapTask& task, const Pair<Floats>& cost) {
    std::size_t state = 0;
    for (std::size_t s = 1; s < kStates; ++s) {
      if (of(cost, s) < of(cost, state)) state = s;
    }
    std::size_t place = place_of(state);
    for (std::size_t q = task.slices; q-- > 0;) {
      task.levels[q] = task.path[2 * q * kPlaces + place];
      place = static_cast<std::size_t>(task.path[(2 * q + 1) * kPlaces + place]);
    }
  }
};

template <int kLogStates>
void follow_all(const TapTask& task) {
  if (task.above != nullptr) return FedPath<kLogStates>::follow(task);
  for (std::size_t q = 0; q < task.slices; q += kWide) {
    best_of_union<false>(task, q);
    best_of_union<true>(task, q);
  }
  const std::size_t chains = task.chains < task.slices ? task.chains : task.slices;
  for (std::size_t m = 0; m < chains; m += kWide) {
    Paths<kLogStates>::follow(task, m, chains - m < kWide ? chains - m : kWide);
  }
}

void one_by_one(const TapTask& task) {
  for (std::size_t q = 0; q < task.slices; q += kWide) {
    Candidates four[4];
    (void)around<false, false>(task, wanted_at(task, q), four);
    const Ints level = cheaper(cheaper(four[0], four[1]), cheaper(four[2], four[3])).level;
    const std::size_t left = task.slices - q;
    if (left >= kWide) {
      store_as(task.levels + q, level);
    } else {
      std::memcpy(task.levels + q, &level, sizeof(std::int32_t) * left);
    }
  }
}

inline double bits_of_all(const BitsTask& task) {
  Floats sums = {};
  for (std::size_t i = 0; i < task.size; i += kWide) {
    const std::size_t left = task.size - i;
    const Ints on = load<Ints>(kLane) < static_cast<std::int32_t>(left < kWide ? left : kWide);
    const auto mean = load<Ints>(task.means + i), multiplier = load<Ints>(task.multipliers + i);
    const auto dead = load<Ints>(task.dead + i);
    const Ints first = ((mean + 8) >> 4) - task.window;
    const Ints k = min(max(load<Ints>(task.levels + i), first), first + task.symbols - 1);
    const Ints start = start_of(task, k, mean, multiplier, dead);
    const Ints end = start_of(task, k + 1, mean, multiplier, dead);
    sums = sums + select(on, bits_of(end - start), Floats{});
  }
  double sum = 0.0;
  for (std::size_t l = 0; l < kWide; ++l) sum += element(sums, static_cast<int>(l));
  return sum;
}

inline void choose_any(const TapTask& task) {
  if (task.log_states == 0) return one_by_one(task);
  if (task.log_states == 3) return follow_all<3>(task);
  follow_all<5>(task);
}

}  // namespace

namespace RDQUANT_KERNELS_ISA {
const ViterbiKernels viterbi_kernels = {.choose_levels = choose_any, .coded_bits = bits_of_all};
}
}  // namespace rdquant::codec
