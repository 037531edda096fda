// Which symbols slots mean, for vectors of lanes. A file that includes this one has defined a type `Lanes`,
// as lanes.inl tells.
//
// State to state is one chain of operations, whose length is one half of what decoding takes; how many
// operations there are in all is the other half, as two vectors of lanes take turns. Of two ways to compute
// something, this takes the one that depends on the slot last, then the shorter one.
#include <algorithm>
#include <bit>

#include "lanes.hpp"

namespace rdquant::codec {
namespace {

using Vector = Lanes::Vector;
using Floats = Lanes::Floats;

enum class Kind : std::uint8_t { table, even, predicted };

/// Symbols, how far into their intervals the slots lie, and how wide these are.
struct Found {
  Vector symbol, above, width;
};

/// Of a vector of kernels: z = (edge·multiplier) >> 5, and about 1/multiplier.
struct Scale {
  Vector multiplier;
  Floats inverse;
};

/// Probabilities of a vector of lanes.
struct Place {
  Vector edge0;  ///< lower edge of symbol 0 relative to the mean
  Vector zero;   ///< the last symbol whose level is below 1
  Scale scale;
};

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
        windows(Lanes::set_floats(static_cast<float>(tables.model.window))),
        dead(Lanes::set_floats(static_cast<float>(tables.model.dead) * 0.125F)) {}
  Vector last_symbol, inner_symbols, twice_dead, factor, offset, window, edge;
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

/// Whether the middles of bins are guesses good enough: with few symbols, no wider than a few levels.
inline bool are_coarse(const LaneTask& task) {
  constexpr std::int32_t kMostWindow = 32;
  constexpr std::int16_t kWidest = 48;  // σ = 2^(17/8) levels
  if (task.model->table || task.model->window > kMostWindow) return false;
  std::int16_t kernel = 0;
  for (std::size_t q = task.first; q < task.last; ++q) kernel = std::max(kernel, task.kernel_scales[q]);
  const auto& taps = task.model->tap_scales;
  return kernel + *std::max_element(taps.begin(), taps.end()) <= kWidest;
}

template <Kind kKind>
class Search {
 public:
  explicit Search(const LaneTask& task)
      : model_(*task.model),
        tables_(*task.tables),
        symbols_(static_cast<std::int32_t>(model_.symbols())),
        dead_(model_.dead != 0),
        coarse_(are_coarse(task)),
        c_(tables_, symbols_),
        all_(Lanes::only(task.lanes)) {
    // The compiler must not know these numbers, or it makes them anew in the loop.
    asm volatile("" : "+m"(c_));
  }

  [[nodiscard]] const Constants& constants() const { return c_; }

  /// Symbols whose intervals hold `slot`.
  [[nodiscard, gnu::always_inline]] Found find(const Place& p, Vector slot) const {
    if (symbols_ == 3) return of_three(p, slot);
    Found f = around(p, first_guess(p, slot), slot);
    // Where guesses are coarse, few symbols are left to halve; where they are fine, tails are far from them.
    constexpr int kFewSteps = 2, kSteps = 8;
    const bool near = kKind == Kind::table || coarse_;
    for (int again = 0;; ++again) {
      const auto wrong = Lanes::reaches(f.above, f.width);
      if (Lanes::bits(wrong) == 0) return f;
      if (again == (near ? kFewSteps : kSteps)) break;
      const Vector up = near ? c_.one : symbols_beyond(f);
      const auto low = Lanes::less(f.above, c_.zero);
      const Vector other = Lanes::choose(low, Lanes::sub(f.symbol, up), Lanes::add(f.symbol, up));
      f = around(p, Lanes::choose(wrong, other, f.symbol), slot);
    }
    return halving(p, slot);
  }

  /// Of one kernel: the interval that holds `slot`, if it is one of the kWidth around residual 0. All of them
  /// are computed, none of which waits for the slot.
  [[nodiscard, gnu::always_inline]] bool find_near(const Prediction& p, std::uint32_t slot,
                                                   Interval& found) const {
    const std::int32_t first = model_.window - static_cast<std::int32_t>(Lanes::kWidth / 2) + 1;
    const std::int32_t offset = rounded(p.mean) - model_.window;
    const Vector symbol = Lanes::add(Lanes::load(kCount), Lanes::set(first));
    const Vector edge =
        Lanes::add(Lanes::shift_left(symbol, 4), Lanes::set(16 * offset - p.mean - 8 - p.dead));
    const Place place{edge, Lanes::set(-offset), {Lanes::set(p.multiplier), {}}};
    Vector start = Lanes::choose(Lanes::less(c_.zero, symbol), start_at(place, symbol, edge), c_.zero);
    start = Lanes::choose(Lanes::less(c_.last_symbol, symbol), c_.total, start);
    alignas(64) std::uint32_t starts[Lanes::kWidth];
    Lanes::store(starts, start);
    const auto reached = Lanes::less(start, Lanes::set(static_cast<std::int32_t>(slot) + 1));
    const auto count = static_cast<std::uint32_t>(std::popcount(Lanes::bits(reached)));
    if (count == 0 || count == Lanes::kWidth) return false;
    found = {static_cast<std::uint32_t>(first) + count - 1, starts[count - 1],
             starts[count] - starts[count - 1]};
    return true;
  }

  /// Lanes whose symbol is the first or the last.
  [[nodiscard, gnu::always_inline]] Lanes::Mask outermost(Vector symbol) const {
    return Lanes::reaches(Lanes::sub(symbol, c_.one), c_.inner_symbols);
  }

 private:
  /// Among three symbols there is nothing to guess.
  [[nodiscard, gnu::always_inline]] Found of_three(const Place& p, Vector slot) const {
    const Vector second = start_of(p, c_.one), third = start_of(p, c_.last_symbol);
    const auto first = Lanes::less(slot, second), below = Lanes::less(slot, third);
    const Vector symbol = Lanes::choose(first, c_.zero, Lanes::choose(below, c_.one, c_.last_symbol));
    const Vector start = Lanes::choose(first, c_.zero, Lanes::choose(below, second, third));
    const Vector end = Lanes::choose(first, second, Lanes::choose(below, third, c_.total));
    return {symbol, Lanes::sub(slot, start), Lanes::sub(end, start)};
  }

  /// Where symbols 1 … start.
  [[nodiscard, gnu::always_inline]] Vector start_of(const Place& p, Vector symbol) const {
    if constexpr (kKind == Kind::table) {
      return Lanes::gather(all_, model_.cumulated.data(), symbol);
    } else {
      return start_at(p, symbol, Lanes::add(p.edge0, Lanes::shift_left(symbol, 4)));
    }
  }

  /// The same of symbols whose lower edges, but for the dead zone, are given.
  [[nodiscard, gnu::always_inline]] Vector start_at(const Place& p, Vector symbol, Vector edge) const {
    if (dead_) edge = Lanes::add_where(Lanes::less(p.zero, symbol), edge, c_.twice_dead);
    Vector z = Lanes::shift_right_signed(Lanes::pairs(edge, p.scale.multiplier), 5);
    z = Lanes::min(Lanes::max(z, c_.least_z), c_.most_z);
    const Vector at = Lanes::add(z, c_.middle_z);
    const Vector cell = Lanes::gather(all_, tables_.cells.data(), Lanes::shift_right(at, 4));
    // The value in the upper half of a cell meets the zeros there; the rise is below 2^15.
    const Vector part = Lanes::pairs(cell, Lanes::bits_and(at, c_.fifteen));
    return Lanes::add(Lanes::add(symbol, Lanes::shift_right(cell, 16)), Lanes::shift_right(part, 4));
  }

  /// A symbol, forced into the range, and where its interval lies.
  [[nodiscard, gnu::always_inline]] Found around(const Place& p, Vector symbol, Vector slot) const {
    const Vector s = Lanes::min(Lanes::max(symbol, c_.zero), c_.last_symbol);
    const Vector next = Lanes::add(s, c_.one);
    if constexpr (kKind == Kind::table) {
      const Vector start = start_of(p, s);
      return {s, Lanes::sub(slot, start), Lanes::sub(start_of(p, next), start)};
    }
    const Vector edge = Lanes::add(p.edge0, Lanes::shift_left(s, 4));
    const Vector start = Lanes::choose(Lanes::less(c_.zero, s), start_at(p, s, edge), c_.zero);
    const Vector end = Lanes::choose(Lanes::less(s, c_.last_symbol),
                                     start_at(p, next, Lanes::add(edge, c_.sixteen)), c_.total);
    return {s, Lanes::sub(slot, start), Lanes::sub(end, start)};
  }

  /// How many symbols of the width found lie between it and the slot, 1 to 16.
  [[nodiscard, gnu::always_inline]] Vector symbols_beyond(const Found& f) const {
    const Vector distance = Lanes::max(f.above, Lanes::sub(c_.zero, f.above));
    const Floats widths =
        Lanes::times(Lanes::to_floats(distance), Lanes::reciprocal(Lanes::to_floats(f.width)));
    return Lanes::min(Lanes::max(Lanes::to_ints(widths), c_.one), c_.sixteen);
  }

  /// The quantile of the density, brought to symbols: right, or next to it, but in the tails.
  [[nodiscard, gnu::always_inline]] Vector first_guess(const Place& p, Vector slot) const {
    if constexpr (kKind == Kind::table) {
      const Vector bin = Lanes::gather(all_, tables_.bins.data(), Lanes::shift_right(slot, 5));
      const auto beyond = Lanes::less(Lanes::bits_and(bin, c_.half), slot);
      return Lanes::add_where(beyond, Lanes::shift_right(bin, 16), c_.one);
    }
    return coarse_ ? coarse_guess(p, slot) : fine_guess(p, slot);
  }

  /// From the middle of a bin.
  [[nodiscard, gnu::always_inline]] Vector coarse_guess(const Place& p, Vector slot) const {
    const Vector middle = Lanes::gather(all_, tables_.guesses.middles->data(), Lanes::shift_right(slot, 4));
    Vector at =
        Lanes::to_ints(Lanes::times_minus(Lanes::floats(middle), p.scale.inverse, Lanes::to_floats(p.edge0)));
    if (dead_) {  // what the dead zone adds is the last part of symbol `zero`
      const Vector end = Lanes::add(Lanes::shift_left(p.zero, 4), c_.fifteen);
      at = Lanes::min(at, Lanes::max(Lanes::sub(at, c_.twice_dead), end));
    }
    return Lanes::shift_right_signed(at, 4);
  }

  /// Between the ends of a bin, found from half the slot, whose product fits `pairs`.
  [[nodiscard, gnu::always_inline]] Vector fine_guess(const Place& p, Vector slot) const {
    const Vector place = Lanes::add(Lanes::pairs(Lanes::shift_right(slot, 1), c_.factor), c_.offset);
    const Vector entry =
        Lanes::gather(all_, tables_.guesses.quantiles->data(), Lanes::shift_right_signed(place, 15));
    const Vector rise = Lanes::bits_and(entry, c_.rise_mask);
    const Vector part = Lanes::pairs(rise, Lanes::bits_and(Lanes::shift_right(place, 7), c_.byte));
    const Vector z = Lanes::add(Lanes::shift_right_signed(entry, 12), Lanes::shift_right(part, 8));
    // (z/16384)·σ levels, σ = 2048/multiplier, less the lower edge of symbol 0.
    const Floats scale = Lanes::times(p.scale.inverse, c_.eighth);
    const Floats base = Lanes::times(Lanes::to_floats(p.edge0), c_.sixteenth);
    const Floats near = Lanes::times_minus(Lanes::to_floats(z), scale, base);
    // The symbols below have one count each that the density has not: as many slots too far, 16 to a bin.
    const Floats count = Lanes::times(Lanes::to_floats(rise), Lanes::times(scale, c_.sixteenth));
    const Floats symbol =
        Lanes::times_plus(near, Lanes::minus(c_.unit, count), Lanes::times(c_.windows, count));
    const Vector s = Lanes::to_ints(symbol);
    if (!dead_) return s;
    const Vector above = Lanes::to_ints(Lanes::minus(symbol, c_.dead));
    return Lanes::choose(Lanes::less(p.zero, s), Lanes::max(above, p.zero), s);
  }

  /// Seldom needed: `p` is a copy, so that no place is kept in memory for its sake.
  [[nodiscard, gnu::noinline, gnu::cold]] Found halving(Place p, Vector slot) const {
    Vector symbol = c_.zero, first = c_.zero, end = c_.total;
    const Vector symbols = Lanes::add(c_.last_symbol, c_.one);
    for (std::uint32_t step = std::bit_floor(static_cast<std::uint32_t>(symbols_ - 1)); step > 0;
         step >>= 1) {
      const Vector next = Lanes::add(symbol, Lanes::set(static_cast<std::int32_t>(step)));
      const Vector start = start_of(p, Lanes::min(next, symbols));
      const auto known = Lanes::less(next, symbols), beyond = Lanes::less(slot, start);
      end = Lanes::choose(Lanes::both(known, beyond), start, end);
      const auto inside = Lanes::both(known, Lanes::less(start, Lanes::add(slot, c_.one)));
      symbol = Lanes::choose(inside, next, symbol);
      first = Lanes::choose(inside, start, first);
    }
    return {symbol, Lanes::sub(slot, first), Lanes::sub(end, first)};
  }

  const Model& model_;
  const Tables& tables_;
  std::int32_t symbols_;
  bool dead_, coarse_;
  Constants c_;
  // All lanes. The compiler must not know: a gather whose mask it knows to be full keeps the old value of its
  // register as an input, which makes one vector of lanes wait for the other.
  Lanes::Mask all_;
};

}  // namespace
}  // namespace rdquant::codec
