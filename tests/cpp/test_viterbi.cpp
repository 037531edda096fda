#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "codec/rdo/viterbi.hpp"
#include "variants.hpp"

namespace codec = rdquant::codec;

namespace {

/// A task of random targets, means and scales.
struct Random {
  Random(int log_states, std::size_t chains, std::size_t slices, float lambda, unsigned seed)
      : cells(codec::cells_for(3, 2 * kWindow + 1)) {
    std::mt19937 rng(seed);
    std::exponential_distribution<float> size(0.3F);
    const std::size_t padded = slices + codec::kWide;
    for (std::size_t q = 0; q < padded; ++q) {
      targets.push_back((rng() % 2 != 0 ? 1.0F : -1.0F) * size(rng) * (q % 97 == 0 ? 40.0F : 1.0F));
      weights.push_back(q % 5 == 0 ? 2.5F : 1.0F);
      means.push_back(static_cast<std::int32_t>(rng() % 65) - 32);
      multipliers.push_back(codec::kMultipliers[20 + rng() % 30]);
    }
    task.log_states = log_states;
    task.chains = chains;
    task.slices = slices;
    task.cells = cells.data();
    task.symbols = 2 * kWindow + 1;
    task.window = kWindow;
    task.dead = 6;
    task.means = means.data();
    task.multipliers = multipliers.data();
    task.targets = targets.data();
    task.weights = weights.data();
    task.inward = 0.08F;
    task.lambda = lambda;
    second.resize(padded);
    costs.resize(4 * padded);
    taken.resize(4 * padded);
    task.costs = costs.data();
    task.second = second.data();
    task.taken = taken.data();
  }
  /// Errors are fed down from now on, by shares of this deviation; `beyond` columns of the factor are not the
  /// task's. What must not be read is NaN, or behind the end.
  void feed(float deviation, std::size_t beyond, unsigned seed) {
    std::mt19937 rng(seed);
    std::normal_distribution<float> normal(0.0F, deviation);
    const std::size_t n = task.slices, stride = n + beyond;
    above.assign((n - 1) * stride + n, std::numeric_limits<float>::quiet_NaN());
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t q = i + 1; q < n; ++q) above[i * stride + q] = deviation > 0.0F ? normal(rng) : 0.0F;
    }
    own.resize(codec::kPlaces * n);
    path.resize(2 * codec::kPlaces * n);
    task.above = above.data();
    task.above_stride = stride;
    task.own = own.data();
    task.path = path.data();
  }
  [[nodiscard]] std::vector<std::int32_t> run(void (*choose)(const codec::TapTask&)) {
    std::vector<std::int32_t> levels(task.slices, 12345);
    task.levels = levels.data();
    for (std::size_t i = 0; i < own.size(); ++i) own[i] = targets[i / codec::kPlaces] + before;
    choose(task);
    return levels;
  }

  static constexpr std::int32_t kWindow = 25;
  codec::Cells cells;
  std::vector<float> targets, weights, costs, above, own;
  float before = 0.0F;  ///< what was fed before into every target
  std::vector<std::int32_t> means, multipliers;
  std::vector<std::uint32_t> second;
  std::vector<std::int16_t> taken, path;
  codec::TapTask task;
};

bool is_path(const codec::TapTask& task, const std::vector<std::int32_t>& levels) {
  std::vector<std::uint32_t> states(task.chains, 0);
  for (std::size_t q = 0; q < levels.size(); ++q) {
    std::uint32_t& state = states[q % task.chains];
    if ((state & 1) != static_cast<std::uint32_t>(levels[q] & 1)) return false;
    state = codec::trellis_code(task.log_states).next(state, levels[q]);
  }
  return true;
}

/// The least error of any path from `state` over targets q … of one chain, by trying them all.
double least_error(const Random& r, std::size_t q, std::uint32_t state) {
  if (q == r.task.slices) return 0.0;
  double least = std::numeric_limits<double>::infinity();
  const auto middle = static_cast<std::int32_t>(std::floor(r.targets[q]));
  for (std::int32_t v = middle - 4; v <= middle + 4; ++v) {
    if ((state & 1) != static_cast<std::uint32_t>(v & 1)) continue;
    const double e = r.targets[q] - v;
    const double rest = least_error(r, q + 1, codec::trellis_code(r.task.log_states).next(state, v));
    least = std::min(least, r.weights[q] * e * e + rest);
  }
  return least;
}

/// The target of row q behind rows of these levels.
double fed_target(const Random& r, const std::vector<std::int32_t>& levels, std::size_t q) {
  double target = r.targets[q];
  for (std::size_t i = 0; i < q; ++i) {
    target += r.above[i * r.task.above_stride + q] * (static_cast<double>(r.targets[i]) - levels[i]);
  }
  return target;
}

/// Error of levels, each counted from its target behind those before it.
double fed_error(const Random& r, const std::vector<std::int32_t>& levels) {
  double error = 0.0;
  for (std::size_t q = 0; q < levels.size(); ++q) {
    error += r.weights[q] * std::pow(fed_target(r, levels, q) - levels[q], 2);
  }
  return error;
}

/// Lowers `least` to the least fed error of any path that goes on from `state` behind `levels`, of error
/// `sofar`: all levels are tried, from the target outwards, that have not more error alone.
void lower_to_fed(const Random& r, std::vector<std::int32_t>& levels, std::uint32_t state, double sofar,
                  double& least) {
  const std::size_t q = levels.size();
  if (q == r.task.slices) {
    least = std::min(least, sofar);
    return;
  }
  const double target = fed_target(r, levels, q);
  const auto parity = static_cast<std::int32_t>(state & 1);
  const std::int32_t below = 2 * static_cast<std::int32_t>(std::floor((target - parity) / 2)) + parity;
  for (const std::int32_t direction : {-2, 2}) {
    for (std::int32_t v = direction < 0 ? below : below + 2;; v += direction) {
      const double error = sofar + r.weights[q] * std::pow(target - v, 2);
      if (error >= least) break;
      levels.push_back(v);
      lower_to_fed(r, levels, codec::trellis_code(r.task.log_states).next(state, v), error, least);
      levels.pop_back();
    }
  }
}

/// The kernels of every instruction set of this processor.
std::vector<const codec::ViterbiKernels*> all_kernels() {
  using namespace codec;
  return rdquant::runnable(RDQUANT_VARIANTS(viterbi_kernels));
}

/// That every instruction set chooses these levels.
void check_all_choose(Random& r, const std::vector<std::int32_t>& levels) {
  for (const codec::ViterbiKernels* kernels : all_kernels()) CHECK(r.run(kernels->choose_levels) == levels);
}

}  // namespace

TEST_CASE("every instruction set chooses the levels of the plain definition") {
  for (const int log_states : {0, 3, 5}) {
    for (const std::size_t chains : {1UL, 5UL, 16UL, 37UL}) {
      for (const std::size_t slices : {1UL, 15UL, 64UL, 1003UL}) {
        for (const float lambda : {0.0F, 0.4F}) {
          Random r(log_states, chains, slices, lambda, static_cast<unsigned>(slices + chains));
          const auto plain = r.run(codec::choose_levels_plain);
          if (log_states != 0) CHECK(is_path(r.task, plain));
          check_all_choose(r, plain);
        }
      }
    }
  }
}

TEST_CASE("every instruction set feeds errors down as the plain definition does") {
  for (const int log_states : {3, 5}) {
    for (const std::size_t slices : {1UL, 15UL, 16UL, 17UL, 64UL, 300UL}) {
      for (const std::size_t beyond : {0UL, 1UL, 29UL}) {
        for (const float lambda : {0.0F, 0.4F}) {
          const auto seed = static_cast<unsigned>(slices + beyond);
          Random r(log_states, 1, slices, lambda, seed);
          r.feed(0.15F, beyond, seed + 1);
          r.before = 0.7F;
          const auto plain = r.run(codec::choose_levels_plain);
          CHECK(is_path(r.task, plain));
          check_all_choose(r, plain);
          r.task.above = nullptr;
          if (slices > 1) CHECK(r.run(codec::choose_levels_plain) != plain);
        }
      }
    }
  }
}

TEST_CASE("targets that errors fed down drive far away are chosen for as far as levels go") {
  for (const int log_states : {3, 5}) {
    Random r(log_states, 1, 100, 0.1F, 3);
    for (std::size_t q = 0; q < 100; ++q)
      r.targets[q] = q % 2 == 0 ? codec::kMostTarget : -codec::kMostTarget;
    r.feed(300.0F, 3, 4);
    const auto plain = r.run(codec::choose_levels_plain);
    CHECK(is_path(r.task, plain));
    CHECK(std::ranges::all_of(plain, [](std::int32_t v) { return std::abs(v) <= codec::kReach; }));
    check_all_choose(r, plain);
  }
}

TEST_CASE("feeding nothing down chooses what is chosen without") {
  for (const int log_states : {3, 5}) {
    for (const std::size_t slices : {1UL, 16UL, 300UL}) {
      Random r(log_states, 1, slices, 0.4F, static_cast<unsigned>(slices));
      const auto unfed = r.run(codec::choose_levels_plain);
      r.feed(0.0F, 5, 1);
      CHECK(r.run(codec::choose_levels_plain) == unfed);
      check_all_choose(r, unfed);
    }
  }
}

TEST_CASE("every instruction set counts the same bits") {
  Random r(0, 1, 1003, 0.0F, 7);
  std::vector<std::int32_t> levels, dead(r.means.size(), 4);
  for (const float y : r.targets) levels.push_back(static_cast<std::int32_t>(std::lrint(y)));
  codec::BitsTask task;
  task.size = r.task.slices;
  task.cells = r.task.cells;
  task.symbols = r.task.symbols;
  task.window = r.task.window;
  task.levels = levels.data();
  task.means = r.task.means;
  task.dead = dead.data();
  task.multipliers = r.task.multipliers;
  const double bits = codec::coded_bits_plain(task);
  CHECK(bits > 1000.0);
  for (const codec::ViterbiKernels* kernels : all_kernels()) CHECK(kernels->coded_bits(task) == bits);
}

TEST_CASE("no path has less error than the one chosen") {
  for (const int log_states : {3, 5}) {
    for (unsigned seed = 0; seed < 20; ++seed) {
      Random r(log_states, 1, 6, 0.0F, seed);
      r.task.inward = 0.0F;
      const auto levels = r.run(codec::choose_levels_plain);
      double error = 0.0;
      for (std::size_t q = 0; q < levels.size(); ++q) {
        error += r.weights[q] * std::pow(static_cast<double>(r.targets[q]) - levels[q], 2);
      }
      CHECK(error == doctest::Approx(least_error(r, 0, 0)).epsilon(1e-5));
    }
  }
}

TEST_CASE("paths that errors are fed down have little more error than the best of all") {
  // Each state keeps one path, the best so far: what it feeds may make it a worse one later.
  constexpr unsigned kSeeds = 100;
  for (const int log_states : {3, 5}) {
    double chosen = 0.0, best = 0.0, unfed = 0.0;
    for (unsigned seed = 0; seed < kSeeds; ++seed) {
      Random r(log_states, 1, 13, 0.0F, seed);
      r.task.inward = 0.0F;
      const auto alone = r.run(codec::choose_levels_plain);
      r.feed(0.4F, 0, seed + 1000);
      const auto levels = r.run(codec::choose_levels_plain);
      const double error = fed_error(r, levels);
      double least = fed_error(r, alone) * (1.0 + 1e-9);
      unfed += least;
      std::vector<std::int32_t> path;
      lower_to_fed(r, path, 0, 0.0, least);
      CHECK(error >= least * (1.0 - 1e-4));
      chosen += error;
      best += least;
    }
    CHECK(chosen < 1.05 * best);
    CHECK(chosen < 0.6 * unfed);
  }
}

TEST_CASE("the codes have Ungerboeck's free distances") {
  // Between two paths that part and meet again; squared, in levels²: 10 for 8 states, 13 for 32 (table I).
  for (const auto& [log_states, distance] : {std::pair{3, 10}, std::pair{5, 13}}) {
    const auto code = codec::trellis_code(log_states);
    const std::uint32_t states = 1U << log_states;
    // A linear code: distances from the path of zeros. Subsets 1 and 3 are 1 from subset 0, subset 2 is 2.
    std::vector<int> far(states, 1000), next;
    far[code.next(0, 2)] = 4;
    int best = 1000;
    for (int step = 0; step < 64; ++step) {
      next.assign(states, 1000);
      for (std::uint32_t s = 1; s < states; ++s) {
        for (int b = 0; b < 2; ++b) {
          const int subset = 2 * b + static_cast<int>(s & 1);
          const int cost = subset == 0 ? 0 : (subset == 2 ? 4 : 1);
          int& to = next[code.next(s, subset)];
          to = std::min(to, far[s] + cost);
        }
      }
      best = std::min(best, next[0]);
      next[0] = 1000;
      far = next;
    }
    CHECK(best == distance);
  }
}
