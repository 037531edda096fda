// The lane decoder over vectors of lanes, for an instruction set that defines, before it includes this file,
// a type `Lanes` with these static members:
//   kWidth, Vector, Floats, Mask; set, set_floats, load, load_halves (signed 16-bit), store, gather (32-bit
//   elements), lookup (of eight elements held in a vector), add, sub, mul (32 bits), pairs
//   (products of signed 16-bit halves, summed), mul_halves (of numbers below 2^16), shift_left, shift_left_by
//   (each by its own count), shift_right, shift_right_signed, bits_and, less, both, either, choose, min, max,
//   bits (of a mask), only (of a mask, the first n), refill; to_floats, to_ints (towards zero), times, minus,
//   times_minus (a·b − c), times_plus (a·b + c), reciprocal (about).
// decode_lanes_plain is the definition of what it computes.
#include <bit>

#include "lanes.hpp"

namespace rdquant::codec {
namespace {

using Vector = Lanes::Vector;
using Floats = Lanes::Floats;

enum class Kind : std::uint8_t { table, even, predicted };

struct Found {
  Vector symbol, start, end;
};

/// Probabilities of a vector of lanes.
struct Place {
  Vector edge0;  ///< lower edge of symbol 0 relative to the mean
  Vector zero;   ///< the last symbol whose level is below 1
  Vector multiplier;
};

/// Numbers in all lanes, kept in memory: making them anew in the loop takes longer than reading them.
struct Constants {
  Constants(const Tables& tables, std::int32_t count)
      : symbols(Lanes::set(count)),
        last_symbol(Lanes::set(count - 1)),
        twice_dead(Lanes::set(2 * tables.model.dead)),
        factor(Lanes::set(tables.guesses.factor)),
        offset(Lanes::set(tables.guesses.offset / 2)),
        window(Lanes::set_floats(static_cast<float>(tables.model.window))),
        dead(Lanes::set_floats(static_cast<float>(tables.model.dead) * 0.125F)) {}
  Vector symbols, last_symbol, twice_dead, factor, offset;
  Floats window, dead;
  Vector zero = Lanes::set(0), one = Lanes::set(1), fifteen = Lanes::set(15), byte = Lanes::set(255);
  Vector rise_mask = Lanes::set(4095), half = Lanes::set(0xffff);
  Vector least_z = Lanes::set(-16384), most_z = Lanes::set(16383), middle_z = Lanes::set(16384);
  Vector total = Lanes::set(static_cast<std::int32_t>(kTotal));
  Floats unit = Lanes::set_floats(1.0F), eighth = Lanes::set_floats(0.125F),
         sixteenth = Lanes::set_floats(0.0625F);
};

template <Kind kKind>
class Search {
 public:
  explicit Search(const LaneTask& task)
      : model_(*task.model),
        tables_(*task.tables),
        symbols_(static_cast<std::int32_t>(model_.symbols())),
        c_(tables_, symbols_),
        all_(Lanes::only(task.lanes)) {
    // The compiler must not know these numbers, or it makes them anew in the loop.
    asm volatile("" : "+m"(c_));
  }

  /// Symbols whose intervals hold `slot`.
  [[nodiscard, gnu::always_inline]] Found find(const Place& p, Vector slot) const {
    if (symbols_ == 3) return of_three(p, slot);
    Found f = around(p, first_guess(p, slot));
    for (int again = 0;; ++again) {
      const auto low = Lanes::less(slot, f.start);
      const auto high = Lanes::less(Lanes::sub(f.end, c_.one), slot);
      if (Lanes::bits(Lanes::either(low, high)) == 0) return f;
      if (again == 2) break;
      const Vector one = c_.one, none = c_.zero;
      f = around(
          p, Lanes::add(Lanes::sub(f.symbol, Lanes::choose(low, one, none)), Lanes::choose(high, one, none)));
    }
    return halving(p, slot);
  }

 private:
  /// Among three symbols there is nothing to guess.
  [[nodiscard, gnu::always_inline]] Found of_three(const Place& p, Vector slot) const {
    const Vector second = start_of(p, c_.one), third = start_of(p, c_.last_symbol);
    const auto first = Lanes::less(slot, second), below = Lanes::less(slot, third);
    const Vector symbol = Lanes::choose(first, c_.zero, Lanes::choose(below, c_.one, c_.last_symbol));
    const Vector start = Lanes::choose(first, c_.zero, Lanes::choose(below, second, third));
    return {symbol, start, Lanes::choose(first, second, Lanes::choose(below, third, c_.total))};
  }

  /// Where symbols 1 … start.
  [[nodiscard, gnu::always_inline]] Vector start_of(const Place& p, Vector symbol) const {
    if constexpr (kKind == Kind::table) {
      return Lanes::gather(all_, model_.cumulated.data(), symbol);
    } else {
      Vector edge = Lanes::add(p.edge0, Lanes::shift_left(symbol, 4));
      if (model_.dead != 0) {
        edge = Lanes::choose(Lanes::less(p.zero, symbol), Lanes::add(edge, c_.twice_dead), edge);
      }
      Vector z = Lanes::shift_right_signed(Lanes::pairs(edge, p.multiplier), 5);
      z = Lanes::min(Lanes::max(z, c_.least_z), c_.most_z);
      const Vector at = Lanes::add(z, c_.middle_z);
      const Vector cell = Lanes::gather(all_, tables_.cells.data(), Lanes::shift_right(at, 4));
      const Vector part = Lanes::pairs(Lanes::bits_and(cell, c_.half), Lanes::bits_and(at, c_.fifteen));
      return Lanes::add(symbol, Lanes::add(Lanes::shift_right(cell, 16), Lanes::shift_right(part, 4)));
    }
  }

  /// A symbol, forced into the range, and where its interval lies.
  [[nodiscard, gnu::always_inline]] Found around(const Place& p, Vector symbol) const {
    const Vector s = Lanes::min(Lanes::max(symbol, c_.zero), c_.last_symbol);
    const Vector next = Lanes::add(s, c_.one);
    if constexpr (kKind == Kind::table) return {s, start_of(p, s), start_of(p, next)};
    const Vector start = Lanes::choose(Lanes::less(c_.zero, s), start_of(p, s), c_.zero);
    const Vector end = Lanes::choose(Lanes::less(next, c_.symbols), start_of(p, next), c_.total);
    return {s, start, end};
  }

  /// The quantile of the density, brought to symbols: right, or next to it, but in the tails.
  [[nodiscard, gnu::always_inline]] Vector first_guess(const Place& p, Vector slot) const {
    if constexpr (kKind == Kind::table) {
      const Vector bin = Lanes::gather(all_, tables_.bins.data(), Lanes::shift_right(slot, 5));
      const auto beyond = Lanes::less(Lanes::bits_and(bin, c_.half), slot);
      const Vector symbol = Lanes::shift_right(bin, 16);
      return Lanes::choose(beyond, Lanes::add(symbol, c_.one), symbol);
    }
    // State to state is one chain of operations, whose length is what decoding takes: of two ways to compute
    // something, this takes the one that depends on the slot last. Bins are found from half the slot, whose
    // product fits `pairs`.
    const Guesses& g = tables_.guesses;
    const Vector place = Lanes::add(Lanes::pairs(Lanes::shift_right(slot, 1), c_.factor), c_.offset);
    const Vector entry = Lanes::gather(all_, g.quantiles->data(), Lanes::shift_right_signed(place, 15));
    const Vector rise = Lanes::bits_and(entry, c_.rise_mask);
    const Vector part = Lanes::pairs(rise, Lanes::bits_and(Lanes::shift_right(place, 7), c_.byte));
    const Vector z = Lanes::add(Lanes::shift_right_signed(entry, 12), Lanes::shift_right(part, 8));
    // (z/16384)·σ levels, σ = 2048/multiplier, less the lower edge of symbol 0.
    const Floats scale = Lanes::times(Lanes::reciprocal(Lanes::to_floats(p.multiplier)), c_.eighth);
    const Floats base = Lanes::times(Lanes::to_floats(p.edge0), c_.sixteenth);
    const Floats near = Lanes::times_minus(Lanes::to_floats(z), scale, base);
    // The symbols below have one count each that the density has not: as many slots too far, 16 to a bin.
    const Floats count = Lanes::times(Lanes::to_floats(rise), Lanes::times(scale, c_.sixteenth));
    const Floats symbol =
        Lanes::times_plus(near, Lanes::minus(c_.unit, count), Lanes::times(c_.window, count));
    const Vector s = Lanes::to_ints(symbol);
    if (model_.dead == 0) return s;
    const Vector above = Lanes::to_ints(Lanes::minus(symbol, c_.dead));
    return Lanes::choose(Lanes::less(p.zero, s), Lanes::max(above, p.zero), s);
  }

  [[nodiscard, gnu::noinline]] Found halving(const Place& p, Vector slot) const {
    Found f{c_.zero, c_.zero, c_.total};
    const Vector symbols = c_.symbols;
    for (std::uint32_t step = std::bit_floor(static_cast<std::uint32_t>(symbols_ - 1)); step > 0;
         step >>= 1) {
      const Vector next = Lanes::add(f.symbol, Lanes::set(static_cast<std::int32_t>(step)));
      const Vector start = start_of(p, Lanes::min(next, symbols));
      const auto known = Lanes::less(next, symbols), beyond = Lanes::less(slot, start);
      f.end = Lanes::choose(Lanes::both(known, beyond), start, f.end);
      const auto inside = Lanes::both(known, Lanes::less(start, Lanes::add(slot, c_.one)));
      f.symbol = Lanes::choose(inside, next, f.symbol);
      f.start = Lanes::choose(inside, start, f.start);
    }
    return f;
  }

  const Model& model_;
  const Tables& tables_;
  std::int32_t symbols_;
  Constants c_;
  // All lanes. The compiler must not know: a gather whose mask it knows to be full keeps the old value of its
  // register as an input, which makes one vector of lanes wait for the other.
  Lanes::Mask all_;
};

/// kMultipliers[s], computed: 2^((95 − s)/8)·8, rounded.
inline Vector multiplier_of(Vector s) {
  alignas(64) static constexpr std::int32_t kEighths[16] = {524288, 571740, 623487, 679917, 741455, 808563,
                                                            881744, 961548, 524288, 571740, 623487, 679917,
                                                            741455, 808563, 881744, 961548};
  const Vector up =
      Lanes::sub(Lanes::set(kScales - 1), Lanes::min(Lanes::max(s, Lanes::set(0)), Lanes::set(kScales - 1)));
  const Vector eighth = Lanes::lookup(Lanes::load(kEighths), Lanes::bits_and(up, Lanes::set(7)));
  const Vector scaled = Lanes::shift_left_by(eighth, Lanes::shift_right(up, 3));
  return Lanes::shift_right(Lanes::add(scaled, Lanes::set(1 << 15)), 16);
}

/// Means of tap t, 1/16 level, from the taps before it in `kernel` and the same tap in the row above, whose
/// lanes are `apart` elements apart. Levels and coefficients fit 16 bits.
inline Vector means(const Predictor& p, const Vector* kernel, std::size_t stride, std::size_t t,
                    const std::int32_t* above, std::int32_t apart) {
  Vector sum = Lanes::set(4 * p.bias + 2);
  if (p.up != 0) sum = Lanes::add(sum, Lanes::pairs(Lanes::strided(above, apart), Lanes::set(p.up & 0xffff)));
  for (std::size_t j = 0; j < p.past.size(); ++j) {
    sum = Lanes::add(sum, Lanes::pairs(kernel[(t - 1 - j) * stride], Lanes::set(p.past[j] & 0xffff)));
  }
  const Vector mean = Lanes::shift_right_signed(sum, 2);
  return Lanes::min(Lanes::max(mean, Lanes::set(-16 * kReach)), Lanes::set(16 * kReach));
}

/// Levels whose symbols are the outermost two get what lies beyond the window.
inline Vector beyond_window(const LaneTask& task, Vector level, Vector symbol, std::uint32_t outside) {
  alignas(64) std::int32_t some[Lanes::kWidth], symbols[Lanes::kWidth];
  Lanes::store(some, level);
  Lanes::store(symbols, symbol);
  for (std::size_t l = 0; l < Lanes::kWidth; ++l) {
    if ((outside >> l) & 1) some[l] = with_excess(some[l], symbols[l] != 0, *task.excess);
  }
  return Lanes::load(some);
}

/// Means of one vector of kernels, q the first; the row above has been written, as a model that looks up has
/// at least as many columns as there are lanes.
inline Vector means_at(const LaneTask& task, const Predictor& p, const Vector* kernel, std::size_t stride,
                       std::size_t q, std::size_t t) {
  const std::size_t taps = task.model->grid.taps, cols = task.model->grid.cols;
  alignas(64) std::int32_t first_row[Lanes::kWidth] = {};
  const std::int32_t* above = first_row;  // nothing is above it
  auto apart = static_cast<std::int32_t>(taps);
  if (p.up != 0 && q >= cols) {
    above = task.out + (q - cols) * taps + t;
  } else if (p.up != 0) {
    for (std::size_t l = cols - q; l < Lanes::kWidth; ++l) first_row[l] = task.out[(q + l - cols) * taps + t];
    apart = 1;
  }
  return means(p, kernel, stride, t, above, apart);
}

/// Writes a group's levels, tap by tap in `levels`, kernel by kernel.
inline void write_out(std::int32_t* out, const std::int32_t* levels, std::size_t active, std::size_t taps,
                      std::size_t lanes) {
  if (taps == 1) {
    std::memcpy(out, levels, active * sizeof(std::int32_t));
    return;
  }
  for (std::size_t t = 0; t < taps; ++t) {
    for (std::size_t l = 0; l < active; ++l) out[l * taps + t] = levels[t * lanes + l];
  }
}

template <Kind kKind, std::size_t kVectors>
bool decode_groups(LaneTask& task) {
  const Model& model = *task.model;
  const Search<kKind> search(task);
  constexpr std::size_t kWidth = Lanes::kWidth, kLanes = kWidth * kVectors;
  const std::size_t taps = model.grid.taps;
  // The symbols that an excess follows: those below `inner` and beyond `last`; none if the window is closed.
  const Vector inner = Lanes::set(model.closed ? 0 : 1);
  const Vector last = Lanes::set(static_cast<std::int32_t>(model.symbols()) - (model.closed ? 0 : 2));
  Vector x[kVectors], kernel[kMaxTaps * kVectors];
  for (std::size_t v = 0; v < kVectors; ++v) x[v] = Lanes::load(task.states.data() + v * kWidth);
  alignas(64) std::int32_t levels[kMaxTaps * kLanes];
  const std::uint8_t* words = task.words;
  for (std::size_t first = task.first; first < task.last; first += kLanes) {
    const std::size_t active = task.last - first < kLanes ? task.last - first : kLanes;
    for (std::size_t t = 0; t < taps; ++t) {
      for (std::size_t v = 0; v < kVectors; ++v) {
        const std::size_t lane = v * kWidth, q = first + lane;
        if (lane >= active) break;
        const auto on = Lanes::only(active - lane);
        Vector offset = Lanes::set(0);
        Place place{offset, offset, offset};
        if constexpr (kKind != Kind::table) {
          Vector mean = Lanes::set(0);
          if constexpr (kKind == Kind::predicted) {
            mean = means_at(task, model.predictors[t], kernel + v, kVectors, q, t);
          }
          place.multiplier = multiplier_of(
              Lanes::add(Lanes::load_halves(task.kernel_scales + q), Lanes::set(model.tap_scales[t])));
          const Vector middle = Lanes::shift_right_signed(Lanes::add(mean, Lanes::set(8)), 4);
          offset = Lanes::sub(middle, Lanes::set(model.window));
          place.edge0 =
              Lanes::sub(Lanes::sub(Lanes::shift_left(offset, 4), mean), Lanes::set(8 + model.dead));
          place.zero = Lanes::sub(Lanes::set(0), offset);
        }
        const Vector slot = Lanes::bits_and(x[v], Lanes::set(0xffff));
        const Found f = search.find(place, slot);
        // A table may have one symbol of width 2^16.
        const Vector width = Lanes::sub(f.end, f.start), high = Lanes::shift_right(x[v], 16);
        Vector next = kKind == Kind::table ? Lanes::mul(width, high) : Lanes::mul_halves(width, high);
        next = Lanes::add(next, Lanes::sub(slot, f.start));
        x[v] = Lanes::refill(Lanes::choose(on, next, x[v]), on, words);
        Vector level = Lanes::add(f.symbol, offset);
        if constexpr (kKind != Kind::table) {
          const auto outer = Lanes::either(Lanes::less(f.symbol, inner), Lanes::less(last, f.symbol));
          const std::uint32_t outside = Lanes::bits(Lanes::both(outer, on));
          if (outside != 0) level = beyond_window(task, level, f.symbol, outside);
        }
        kernel[t * kVectors + v] = level;
        Lanes::store(levels + t * kLanes + lane, level);
      }
      if (words > task.words_end) return false;
    }
    write_out(task.out + first * taps, levels, active, taps, kLanes);
  }
  for (std::size_t v = 0; v < kVectors; ++v) Lanes::store(task.states.data() + v * kWidth, x[v]);
  task.words = words;
  return true;
}

template <std::size_t kVectors>
bool decode_vectors(LaneTask& task) {
  if (task.model->table) return decode_groups<Kind::table, kVectors>(task);
  if (task.model->predictors.empty()) return decode_groups<Kind::even, kVectors>(task);
  return decode_groups<Kind::predicted, kVectors>(task);
}

/// For as many lanes as fill one, two or four vectors.
bool decode_any(LaneTask& task) {
  if (task.lanes == Lanes::kWidth) return decode_vectors<1>(task);
  if constexpr (4 * Lanes::kWidth <= kMaxLanes) {
    if (task.lanes == 4 * Lanes::kWidth) return decode_vectors<4>(task);
  }
  return decode_vectors<2>(task);
}

}  // namespace
}  // namespace rdquant::codec
