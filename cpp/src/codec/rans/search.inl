// Which symbols slots mean, for vectors of streams.
//
// State to state is one chain of operations, whose length is one half of what decoding takes; how many
// operations there are in all is the other half, as two vectors take turns. Of two ways to compute
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
  I32 symbol, above, width;
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
  [[nodiscard, gnu::always_inline]] Found find(const Place& p, I32 slot) const {
    if (symbol_count == 3) return of_three(p, slot);
    Found f = around(p, first_guess(p, slot), slot);
    // Where guesses are coarse, few symbols are left to halve; where they are fine, tails are far from them.
    constexpr int kFewSteps = 2, kSteps = 8;
    const bool near = kKind == Kind::table || coarse_;
    for (int again = 0;; ++again) {
      const auto wrong = reaches_unsigned(f.above, f.width);
      if (!any(wrong)) return f;
      if (again == (near ? kFewSteps : kSteps)) break;
      const I32 up = near ? c.one : symbols_beyond(f);
      const auto low = less(f.above, c.zero);
      const I32 other = select(low, f.symbol - up, f.symbol + up);
      f = around(p, select(wrong, other, f.symbol), slot);
    }
    return halving(p, slot);
  }

  /// Of one slice: the interval that holds `slot`, if it is one of the kWidth around residual 0. All of them
  /// are computed, none of which waits for the slot.
  [[nodiscard, gnu::always_inline]] bool find_near(const Prediction& p, std::uint32_t slot,
                                                   Interval& found) const {
    const std::int32_t first = model.window - static_cast<std::int32_t>(kWidth / 2) + 1;
    const std::int32_t offset = rounded(p.mean) - model.window;
    const I32 symbol = simd::load(kCount) + first;
    const I32 edge = (symbol << 4) + (16 * offset - p.mean - 8 - p.dead);
    const Place place{edge, splat(-offset), {splat(p.multiplier), {}}, {}};
    I32 start = select(less(c.zero, symbol), start_at(place, symbol, edge), c.zero);
    start = select(less(c.last_symbol, symbol), c.total, start);
    alignas(64) std::uint32_t starts[kWidth];
    store_as(starts, start);
    const auto reached = less(start, splat(static_cast<std::int32_t>(slot) + 1));
    const auto count = static_cast<std::uint32_t>(std::popcount(bits(reached)));
    if (count == 0 || count == kWidth) return false;
    found = {static_cast<std::uint32_t>(first) + count - 1, starts[count - 1],
             starts[count] - starts[count - 1]};
    return true;
  }

  /// Streams whose symbol is the first or the last.
  [[nodiscard, gnu::always_inline]] Mask outermost(I32 symbol) const {
    return reaches_unsigned(symbol - c.one, c.inner_symbols);
  }

 private:
  /// Among three symbols there is nothing to guess.
  [[nodiscard, gnu::always_inline]] Found of_three(const Place& p, I32 slot) const {
    I32 second, third;
    if constexpr (kListed) {
      const I32 both = intervals_->at(*this, p.row);
      second = shift_right(both, 16);
      third = both & c.half;
    } else {
      second = start_of(p, c.one);
      third = start_of(p, c.last_symbol);
    }
    const auto first = less(slot, second), below = less(slot, third);
    const I32 symbol = select(first, c.zero, select(below, c.one, c.last_symbol));
    const I32 start = select(first, c.zero, select(below, second, third));
    const I32 end = select(first, second, select(below, third, c.total));
    return {symbol, slot - start, end - start};
  }

  /// Where symbols 1 … start.
  [[nodiscard, gnu::always_inline]] I32 start_of(const Place& p, I32 symbol) const {
    if constexpr (kKind == Kind::table) {
      return gather(model.cumulated.data(), symbol);
    } else {
      return start_at(p, symbol, p.edge0 + (symbol << 4));
    }
  }

  /// A symbol, forced into the range, and where its interval lies.
  [[nodiscard, gnu::always_inline]] Found around(const Place& p, I32 symbol, I32 slot) const {
    const I32 s = min(max(symbol, c.zero), c.last_symbol);
    if constexpr (kListed) {
      const I32 interval = intervals_->at(*this, p.row + s);
      return {s, slot - shift_right(interval, 16), interval & c.half};
    }
    const I32 next = s + c.one;
    if constexpr (kKind == Kind::table) {
      const I32 start = start_of(p, s);
      return {s, slot - start, start_of(p, next) - start};
    }
    const I32 edge = p.edge0 + (s << 4);
    const I32 start = select(less(c.zero, s), start_at(p, s, edge), c.zero);
    const I32 end = select(less(s, c.last_symbol), start_at(p, next, edge + c.sixteen), c.total);
    return {s, slot - start, end - start};
  }

  /// How many symbols of the width found lie between it and the slot, 1 to 16.
  [[nodiscard, gnu::always_inline]] I32 symbols_beyond(const Found& f) const {
    const I32 distance = max(f.above, c.zero - f.above);
    const F32 widths = to_float(distance) * about_inverse(to_float(f.width));
    return min(max(convert<std::int32_t>(widths), c.one), c.sixteen);
  }

  /// The quantile of the density, brought to symbols: right, or next to it, but in the tails.
  [[nodiscard, gnu::always_inline]] I32 first_guess(const Place& p, I32 slot) const {
    if constexpr (kKind == Kind::table) {
      const I32 bin = gather(tables.bins.data(), shift_right(slot, 5));
      const auto beyond = less(bin & c.half, slot);
      return add_where(beyond, shift_right(bin, 16), c.one);
    }
    return coarse_ ? coarse_guess(p, slot) : fine_guess(p, slot);
  }

  /// From the middle of a bin.
  [[nodiscard, gnu::always_inline]] I32 coarse_guess(const Place& p, I32 slot) const {
    const I32 middle = gather(tables.guesses.middles->data(), shift_right(slot, 4));
    I32 at = convert<std::int32_t>(fma_minus(simd::bits_as<F32>(middle), p.scale.inverse, to_float(p.edge0)));
    if (has_dead) {  // what the dead zone adds is the last part of symbol `zero`
      const I32 end = (p.zero << 4) + c.fifteen;
      const I32 beyond = at - c.twice_dead;
      at = select(less(end, beyond), beyond, min(at, end));
    }
    return at >> 4;
  }

  /// Between the ends of a bin, found from half the slot, whose product fits `pairs`.
  [[nodiscard, gnu::always_inline]] I32 fine_guess(const Place& p, I32 slot) const {
    const I32 place = add_pairs(shift_right(slot, 1), c.factor) + c.offset;
    const I32 entry = gather(tables.guesses.quantiles->data(), place >> 15);
    const I32 rise = entry & c.rise_mask;
    const I32 part = add_pairs(rise, shift_right(place, 7) & c.byte);
    const I32 z = (entry >> 12) + shift_right(part, 8);
    // (z/16384)·σ levels, σ = 2048/multiplier, less the lower edge of symbol 0.
    const F32 scale = p.scale.inverse * c.eighth;
    const F32 base = to_float(p.edge0) * c.sixteenth;
    const F32 near = fma_minus(to_float(z), scale, base);
    // The symbols below have one count each that the density has not: as many slots too far, 16 to a bin.
    const F32 count = to_float(rise) * (scale * c.sixteenth);
    const F32 symbol = fma(near, c.unit - count, c.windows * count);
    const I32 s = convert<std::int32_t>(symbol);
    if (!has_dead) return s;
    const I32 above = convert<std::int32_t>(symbol - c.dead);
    return select(less(p.zero, above), above, min(s, p.zero));
  }

  /// Seldom needed: `p` is a copy, so that no place is kept in memory for its sake.
  [[nodiscard, gnu::noinline, gnu::cold]] Found halving(Place p, I32 slot) const {
    I32 symbol = c.zero, first = c.zero, end = c.total;
    const I32 symbols = c.last_symbol + c.one;
    for (std::uint32_t step = std::bit_floor(static_cast<std::uint32_t>(symbol_count - 1)); step > 0;
         step >>= 1) {
      const I32 next = symbol + static_cast<std::int32_t>(step);
      const I32 start = start_of(p, min(next, symbols));
      const auto known = less(next, symbols), beyond = less(slot, start);
      end = select(known & beyond, start, end);
      const auto inside = known & less(start, slot + c.one);
      symbol = select(inside, next, symbol);
      first = select(inside, start, first);
    }
    return {symbol, slot - first, end - first};
  }

  bool coarse_;
  std::optional<Intervals> intervals_;
};

}  // namespace
}  // namespace rdquant::codec
