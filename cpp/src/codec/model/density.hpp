#pragma once

#include <array>
#include <cstdint>

/// Probabilities of levels from integers only: the same tables on every machine.
///
/// A level v with predicted mean µ and scale s has the probability that a generalised Gaussian density
/// exp(−c·|z|^β) of mean |z| = 1 gives to its interval, z = (edge − µ)/σ(s). Units: edges and means are in
/// 1/16 level, z in 1/1024, distribution functions in 1/2^32.
namespace rdquant::codec {

inline constexpr int kShapes = 10;              ///< values of β: ½ (long tails) … 1 (Laplace) … 2 (Gauss) … 4
inline constexpr int kScales = 96;              ///< σ(s) = 2^((s − 31)/8) levels, mean |v − µ|
inline constexpr int kCells = 2048;             ///< of the tables: −16 ≤ z < 16, 64 cells a unit
inline constexpr std::uint32_t kTotal = 65536;  ///< probabilities are multiples of 1/kTotal

/// 2^(exponent/65536)·2^31 for 0 ≤ exponent < 65536, from integers.
[[nodiscard]] std::uint64_t power_of_two(std::uint32_t exponent) noexcept;

/// cdf(shape)[i] = P(z < −16 + i/64)·2^32, 0 at i = 0; entry kCells is 2^32 − 1.
/// `one_sided`: of |z|, 0 up to i = kCells/2.
[[nodiscard]] const std::array<std::uint32_t, kCells + 1>& cdf(int shape, bool one_sided = false);

/// 2048/σ(s): z = (edge·multiplier) >> 5, arithmetic shift.
inline constexpr auto kMultipliers = [] {
  // 2048·2^(j/8)·256
  constexpr std::array<std::int64_t, 8> eighths = {524288, 571740, 623487, 679917,
                                                   741455, 808563, 881744, 961548};
  std::array<std::int32_t, kScales> out{};
  for (int s = 0; s < kScales; ++s) {
    const int up = kScales - 1 - s;  // 2048/σ = 2048·2^(up/8)/256
    const std::int64_t scaled = eighths[static_cast<std::size_t>(up % 8)] << (up / 8);
    out[static_cast<std::size_t>(s)] = static_cast<std::int32_t>((scaled + (1 << 15)) >> 16);
  }
  return out;
}();

/// A distribution function brought to `kTotal` minus one count a symbol, so that each of `symbols` symbols
/// has a probability above zero. Entry: value in the upper, rise to the next entry in the lower 16 bits.
using Cells = std::array<std::uint32_t, kCells>;
/// `one_sided`: only z ≥ 0 has mass, twice as much.
[[nodiscard]] Cells cells_for(int shape, std::uint32_t symbols, bool one_sided = false);

/// Cumulative count below the edge at `edge` (1/16 level, relative to µ, |edge| < 2^15), without the one
/// count a symbol. Interpolates between cells; never falls as `edge` rises.
[[nodiscard]] inline std::uint32_t cumulative(const Cells& cells, std::int32_t edge,
                                              std::int32_t multiplier) noexcept {
  std::int32_t z = (edge * multiplier) >> 5;
  z = z < -16384 ? -16384 : (z > 16383 ? 16383 : z);
  const auto at = static_cast<std::uint32_t>(z + 16384);
  const std::uint32_t cell = cells[at >> 4];
  return (cell >> 16) + (((cell & 0xffff) * (at & 15)) >> 4);
}

/// Where to look first for the symbol that holds a slot: quantiles of the density. A decoder may use them to
/// be quick; what it finds is checked with `cumulative`, so their values change no level.
class Guesses {
 public:
  static constexpr std::int32_t kBins = 4096;
  static constexpr std::int32_t kMargin = 20;  ///< bins on each side, for the counts that all symbols have
  /// z at the lower end of each bin in 1/16384, ·4096, and what it rises by up to the next bin, up to 4095.
  using Table = std::array<std::int32_t, kBins + 2 * kMargin>;

  Guesses() = default;
  Guesses(int shape, std::uint32_t symbols, bool one_sided = false);
  /// Slot s lies in bin place >> 16, place = s·factor + offset.
  std::int32_t factor = 0;
  std::int32_t offset = 0;
  const Table* quantiles = nullptr;
  /// Of each bin in 1/65536, without counts: what its middle times 1/multiplier is in 1/16 level.
  using Middles = std::array<float, kBins>;
  const Middles* middles = nullptr;

  /// Quantile of a slot in levels, `multiplier` = 2048/σ. The symbols below have one count each that the
  /// density has not, as many slots too far, 16 to a bin.
  [[nodiscard]] float at(std::uint32_t slot, std::int32_t multiplier) const noexcept {
    const std::int32_t place = static_cast<std::int32_t>(slot) * factor + offset;
    const std::int32_t entry = (*quantiles)[static_cast<std::size_t>(place >> 16)], rise = entry & 4095;
    const float scale = 0.125F / static_cast<float>(multiplier);
    const float near = static_cast<float>((entry >> 12) + ((rise * ((place >> 8) & 255)) >> 8)) * scale;
    return near - near * static_cast<float>(rise) * 0.0625F * scale;
  }
};

}  // namespace rdquant::codec
