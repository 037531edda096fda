// What a density gives symbols, for vectors of streams.
#include "codec/rans/streams.hpp"
#include "rdquant/core/cpu.hpp"
#include "simd/floats.inl"
#include "simd/gather.inl"

namespace rdquant::codec {
namespace {

using simd::F32;
using simd::I32;
using simd::Mask;
using simd::splat;
constexpr std::size_t kWidth = simd::kLanes;

/// Of a vector of slices: z = (edge·multiplier) >> 5, and about 1/multiplier.
struct Scale {
  I32 multiplier;
  F32 inverse;
};

/// Probabilities of a vector of streams.
struct Place {
  I32 edge0;  ///< lower edge of symbol 0 relative to the mean
  I32 zero;   ///< the last symbol whose level is below 1
  Scale scale;
  I32 row;  ///< of Intervals, where there are such
};

/// Whether all levels have the same mean.
inline bool has_one_mean(const Model& model) {
  const auto& p = model.predictors;
  return p.empty() || (model.grid.taps == 1 && p[0].up == 0);
}
/// That mean.
inline std::int32_t one_mean(const Model& model) {
  return model.predictors.empty() ? 0 : mean_of(4 * model.predictors[0].bias);
}

/// Elements that Intervals has of a scale and mean: one a symbol; of three symbols it has one for all.
inline std::int32_t row_width(const Model& model) {
  return model.symbols() == 3 ? 1 : static_cast<std::int32_t>(model.symbols());
}

/// Numbers in all lanes, kept in memory: making them anew in the loop takes longer than reading them.
struct Constants {
  Constants(const Tables& tables, std::int32_t count)
      : last_symbol(splat(count - 1)),
        inner_symbols(splat(count - 2)),
        twice_dead(splat(2 * tables.model.dead)),
        factor(splat(tables.guesses.factor)),
        offset(splat(tables.guesses.offset / 2)),
        window(splat(tables.model.window)),
        edge(splat(8 + tables.model.dead)),
        row(splat(row_width(tables.model))),
        mean(splat(one_mean(tables.model))),
        windows(splat(static_cast<float>(tables.model.window))),
        dead(splat(static_cast<float>(tables.model.dead) * 0.125F)) {}
  I32 last_symbol, inner_symbols, twice_dead, factor, offset, window, edge, row, mean;
  F32 windows, dead;
  I32 zero = splat(0), one = splat(1), fifteen = splat(15), byte = splat(255);
  I32 eight = splat(8), sixteen = splat(16), rise_mask = splat(4095), half = splat(0xffff);
  I32 least_z = splat(-16384), most_z = splat(16383), middle_z = splat(16384);
  I32 least_mean = splat(-16 * kReach), most_mean = splat(16 * kReach);
  I32 total = splat(static_cast<std::int32_t>(kTotal));
  F32 unit = splat(1.0F), eighth = splat(0.125F), sixteenth = splat(0.0625F);
};

alignas(64) inline constexpr std::int32_t kCount[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/// Where symbols start by computed probabilities.
struct Density {
  explicit Density(const StreamTask& task)
      : model(*task.model),
        tables(*task.tables),
        symbol_count(static_cast<std::int32_t>(model.symbols())),
        has_dead(model.dead != 0),
        c(tables, symbol_count),
        gather(core::gathers_in_vectors(), task.streams) {
    // The compiler must not know these numbers, or it makes them anew in the loop.
    asm volatile("" : "+m"(c));
  }

  /// Where symbols start whose lower edges, but for the dead zone, are given; right for symbols 1 …
  [[nodiscard, gnu::always_inline]] I32 start_at(const Place& p, I32 symbol, I32 edge) const {
    if (has_dead) edge = add_where(less(p.zero, symbol), edge, c.twice_dead);
    I32 z = add_pairs(edge, p.scale.multiplier) >> 5;
    z = min(max(z, c.least_z), c.most_z);
    const I32 at = z + c.middle_z;
    const I32 cell = gather(tables.cells.data(), shift_right(at, 4));
    // The value in the upper half of a cell meets the zeros there; the rise is below 2^15.
    const I32 part = add_pairs(cell, at & c.fifteen);
    return symbol + shift_right(cell, 16) + shift_right(part, 4);
  }

  const Model& model;
  const Tables& tables;
  std::int32_t symbol_count;
  bool has_dead;
  Constants c;
  simd::Gather gather;
};

}  // namespace
}  // namespace rdquant::codec
