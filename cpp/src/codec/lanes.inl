// The lane decoder over vectors of lanes, for an instruction set that defines, before it includes this file,
// a type `Lanes` with these static members:
//   kWidth, Vector, Floats, Mask; set, set_floats, load, load_halves (signed 16-bit), store, gather (32-bit
//   elements), lookup (of eight elements held in a vector), add, add_where (to the elements of a mask), sub,
//   mul (32 bits), pairs (products of signed 16-bit halves, summed), mul_halves (of numbers below 2^16),
//   shift_left, shift_left_by (each by its own count), shift_right, shift_right_signed, bits_and, bits_or,
//   less, reaches (≥, without signs), both, choose, min, max, bits (of a mask), only (of a mask, the first
//   n), refill; to_floats, floats (bits that are such), to_ints (towards zero), times, minus, times_minus
//   (a·b − c), times_plus (a·b + c), reciprocal (about).
// decode_lanes_plain is the definition of what it computes.
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
    for (int again = 0;; ++again) {
      const auto wrong = Lanes::reaches(f.above, f.width);
      if (Lanes::bits(wrong) == 0) return f;
      if (again == 2) break;
      const auto low = Lanes::less(f.above, c_.zero);
      const Vector other = Lanes::choose(low, Lanes::sub(f.symbol, c_.one), Lanes::add(f.symbol, c_.one));
      f = around(p, Lanes::choose(wrong, other, f.symbol), slot);
    }
    return halving(p, slot);
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

  [[nodiscard, gnu::noinline]] Found halving(const Place& p, Vector slot) const {
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

/// Predictors of all taps, for products of pairs of taps.
class Means {
 public:
  explicit Means(const Model& model) {
    for (std::size_t t = 0; t < model.predictors.size(); ++t) {
      const Predictor& p = model.predictors[t];
      Tap& tap = taps_[t];
      tap.bias = 4 * p.bias + 2;
      tap.up = p.up & 0xffff;
      tap.pairs = (p.past.size() + 1) / 2;
      for (std::size_t j = 0; j < p.past.size(); j += 2) {
        const std::uint32_t before = j + 1 < p.past.size() ? static_cast<std::uint32_t>(p.past[j + 1]) : 0;
        tap.past[j / 2] =
            static_cast<std::int32_t>((static_cast<std::uint32_t>(p.past[j]) & 0xffff) | (before << 16));
      }
    }
  }

  /// Means of tap t, 1/16 level. `twos` + i·stride holds tap i in the lower and the one before it in the
  /// upper halves; `above` is the same tap in the row above, whose lanes are `apart` elements apart.
  [[nodiscard, gnu::always_inline]] Vector at(std::size_t t, const Vector* twos, std::size_t stride,
                                              const std::int32_t* above, std::int32_t apart,
                                              const Constants& c) const {
    const Tap& tap = taps_[t];
    Vector sum = Lanes::set(tap.bias);
    if (tap.up != 0) sum = Lanes::add(sum, Lanes::pairs(Lanes::strided(above, apart), Lanes::set(tap.up)));
    const Vector* two = twos + (t - 1) * stride;
    for (std::size_t j = 0; j < tap.pairs; ++j, two -= 2 * stride) {
      sum = Lanes::add(sum, Lanes::pairs(*two, Lanes::set(tap.past[j])));
    }
    return Lanes::min(Lanes::max(Lanes::shift_right_signed(sum, 2), c.least_mean), c.most_mean);
  }
  [[nodiscard]] bool uses_up(std::size_t t) const { return taps_[t].up != 0; }

 private:
  struct Tap {
    std::int32_t bias, up;
    std::size_t pairs;
    std::int32_t past[kMaxPast / 2];
  };
  Tap taps_[kMaxTaps];
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

/// Scales of the kernels from q on at a tap whose scale is `tap`.
[[gnu::always_inline]] inline Scale scale_at(const std::int16_t* kernel_scales, std::size_t q,
                                             std::int32_t tap) {
  const Vector multiplier = multiplier_of(Lanes::add(Lanes::load_halves(kernel_scales + q), Lanes::set(tap)));
  return {multiplier, Lanes::reciprocal(Lanes::to_floats(multiplier))};
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
[[gnu::always_inline]] inline Vector means_at(const LaneTask& task, const Means& means, const Vector* twos,
                                              std::size_t stride, std::size_t q, std::size_t t,
                                              const Constants& c) {
  const std::size_t taps = task.model->grid.taps, cols = task.model->grid.cols;
  if (!means.uses_up(t)) return means.at(t, twos, stride, nullptr, 0, c);
  if (q >= cols) {
    const std::int32_t* above = task.out + (q - cols) * taps + t;
    return means.at(t, twos, stride, above, static_cast<std::int32_t>(taps), c);
  }
  alignas(64) std::int32_t first_row[Lanes::kWidth] = {};  // nothing is above it
  for (std::size_t l = cols - q; l < Lanes::kWidth; ++l) first_row[l] = task.out[(q + l - cols) * taps + t];
  return means.at(t, twos, stride, first_row, 1, c);
}

/// Writes groups of levels, tap by tap, as kernel by kernel.
template <std::size_t kLanes>
class Output {
 public:
  explicit Output(std::size_t taps) : taps_(taps) {
    if (taps == 1) return;
    for (std::size_t l = 0, i = 0; l < kLanes; ++l) {
      for (std::size_t t = 0; t < taps; ++t) order_[i++] = static_cast<std::int32_t>(t * kLanes + l);
    }
  }
  /// `levels` of the first `active` lanes.
  [[gnu::always_inline]] void write(std::int32_t* out, const std::int32_t* levels, std::size_t active) const {
    if (taps_ == 1 && active == kLanes) {
      for (std::size_t l = 0; l < kLanes; l += Lanes::kWidth) Lanes::store(out + l, Lanes::load(levels + l));
      return;
    }
    if (active == kLanes) {
      const auto all = Lanes::only(Lanes::kWidth);
      for (std::size_t i = 0; i < taps_ * kLanes; i += Lanes::kWidth) {
        Lanes::store(out + i, Lanes::gather(all, levels, Lanes::load(order_ + i)));
      }
      return;
    }
    for (std::size_t l = 0; l < active; ++l) {
      for (std::size_t t = 0; t < taps_; ++t) out[l * taps_ + t] = levels[t * kLanes + l];
    }
  }

 private:
  std::size_t taps_;
  alignas(64) std::int32_t order_[kMaxTaps * kLanes];
};

/// Whether all taps have one scale, so that kernels have one.
inline bool even_taps(const Model& model) {
  const auto& scales = model.tap_scales;
  return std::all_of(scales.begin(), scales.end(), [&](std::int32_t s) { return s == scales[0]; });
}

template <Kind kKind>
[[gnu::always_inline]] inline Place place_at(const Search<kKind>& search, Vector mean, const Scale& scale,
                                             Vector& offset) {
  const Constants& c = search.constants();
  const Vector middle = Lanes::shift_right_signed(Lanes::add(mean, c.eight), 4);
  offset = Lanes::sub(middle, c.window);
  const Vector edge0 = Lanes::sub(Lanes::sub(Lanes::shift_left(offset, 4), mean), c.edge);
  return {edge0, Lanes::sub(c.zero, offset), scale};
}

template <Kind kKind, std::size_t kVectors>
bool decode_groups(LaneTask& task) {
  const Model& model = *task.model;
  const Search<kKind> search(task);
  const Constants& c = search.constants();
  constexpr std::size_t kWidth = Lanes::kWidth, kLanes = kWidth * kVectors;
  const std::size_t taps = model.grid.taps;
  const Means means(model);
  const Output<kLanes> output(taps);
  const bool closed = model.closed, even = kKind != Kind::table && even_taps(model);
  Vector x[kVectors], twos[kMaxTaps * kVectors];
  Scale scales[kVectors];
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
        Vector offset = c.zero;
        Place place{offset, offset, {}};
        if constexpr (kKind != Kind::table) {
          if (t == 0 || !even) scales[v] = scale_at(task.kernel_scales, q, model.tap_scales[t]);
          Vector mean = c.zero;
          if constexpr (kKind == Kind::predicted) mean = means_at(task, means, twos + v, kVectors, q, t, c);
          place = place_at(search, mean, scales[v], offset);
        }
        const Vector slot = Lanes::bits_and(x[v], c.half);
        const Found f = search.find(place, slot);
        // A table may have one symbol of width 2^16.
        const Vector high = Lanes::shift_right(x[v], 16);
        const Vector next = Lanes::add(
            kKind == Kind::table ? Lanes::mul(f.width, high) : Lanes::mul_halves(f.width, high), f.above);
        x[v] = Lanes::refill(Lanes::choose(on, next, x[v]), on, words);
        Vector level = Lanes::add(f.symbol, offset);
        if (kKind != Kind::table && !closed) {
          const std::uint32_t outside = Lanes::bits(Lanes::both(search.outermost(f.symbol), on));
          if (outside != 0) level = beyond_window(task, level, f.symbol, outside);
        }
        if constexpr (kKind == Kind::predicted) {
          const Vector before = t > 0 ? twos[(t - 1) * kVectors + v] : c.zero;
          twos[t * kVectors + v] =
              Lanes::bits_or(Lanes::bits_and(level, c.half), Lanes::shift_left(before, 16));
        }
        Lanes::store(levels + t * kLanes + lane, level);
      }
      if (words > task.words_end) return false;
    }
    output.write(task.out + first * taps, levels, active);
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
