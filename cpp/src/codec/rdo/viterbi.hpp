#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "codec/rdo/trellis_code.hpp"

/// What levels cost under a model, and choice of levels by distortion + λ·rate, the rates being those of a
/// model: level by level, or by the algorithm of Viterbi (1967) where the levels are a path of a trellis.
/// Only the encoder runs this; all kernels give the same levels, to the bit.
namespace rdquant::codec {

inline constexpr std::size_t kWide = 16;    ///< chains that a kernel handles together
inline constexpr std::size_t kPlaces = 32;  ///< for states: state s is at s/2 + 16·(s mod 2)

/// The levels of one tap of some slices of a part, slice 0 being the first of its part. Of `targets`,
/// `weights`, `means` and `multipliers` kWide elements more than slices can be read.
struct TapTask {
  int log_states = 0;      ///< 0: no trellis
  std::size_t chains = 1;  ///< of the trellis
  std::size_t slices = 0;
  // the model: computed probabilities, no shift, no centre
  const std::uint32_t* cells = nullptr;
  std::int32_t symbols = 0;
  std::int32_t window = 0;
  std::int32_t dead = 0;
  const std::int32_t* means = nullptr;        ///< predictions, 1/16 level
  const std::int32_t* multipliers = nullptr;  ///< of the scales
  // the distortion
  const float* targets = nullptr;  ///< in levels, within ±(kReach − 8)
  const float* weights = nullptr;  ///< of the squared errors
  float inward = 0.0F;             ///< level v stands for v − sign(v)·inward
  float lambda = 0.0F;             ///< squared error, in levels², that a bit is worth
  std::int32_t* levels = nullptr;  ///< out
  // errors fed down one chain: what row i misses of targets[i], times above[i·above_stride + q], is added to
  // the target of each later row q; null: none
  const float* above = nullptr;
  std::size_t above_stride = 0;
  // memory: slices + kWide elements each, and of every subset
  std::uint32_t* second = nullptr;
  float* costs = nullptr;
  std::int16_t* taken = nullptr;
  // memory where errors are fed down: kPlaces elements a slice, and twice as many
  float* own = nullptr;  ///< targets of each state; at first of them all: targets, and what was fed before
  std::int16_t* path = nullptr;  ///< levels taken, and where from
};

/// Where a state is reached from: two states, and the subset ⌊v/2⌋ mod 2·2 + v mod 2 taken from each.
struct Arrival {
  std::uint8_t from[2];
  std::uint8_t subset[2];
};
template <int kLogStates>
[[nodiscard]] constexpr std::array<Arrival, std::size_t{1} << kLogStates> make_arrivals() noexcept {
  constexpr std::uint32_t states = 1U << kLogStates;
  std::array<Arrival, states> arrivals{};
  std::array<int, states> found{};
  for (std::uint32_t s = 0; s < states; ++s) {
    for (std::int32_t b = 0; b < 2; ++b) {
      const auto v = 2 * b + static_cast<std::int32_t>(s & 1);
      const std::uint32_t t = trellis_code(kLogStates).next(s, v);
      arrivals[t].from[found[t]] = static_cast<std::uint8_t>(s);
      arrivals[t].subset[found[t]++] = static_cast<std::uint8_t>(v);
    }
  }
  return arrivals;
}

inline constexpr float kFar = 1e30F;           ///< cost of a state that cannot be reached
inline constexpr std::size_t kLevelling = 16;  ///< steps after which the least cost is subtracted from all

inline constexpr float kMostTarget = static_cast<float>(kReach - 8);
[[nodiscard]] constexpr std::size_t place_of(std::size_t state) noexcept {
  return state / 2 + kPlaces / 2 * (state % 2);
}

/// Elements from one subset's costs to the next one's.
[[nodiscard]] inline std::size_t stride_of(const TapTask& task) noexcept { return task.slices + kWide; }

/// Coded levels whose rates are computed. kWide elements more than `size` can be read of each array.
struct BitsTask {
  std::size_t size = 0;
  const std::uint32_t* cells = nullptr;
  std::int32_t symbols = 0;
  std::int32_t window = 0;
  const std::int32_t* levels = nullptr;       ///< coded: halved ones of a trellis
  const std::int32_t* means = nullptr;        ///< 1/16 level, likewise
  const std::int32_t* dead = nullptr;         ///< dead zone of each
  const std::int32_t* multipliers = nullptr;  ///< of the scales
};

/// Bits of the levels; those beyond the window as the symbol at its edge.
[[nodiscard]] double coded_bits_plain(const BitsTask& task);
void choose_levels_plain(const TapTask& task);

struct ViterbiKernels {
  void (*choose_levels)(const TapTask&);
  double (*coded_bits)(const BitsTask&);
};
namespace baseline {
extern const ViterbiKernels viterbi_kernels;
}
namespace avx2 {
extern const ViterbiKernels viterbi_kernels;
}
namespace avx512 {
extern const ViterbiKernels viterbi_kernels;
}

/// By the kernels of the selected instruction set.
[[nodiscard]] double coded_bits(const BitsTask& task);
void choose_levels(const TapTask& task);

}  // namespace rdquant::codec
