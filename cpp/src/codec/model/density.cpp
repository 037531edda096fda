#include "codec/model/density.hpp"

#include <algorithm>
#include <memory>
#include <mutex>

namespace rdquant::codec {
namespace {

/// β in 1/256 and log2(c) in 1/65536, c = (Γ(2/β)/Γ(1/β))^β·log2(e), which makes the mean of |z| one.
struct Shape {
  std::int32_t beta;
  std::int32_t log2_c;
};
constexpr std::array<Shape, kShapes> kShape = {{{128, 119357},
                                                {166, 88980},
                                                {205, 63619},
                                                {256, 34653},
                                                {307, 9300},
                                                {371, -19056},
                                                {448, -49817},
                                                {512, -73579},
                                                {666, -126142},
                                                {1024, -236004}}};

/// 2^(2^−i)·2^31, i = 1 … 16.
constexpr std::array<std::uint64_t, 16> kRoots = {
    3037000500, 2553802834, 2341847524, 2242560872, 2194507417, 2170868212, 2159144272, 2153306067,
    2150392887, 2148937775, 2148210589, 2147847087, 2147665360, 2147574502, 2147529075, 2147506361};

/// log2(x/128)·65536 for x ≥ 1, bit by bit: squaring the mantissa doubles its logarithm.
std::int32_t log2_of_128ths(std::uint32_t x) {
  std::int32_t whole = -7;
  std::uint64_t mantissa = static_cast<std::uint64_t>(x) << 31;
  for (; mantissa >= (std::uint64_t{1} << 32); mantissa >>= 1) ++whole;
  std::int32_t result = whole * 65536;
  for (std::int32_t bit = 32768; bit > 0; bit >>= 1) {
    mantissa = (mantissa * mantissa) >> 31;
    if (mantissa >= (std::uint64_t{1} << 32)) {
      mantissa >>= 1;
      result += bit;
    }
  }
  return result;
}

/// exp(−c·z^β)·2^31 at the middle of cell i of z ≥ 0.
std::uint64_t density(const Shape& shape, std::uint32_t i) {
  const std::int32_t power =
      shape.log2_c +
      static_cast<std::int32_t>((static_cast<std::int64_t>(shape.beta) * log2_of_128ths(2 * i + 1)) >>
                                8);  // log2(c·z^β)
  if (power >= 5 * 65536) return 0;  // below 2^−32
  if (power < -16 * 65536) return std::uint64_t{1} << 31;
  const std::int32_t whole = power >> 16;
  const std::uint64_t mantissa = power_of_two(static_cast<std::uint32_t>(power & 65535));      // 2^31 … 2^32
  const std::uint64_t exponent = (whole >= 0 ? mantissa << whole : mantissa >> -whole) >> 15;  // c·z^β·2^16
  const std::uint64_t down = exponent >> 16;
  const auto fraction = static_cast<std::uint32_t>(exponent & 65535);
  if (fraction == 0) return (std::uint64_t{1} << 31) >> down;
  return (power_of_two(65536 - fraction) >> 1) >> down;
}

using Table = std::array<std::uint32_t, kCells + 1>;

Table make_table(int shape) {
  Table table{};
  constexpr std::size_t half = kCells / 2;
  std::array<std::uint64_t, half> mass{};
  std::uint64_t total = 0;
  for (std::uint32_t i = 0; i < half; ++i) {
    mass[i] = density(kShape[static_cast<std::size_t>(shape)], i);
    total += 2 * mass[i];
  }
  std::uint64_t below = 0;
  // total < 2^42: (below << 22)/(total >> 10) keeps to 64 bits.
  for (std::size_t i = 0; i <= kCells; ++i) {
    const std::uint64_t scaled = (below << 22) / ((total >> 10) + 1);
    table[i] = static_cast<std::uint32_t>(scaled > 0xffffffffU ? 0xffffffffU : scaled);
    if (i < half) below += mass[half - 1 - i];
    if (i >= half && i < kCells) below += mass[i - half];
  }
  table[kCells] = 0xffffffffU;
  return table;
}

/// Of |z|, which is never negative.
Table make_folded(int shape) {
  const Table& both = cdf(shape);
  Table table{};
  constexpr std::size_t half = kCells / 2;
  for (std::size_t i = half; i < kCells; ++i) {
    const std::uint64_t twice = 2 * static_cast<std::uint64_t>(both[i] - both[half]);
    table[i] = static_cast<std::uint32_t>(std::min<std::uint64_t>(twice, 0xffffffffU));
  }
  table[kCells] = 0xffffffffU;
  return table;
}

Guesses::Table make_guesses(const Table& table) {
  std::array<std::int32_t, Guesses::kBins + 1> z{};  // at the bins' ends
  std::size_t cell = 0;
  for (std::int32_t bin = 0; bin <= Guesses::kBins; ++bin) {
    const auto target = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(static_cast<std::uint64_t>(bin) << 20, 0xffffffffU));
    while (cell + 1 < kCells && table[cell + 1] <= target) ++cell;
    const std::uint32_t rise = table[cell + 1] - table[cell];
    const std::uint64_t part = static_cast<std::uint64_t>(target - table[cell]) * 256;
    z[static_cast<std::size_t>(bin)] = 256 * static_cast<std::int32_t>(cell) - 16 * 16384 +
                                       (rise == 0 ? 0 : static_cast<std::int32_t>(part / rise));
  }
  Guesses::Table guesses{};
  for (std::size_t i = 0; i < guesses.size(); ++i) {
    const std::size_t bin =
        std::clamp<std::size_t>(i, Guesses::kMargin, guesses.size() - 1 - Guesses::kMargin) -
        Guesses::kMargin;
    // In the outermost bins z runs far: where they are nearest to the bulk is the better guess.
    const std::int32_t rise = std::min(z[bin + 1] - z[bin], 4095);
    const std::int32_t low = bin == 0 ? z[1] - rise : z[bin];
    guesses[i] = low * 4096 + rise;
  }
  return guesses;
}

/// z/16384·σ levels, σ = 2048/multiplier, is 2·z/multiplier sixteenths.
Guesses::Middles make_middles(const Guesses::Table& quantiles) {
  Guesses::Middles middles{};
  for (std::size_t bin = 0; bin < middles.size(); ++bin) {
    const std::int32_t entry = quantiles[bin + Guesses::kMargin];
    middles[bin] = static_cast<float>(2 * (entry >> 12) + (entry & 4095));
  }
  return middles;
}

/// One table per shape, and one per folded shape, computed on first use.
template <typename T, bool kFolded, typename Make>
const T& once(int shape, Make&& make) {
  static std::array<std::once_flag, kShapes> flags;
  static std::array<std::unique_ptr<const T>, kShapes> tables;
  const auto at = static_cast<std::size_t>(shape);
  std::call_once(flags[at], [&] { tables[at] = std::make_unique<const T>(make(shape)); });
  return *tables[at];
}

}  // namespace

std::uint64_t power_of_two(std::uint32_t exponent) noexcept {
  std::uint64_t product = std::uint64_t{1} << 31;
  for (std::uint32_t i = 0; i < 16; ++i) {
    if ((exponent >> (15 - i)) & 1) product = (product * kRoots[i]) >> 31;
  }
  return product;
}

const std::array<std::uint32_t, kCells + 1>& cdf(int shape, bool one_sided) {
  return one_sided ? once<Table, true>(shape, make_folded) : once<Table, false>(shape, make_table);
}

Guesses::Guesses(int shape, std::uint32_t symbols, bool one_sided) {
  const auto make = [&](int s) { return make_guesses(cdf(s, one_sided)); };
  quantiles =
      one_sided ? &once<Guesses::Table, true>(shape, make) : &once<Guesses::Table, false>(shape, make);
  const auto middle = [&](int) { return make_middles(*quantiles); };
  middles = one_sided ? &once<Middles, true>(shape, middle) : &once<Middles, false>(shape, middle);
  // All symbols together have `symbols` counts more than the density gives them; about half of those lie
  // below the middle.
  factor = static_cast<std::int32_t>((std::uint64_t{kBins} << 16) / (kTotal - symbols));
  offset = ((kBins / 2 + kMargin) << 16) - 32768 * factor;
}

Cells cells_for(int shape, std::uint32_t symbols, bool one_sided) {
  const auto& table = cdf(shape, one_sided);
  const std::uint32_t mass = kTotal - symbols;  // below 2^16: table·mass >> 32 in 32 bits, four at a time
  const auto at = [&](std::size_t i) {
    return ((table[i] >> 16) * mass + (((table[i] & 0xffff) * mass) >> 16)) >> 16;
  };
  std::array<std::uint32_t, kCells + 1> values;  // in a loop of their own: four at a time
  for (std::size_t i = 0; i <= kCells; ++i) values[i] = at(i);
  Cells cells;
  for (std::size_t i = 0; i < kCells; ++i) cells[i] = (values[i] << 16) | (values[i + 1] - values[i]);
  return cells;
}

}  // namespace rdquant::codec
