// What a density gives symbols, for vectors of lanes. A file that includes this one has defined a type
// `Lanes`, as streams.inl tells.
#include "codec/rans/streams.hpp"

namespace rdquant::codec {
namespace {

using Vector = Lanes::Vector;
using Floats = Lanes::Floats;

/// Of a vector of slices: z = (edge·multiplier) >> 5, and about 1/multiplier.
struct Scale {
  Vector multiplier;
  Floats inverse;
};

/// Probabilities of a vector of lanes.
struct Place {
  Vector edge0;  ///< lower edge of symbol 0 relative to the mean
  Vector zero;   ///< the last symbol whose level is below 1
  Scale scale;
  Vector row;  ///< of Intervals, where there are such
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
      : last_symbol(Lanes::set(count - 1)),
        inner_symbols(Lanes::set(count - 2)),
        twice_dead(Lanes::set(2 * tables.model.dead)),
        factor(Lanes::set(tables.guesses.factor)),
        offset(Lanes::set(tables.guesses.offset / 2)),
        window(Lanes::set(tables.model.window)),
        edge(Lanes::set(8 + tables.model.dead)),
        row(Lanes::set(row_width(tables.model))),
        mean(Lanes::set(one_mean(tables.model))),
        windows(Lanes::set_floats(static_cast<float>(tables.model.window))),
        dead(Lanes::set_floats(static_cast<float>(tables.model.dead) * 0.125F)) {}
  Vector last_symbol, inner_symbols, twice_dead, factor, offset, window, edge, row, mean;
  Floats windows, dead;
  Vector zero = Lanes::set(0), one = Lanes::set(1), fifteen = Lanes::set(15), byte = Lanes::set(255);
  Vector eight = Lanes::set(8), sixteen = Lanes::set(16), rise_mask = Lanes::set(4095),
         half = Lanes::set(0xffff);
  Vector least_z = Lanes::set(-16384), most_z = Lanes::set(16383), middle_z = Lanes::set(16384);
  Vector least_mean = Lanes::set(-16 * kReach), most_mean = Lanes::set(16 * kReach);
  Vector total = Lanes::set(static_cast<std::int32_t>(kTotal));
  Floats unit = Lanes::set_floats(1.0F), eighth = Lanes::set_floats(0.125F),
         sixteenth = Lanes::set_floats(0.0625F);
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
        gather(task.streams) {
    // The compiler must not know these numbers, or it makes them anew in the loop.
    asm volatile("" : "+m"(c));
  }

  /// Where symbols start whose lower edges, but for the dead zone, are given; right for symbols 1 …
  [[nodiscard, gnu::always_inline]] Vector start_at(const Place& p, Vector symbol, Vector edge) const {
    if (has_dead) edge = Lanes::add_where(Lanes::less(p.zero, symbol), edge, c.twice_dead);
    Vector z = Lanes::shift_right_signed(Lanes::pairs(edge, p.scale.multiplier), 5);
    z = Lanes::min(Lanes::max(z, c.least_z), c.most_z);
    const Vector at = Lanes::add(z, c.middle_z);
    const Vector cell = gather(tables.cells.data(), Lanes::shift_right(at, 4));
    // The value in the upper half of a cell meets the zeros there; the rise is below 2^15.
    const Vector part = Lanes::pairs(cell, Lanes::bits_and(at, c.fifteen));
    return Lanes::add(Lanes::add(symbol, Lanes::shift_right(cell, 16)), Lanes::shift_right(part, 4));
  }

  const Model& model;
  const Tables& tables;
  std::int32_t symbol_count;
  bool has_dead;
  Constants c;
  Lanes::Gather gather;
};

}  // namespace
}  // namespace rdquant::codec
