#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "codec/format/bytes.hpp"
#include "codec/model/density.hpp"

/// The parametric model of one tensor of levels: what is sent ahead of the coded levels, and what both
/// profiles compute their probabilities from. The format is described in rdquant/codec/levels.hpp.
namespace rdquant::codec {

/// A tensor seen as rows × columns × taps: output channel, input channel, position in the kernel.
struct Grid {
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::size_t taps = 1;
  [[nodiscard]] std::size_t slices() const noexcept { return rows * cols; }
  [[nodiscard]] std::size_t size() const noexcept { return rows * cols * taps; }
};

inline constexpr std::size_t kMaxTaps = 64;   ///< larger kernels are seen as rows × columns
inline constexpr std::size_t kMaxPast = 24;   ///< taps that a prediction looks back
inline constexpr std::int32_t kReach = 8191;  ///< largest |coarse level|
inline constexpr std::int32_t kMaxWindow = 255;
inline constexpr std::size_t kMaxSymbols = 4096;  ///< of a table that is sent
inline constexpr std::size_t kMaxStreams = 32;

inline constexpr std::size_t kPartSize = std::size_t{1} << 18;  ///< levels of a part, about

/// How a tensor of a shape is seen; see rdquant/codec/levels.hpp.
[[nodiscard]] Grid grid_of(std::span<const std::uint64_t> shape);
/// Rows of a part, which is coded alone.
[[nodiscard]] std::size_t rows_a_part(const Grid& grid);
/// Streams that a tensor of so many levels is coded with.
[[nodiscard]] std::size_t streams_for(std::size_t size);

/// Linear prediction of one tap: µ·64 = bias·4 + up·(same tap, row before) + Σ past[j]·(tap t − 1 − j).
struct Predictor {
  std::int32_t bias = 0;  ///< 1/16 level
  std::int32_t up = 0;    ///< 1/64
  std::vector<std::int32_t> past;
};

struct Model {
  Grid grid;
  std::int32_t centre = 0;  ///< subtracted from every level
  int shift = 0;            ///< low bits of the difference that are sent as they are
  bool table = false;       ///< probabilities are sent, not computed
  bool closed = false;      ///< no residual is beyond the window: the outermost symbols mean ±window
  bool one_sided = false;   ///< the density has no mass below its mean
  int log_states = 0;       ///< of the trellis that the levels are a path of; 0: none
  std::size_t chains = 0;   ///< of the trellis
  // computed probabilities
  std::int32_t window = 0;               ///< residuals |r| < window have a symbol of their own
  int shape = 0;                         ///< of the density
  std::int32_t dead = 0;                 ///< 1/16 level that the interval of level 0 is wider on each side
  std::vector<Predictor> predictors;     ///< one a tap, or none
  std::vector<std::int32_t> row_scales;  ///< one a row, absolute
  std::vector<std::int32_t> col_scales;  ///< one a column, added
  std::vector<std::int32_t> tap_scales;  ///< one a tap, added
  int row_step = 1;                      ///< row scales differ by multiples of this, 1..4
  int col_step = 1;                      ///< column scales are multiples of this, 1..4
  // sent probabilities: cumulative counts of symbols 0 …, the last kTotal
  std::vector<std::uint32_t> cumulated;

  /// Number of symbols: residuals −window … window, or those of the table.
  [[nodiscard]] std::uint32_t symbols() const noexcept {
    return table ? static_cast<std::uint32_t>(cumulated.size() - 1)
                 : static_cast<std::uint32_t>(2 * window + 1);
  }
  [[nodiscard]] bool trellis() const noexcept { return log_states != 0; }
  [[nodiscard]] bool uses_up() const noexcept {
    for (const Predictor& p : predictors) {
      if (p.up != 0) return true;
    }
    return false;
  }
};

/// Mean in 1/16 level, at most kReach in magnitude, from the sum in 1/64.
[[nodiscard]] inline std::int32_t mean_of(std::int32_t sum) noexcept {
  const std::int32_t mean = (sum + 2) >> 2;
  return mean < -16 * kReach ? -16 * kReach : (mean > 16 * kReach ? 16 * kReach : mean);
}
[[nodiscard]] inline std::int32_t rounded(std::int32_t mean) noexcept { return (mean + 8) >> 4; }
[[nodiscard]] inline std::int32_t clamp_scale(std::int32_t s) noexcept {
  return s < 0 ? 0 : (s >= kScales ? kScales - 1 : s);
}
/// Lower edge of level v, in 1/16 level.
[[nodiscard]] inline std::int32_t lower_edge(std::int32_t v, std::int32_t dead) noexcept {
  return 16 * v - 8 + (v >= 1 ? dead : -dead);
}

/// The prediction of tap t of the slice at `slice` (its taps are contiguous), given those before it.
/// `above` is the same slice in the row before, nullptr if there is none.
[[nodiscard]] inline std::int32_t predict(const Predictor& p, const std::int32_t* slice, std::size_t t,
                                          const std::int32_t* above) noexcept {
  std::int32_t sum = 4 * p.bias;
  if (above != nullptr) sum += p.up * above[t];
  for (std::size_t j = 0; j < p.past.size(); ++j) sum += p.past[j] * slice[t - 1 - j];
  return mean_of(sum);
}

/// Of some values, at least one; the upper of two. Row scales are sent as differences from theirs.
[[nodiscard]] std::int32_t median(std::vector<std::int32_t> values);

/// Writes and reads a model but for its grid.
void write_model(Writer& out, const Model& model);
/// @throws CorruptFile  a field outside its range; `grid` has been checked.
[[nodiscard]] Model read_model(Reader& in, const Grid& grid);

}  // namespace rdquant::codec
