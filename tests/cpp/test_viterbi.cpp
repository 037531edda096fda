#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "codec/viterbi.hpp"
#include "rdquant/core/cpu.hpp"

namespace codec = rdquant::codec;

namespace {

/// A task of random targets, means and scales.
struct Random {
  Random(int log_states, std::size_t chains, std::size_t kernels, float lambda, unsigned seed)
      : cells(codec::cells_for(3, 2 * kWindow + 1)) {
    std::mt19937 rng(seed);
    std::exponential_distribution<float> size(0.3F);
    const std::size_t padded = kernels + codec::kWide;
    for (std::size_t q = 0; q < padded; ++q) {
      targets.push_back((rng() % 2 != 0 ? 1.0F : -1.0F) * size(rng) * (q % 97 == 0 ? 40.0F : 1.0F));
      weights.push_back(q % 5 == 0 ? 2.5F : 1.0F);
      means.push_back(static_cast<std::int32_t>(rng() % 65) - 32);
      multipliers.push_back(codec::kMultipliers[20 + rng() % 30]);
    }
    task.log_states = log_states;
    task.chains = chains;
    task.kernels = kernels;
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
  [[nodiscard]] std::vector<std::int32_t> run(void (*choose)(const codec::TapTask&)) {
    std::vector<std::int32_t> levels(task.kernels, 12345);
    task.levels = levels.data();
    choose(task);
    return levels;
  }

  static constexpr std::int32_t kWindow = 25;
  codec::Cells cells;
  std::vector<float> targets, weights, costs;
  std::vector<std::int32_t> means, multipliers;
  std::vector<std::uint32_t> second;
  std::vector<std::int16_t> taken;
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
  if (q == r.task.kernels) return 0.0;
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

}  // namespace

TEST_CASE("every instruction set chooses the levels of the plain definition") {
  for (const int log_states : {0, 3, 5}) {
    for (const std::size_t chains : {1UL, 5UL, 16UL, 37UL}) {
      for (const std::size_t kernels : {1UL, 15UL, 64UL, 1003UL}) {
        for (const float lambda : {0.0F, 0.4F}) {
          Random r(log_states, chains, kernels, lambda, static_cast<unsigned>(kernels + chains));
          const auto plain = r.run(codec::choose_levels_plain);
          if (log_states != 0) CHECK(is_path(r.task, plain));
          CHECK(r.run(codec::choose_levels_baseline) == plain);
#if defined(__x86_64__)
          using rdquant::core::Isa;
          if (rdquant::core::available_isa() >= Isa::avx2) CHECK(r.run(codec::choose_levels_avx2) == plain);
          if (rdquant::core::available_isa() >= Isa::avx512) {
            CHECK(r.run(codec::choose_levels_avx512) == plain);
          }
#endif
        }
      }
    }
  }
}

TEST_CASE("every instruction set counts the same bits") {
  Random r(0, 1, 1003, 0.0F, 7);
  std::vector<std::int32_t> levels, dead(r.means.size(), 4);
  for (const float y : r.targets) levels.push_back(static_cast<std::int32_t>(std::lrint(y)));
  codec::BitsTask task;
  task.size = r.task.kernels;
  task.cells = r.task.cells;
  task.symbols = r.task.symbols;
  task.window = r.task.window;
  task.levels = levels.data();
  task.means = r.task.means;
  task.dead = dead.data();
  task.multipliers = r.task.multipliers;
  const double bits = codec::coded_bits_plain(task);
  CHECK(bits > 1000.0);
  CHECK(codec::coded_bits_baseline(task) == bits);
#if defined(__x86_64__)
  using rdquant::core::Isa;
  if (rdquant::core::available_isa() >= Isa::avx2) CHECK(codec::coded_bits_avx2(task) == bits);
  if (rdquant::core::available_isa() >= Isa::avx512) CHECK(codec::coded_bits_avx512(task) == bits);
#endif
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
