// Which symbols slots mean, for vectors of lanes. A file that includes this one has defined a type `Lanes`,
// as streams.inl tells.
//
// State to state is one chain of operations, whose length is one half of what decoding takes; how many
// operations there are in all is the other half, as two vectors of lanes take turns. Of two ways to compute
// something, this takes the one that depends on the slot last, then the shorter one.
#include <algorithm>
#include <bit>
#include <optional>

#include "codec/rans/intervals.inl"

namespace rdquant::codec {
namespace {

enum class Kind : std::uint8_t { table, even, predicted };

/// Symbols, how far into their intervals the slots lie, and how wide these are.
struct Found {
  Vector symbol, above, width;
};

/// Whether the middles of bins are guesses good enough: with few symbols, no wider than a few levels.
inline bool are_coarse(const StreamTask& task) {
  constexpr std::int32_t kMostWindow = 32;
  constexpr std::int16_t kWidest = 48;  // σ = 2^(17/8) levels
  if (task.model->table || task.model->window > kMostWindow) return false;
  std::int16_t slice = 0;
  for (std::size_t q = task.first; q < task.last; ++q) slice = std::max(slice, task.slice_scales[q]);
  const auto& taps = task.model->tap_scales;
  return slice + *std::max_element(taps.begin(), taps.end()) <= kWidest;
}

/// `kListed`: intervals are looked up.
template <Kind kKind, bool kListed = false>
class Search : public Density {
 public:
  explicit Search(const StreamTask& task) : Density(task), coarse_(are_coarse(task)) {
    if constexpr (kListed) intervals_.emplace(task, *this);
  }

  [[nodiscard]] const Intervals& intervals() const { return *intervals_; }

  /// Symbols whose intervals hold `slot`.
  [[nodiscard, gnu::always_inline]] Found find(const Place& p, Vector slot) const {
    if (symbol_count == 3) return of_three(p, slot);
    Found f = around(p, first_guess(p, slot), slot);
    // Where guesses are coarse, few symbols are left to halve; where they are fine, tails are far from them.
    constexpr int kFewSteps = 2, kSteps = 8;
    const bool near = kKind == Kind::table || coarse_;
    for (int again = 0;; ++again) {
      const auto wrong = Lanes::reaches(f.above, f.width);
      if (Lanes::bits(wrong) == 0) return f;
      if (again == (near ? kFewSteps : kSteps)) break;
      const Vector up = near ? c.one : symbols_beyond(f);
      const auto low = Lanes::less(f.above, c.zero);
      const Vector other = Lanes::choose(low, Lanes::sub(f.symbol, up), Lanes::add(f.symbol, up));
      f = around(p, Lanes::choose(wrong, other, f.symbol), slot);
    }
    return halving(p, slot);
  }

  /// Of one slice: the interval that holds `slot`, if it is one of the kWidth around residual 0. All of them
  /// are computed, none of which waits for the slot.
  [[nodiscard, gnu::always_inline]] bool find_near(const Prediction& p, std::uint32_t slot,
                                                   Interval& found) const {
    const std::int32_t first = model.window - static_cast<std::int32_t>(Lanes::kWidth / 2) + 1;
    const std::int32_t offset = rounded(p.mean) - model.window;
    const Vector symbol = Lanes::add(Lanes::load(kCount), Lanes::set(first));
    const Vector edge =
        Lanes::add(Lanes::shift_left(symbol, 4), Lanes::set(16 * offset - p.mean - 8 - p.dead));
    const Place place{edge, Lanes::set(-offset), {Lanes::set(p.multiplier), {}}, {}};
    Vector start = Lanes::choose(Lanes::less(c.zero, symbol), start_at(place, symbol, edge), c.zero);
    start = Lanes::choose(Lanes::less(c.last_symbol, symbol), c.total, start);
    alignas(64) std::uint32_t starts[Lanes::kWidth];
    Lanes::store(starts, start);
    const auto reached = Lanes::less(start, Lanes::set(static_cast<std::int32_t>(slot) + 1));
    const auto count = static_cast<std::uint32_t>(std::popcount(Lanes::bits(reached)));
    if (count == 0 || count == Lanes::kWidth) return false;
    found = {static_cast<std::uint32_t>(first) + count - 1, starts[count - 1],
             starts[count] - starts[count - 1]};
    return true;
  }

  /// Streams whose symbol is the first or the last.
  [[nodiscard, gnu::always_inline]] Lanes::Mask outermost(Vector symbol) const {
    return Lanes::reaches(Lanes::sub(symbol, c.one), c.inner_symbols);
  }

 private:
  /// Among three symbols there is nothing to guess.
  [[nodiscard, gnu::always_inline]] Found of_three(const Place& p, Vector slot) const {
    Vector second, third;
    if constexpr (kListed) {
      const Vector both = intervals_->at(*this, p.row);
      second = Lanes::shift_right(both, 16);
      third = Lanes::bits_and(both, c.half);
    } else {
      second = start_of(p, c.one);
      third = start_of(p, c.last_symbol);
    }
    const auto first = Lanes::less(slot, second), below = Lanes::less(slot, third);
    const Vector symbol = Lanes::choose(first, c.zero, Lanes::choose(below, c.one, c.last_symbol));
    const Vector start = Lanes::choose(first, c.zero, Lanes::choose(below, second, third));
    const Vector end = Lanes::choose(first, second, Lanes::choose(below, third, c.total));
    return {symbol, Lanes::sub(slot, start), Lanes::sub(end, start)};
  }

  /// Where symbols 1 … start.
  [[nodiscard, gnu::always_inline]] Vector start_of(const Place& p, Vector symbol) const {
    if constexpr (kKind == Kind::table) {
      return gather(model.cumulated.data(), symbol);
    } else {
      return start_at(p, symbol, Lanes::add(p.edge0, Lanes::shift_left(symbol, 4)));
    }
  }

  /// A symbol, forced into the range, and where its interval lies.
  [[nodiscard, gnu::always_inline]] Found around(const Place& p, Vector symbol, Vector slot) const {
    const Vector s = Lanes::min(Lanes::max(symbol, c.zero), c.last_symbol);
    if constexpr (kListed) {
      const Vector interval = intervals_->at(*this, Lanes::add(p.row, s));
      return {s, Lanes::sub(slot, Lanes::shift_right(interval, 16)), Lanes::bits_and(interval, c.half)};
    }
    const Vector next = Lanes::add(s, c.one);
    if constexpr (kKind == Kind::table) {
      const Vector start = start_of(p, s);
      return {s, Lanes::sub(slot, start), Lanes::sub(start_of(p, next), start)};
    }
    const Vector edge = Lanes::add(p.edge0, Lanes::shift_left(s, 4));
    const Vector start = Lanes::choose(Lanes::less(c.zero, s), start_at(p, s, edge), c.zero);
    const Vector end =
        Lanes::choose(Lanes::less(s, c.last_symbol), start_at(p, next, Lanes::add(edge, c.sixteen)), c.total);
    return {s, Lanes::sub(slot, start), Lanes::sub(end, start)};
  }

  /// How many symbols of the width found lie between it and the slot, 1 to 16.
  [[nodiscard, gnu::always_inline]] Vector symbols_beyond(const Found& f) const {
    const Vector distance = Lanes::max(f.above, Lanes::sub(c.zero, f.above));
    const Floats widths =
        Lanes::times(Lanes::to_floats(distance), Lanes::reciprocal(Lanes::to_floats(f.width)));
    return Lanes::min(Lanes::max(Lanes::to_ints(widths), c.one), c.sixteen);
  }

  /// The quantile of the density, brought to symbols: right, or next to it, but in the tails.
  [[nodiscard, gnu::always_inline]] Vector first_guess(const Place& p, Vector slot) const {
    if constexpr (kKind == Kind::table) {
      const Vector bin = gather(tables.bins.data(), Lanes::shift_right(slot, 5));
      const auto beyond = Lanes::less(Lanes::bits_and(bin, c.half), slot);
      return Lanes::add_where(beyond, Lanes::shift_right(bin, 16), c.one);
    }
    return coarse_ ? coarse_guess(p, slot) : fine_guess(p, slot);
  }

  /// From the middle of a bin.
  [[nodiscard, gnu::always_inline]] Vector coarse_guess(const Place& p, Vector slot) const {
    const Vector middle = gather(tables.guesses.middles->data(), Lanes::shift_right(slot, 4));
    Vector at =
        Lanes::to_ints(Lanes::times_minus(Lanes::floats(middle), p.scale.inverse, Lanes::to_floats(p.edge0)));
    if (has_dead) {  // what the dead zone adds is the last part of symbol `zero`
      const Vector end = Lanes::add(Lanes::shift_left(p.zero, 4), c.fifteen);
      const Vector beyond = Lanes::sub(at, c.twice_dead);
      at = Lanes::choose(Lanes::less(end, beyond), beyond, Lanes::min(at, end));
    }
    return Lanes::shift_right_signed(at, 4);
  }

  /// Between the ends of a bin, found from half the slot, whose product fits `pairs`.
  [[nodiscard, gnu::always_inline]] Vector fine_guess(const Place& p, Vector slot) const {
    const Vector place = Lanes::add(Lanes::pairs(Lanes::shift_right(slot, 1), c.factor), c.offset);
    const Vector entry = gather(tables.guesses.quantiles->data(), Lanes::shift_right_signed(place, 15));
    const Vector rise = Lanes::bits_and(entry, c.rise_mask);
    const Vector part = Lanes::pairs(rise, Lanes::bits_and(Lanes::shift_right(place, 7), c.byte));
    const Vector z = Lanes::add(Lanes::shift_right_signed(entry, 12), Lanes::shift_right(part, 8));
    // (z/16384)·σ levels, σ = 2048/multiplier, less the lower edge of symbol 0.
    const Floats scale = Lanes::times(p.scale.inverse, c.eighth);
    const Floats base = Lanes::times(Lanes::to_floats(p.edge0), c.sixteenth);
    const Floats near = Lanes::times_minus(Lanes::to_floats(z), scale, base);
    // The symbols below have one count each that the density has not: as many slots too far, 16 to a bin.
    const Floats count = Lanes::times(Lanes::to_floats(rise), Lanes::times(scale, c.sixteenth));
    const Floats symbol =
        Lanes::times_plus(near, Lanes::minus(c.unit, count), Lanes::times(c.windows, count));
    const Vector s = Lanes::to_ints(symbol);
    if (!has_dead) return s;
    const Vector above = Lanes::to_ints(Lanes::minus(symbol, c.dead));
    return Lanes::choose(Lanes::less(p.zero, above), above, Lanes::min(s, p.zero));
  }

  /// Seldom needed: `p` is a copy, so that no place is kept in memory for its sake.
  [[nodiscard, gnu::noinline, gnu::cold]] Found halving(Place p, Vector slot) const {
    Vector symbol = c.zero, first = c.zero, end = c.total;
    const Vector symbols = Lanes::add(c.last_symbol, c.one);
    for (std::uint32_t step = std::bit_floor(static_cast<std::uint32_t>(symbol_count - 1)); step > 0;
         step >>= 1) {
      const Vector next = Lanes::add(symbol, Lanes::set(static_cast<std::int32_t>(step)));
      const Vector start = start_of(p, Lanes::min(next, symbols));
      const auto known = Lanes::less(next, symbols), beyond = Lanes::less(slot, start);
      end = Lanes::choose(Lanes::both(known, beyond), start, end);
      const auto inside = Lanes::both(known, Lanes::less(start, Lanes::add(slot, c.one)));
      symbol = Lanes::choose(inside, next, symbol);
      first = Lanes::choose(inside, start, first);
    }
    return {symbol, Lanes::sub(slot, first), Lanes::sub(end, first)};
  }

  bool coarse_;
  std::optional<Intervals> intervals_;
};

}  // namespace
}  // namespace rdquant::codec
