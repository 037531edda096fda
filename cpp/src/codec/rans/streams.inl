// The lane decoder over vectors of lanes, for an instruction set that defines, before it includes this file,
// a type `Lanes` with these static members:
//   kWidth, Vector, Floats, Mask; set, set_floats, load, load_halves (signed 16-bit), store, strided, lookup
//   (of eight elements held in a vector), add, add_where (to the elements of a mask), sub, mul (32 bits),
//   pairs (products of signed 16-bit halves, summed), mul_halves (of numbers below 2^16), shift_left,
//   shift_left_by (each by its own count), shift_right, shift_right_signed, bits_and, bits_or, less, reaches
//   (≥, without signs), both, choose, min, max, bits (of a mask), only (of a mask, the first n), refill;
//   to_floats, floats (bits that are such), to_ints (towards zero), times, minus, times_minus (a·b − c),
//   times_plus (a·b + c), reciprocal (about); and a class Gather, called with a table of 32-bit elements and
//   places in it, not below 0.
// decode_streams_plain is the definition of what it computes.
#include "codec/rans/search.inl"

namespace rdquant::codec {
namespace {

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
  /// upper halves; `above` is the same tap in the row above, whose streams are `apart` elements apart.
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

/// Scales of the slices from q on at a tap whose scale is `tap`.
[[gnu::always_inline]] inline Scale scale_at(const std::int16_t* slice_scales, std::size_t q,
                                             std::int32_t tap) {
  const Vector multiplier = multiplier_of(Lanes::add(Lanes::load_halves(slice_scales + q), Lanes::set(tap)));
  return {multiplier, Lanes::reciprocal(Lanes::to_floats(multiplier))};
}

/// Levels whose symbols are the outermost two get what lies beyond the window.
inline Vector beyond_window(const StreamTask& task, Vector level, Vector symbol, std::uint32_t outside) {
  alignas(64) std::int32_t some[Lanes::kWidth], symbols[Lanes::kWidth];
  Lanes::store(some, level);
  Lanes::store(symbols, symbol);
  for (std::size_t l = 0; l < Lanes::kWidth; ++l) {
    if ((outside >> l) & 1) some[l] = with_excess(some[l], symbols[l] != 0, *task.excess);
  }
  return Lanes::load(some);
}

/// Means of one vector of slices, q the first; the row above has been written, as a model that looks up has
/// at least as many columns as there are streams.
[[gnu::always_inline]] inline Vector means_at(const StreamTask& task, const Means& means, const Vector* twos,
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

/// Writes groups of levels, tap by tap, as slice by slice.
template <std::size_t kStreams>
class Output {
 public:
  explicit Output(std::size_t taps) : taps_(taps) {
    if (taps == 1) return;
    for (std::size_t l = 0, i = 0; l < kStreams; ++l) {
      for (std::size_t t = 0; t < taps; ++t) order_[i++] = static_cast<std::int32_t>(t * kStreams + l);
    }
  }
  /// `levels` of the first `active` streams.
  [[gnu::always_inline]] void write(std::int32_t* out, const std::int32_t* levels, std::size_t active) const {
    if (taps_ == 1 && active == kStreams) {
      for (std::size_t l = 0; l < kStreams; l += Lanes::kWidth)
        Lanes::store(out + l, Lanes::load(levels + l));
      return;
    }
    if (active == kStreams) {
      const Lanes::Gather gather(kStreams);
      for (std::size_t i = 0; i < taps_ * kStreams; i += Lanes::kWidth) {
        Lanes::store(out + i, gather(levels, Lanes::load(order_ + i)));
      }
      return;
    }
    for (std::size_t l = 0; l < active; ++l) {
      for (std::size_t t = 0; t < taps_; ++t) out[l * taps_ + t] = levels[t * kStreams + l];
    }
  }

 private:
  std::size_t taps_;
  alignas(64) std::int32_t order_[kMaxTaps * kStreams];
};

/// Whether all taps have one scale, so that slices have one.
inline bool even_taps(const Model& model) {
  const auto& scales = model.tap_scales;
  return std::all_of(scales.begin(), scales.end(), [&](std::int32_t s) { return s == scales[0]; });
}

template <Kind kKind, bool kListed>
[[gnu::always_inline]] inline Place place_at(const Search<kKind, kListed>& search, Vector mean,
                                             const Scale& scale, Vector row, Vector& offset) {
  const Constants& c = search.c;
  const Vector above = Lanes::add(mean, c.eight);
  offset = Lanes::sub(Lanes::shift_right_signed(above, 4), c.window);
  if constexpr (kListed && kKind == Kind::predicted) {
    row = Lanes::add(row, Lanes::pairs(Lanes::bits_and(above, c.fifteen), c.row));
  }
  const Vector edge0 = Lanes::sub(Lanes::sub(Lanes::shift_left(offset, 4), mean), c.edge);
  return {edge0, Lanes::sub(c.zero, offset), scale, row};
}

/// Levels of the symbols found: those at the ends of an open window stand for all beyond, which follow elsewhere.
template <Kind kKind, bool kListed, typename On>
[[gnu::always_inline]] inline Vector levels_of(const Search<kKind, kListed>& search, StreamTask& task,
                                               Vector symbol, Vector offset, On on, bool closed) {
  const Vector level = Lanes::add(symbol, offset);
  if (kKind != Kind::table && !closed) {
    const std::uint32_t outside = Lanes::bits(Lanes::both(search.outermost(symbol), on));
    if (outside != 0) return beyond_window(task, level, symbol, outside);
  }
  return level;
}

template <Kind kKind, bool kListed, std::size_t kVectors>
bool decode_groups(StreamTask& task) {
  const Model& model = *task.model;
  const Search<kKind, kListed> search(task);
  const Constants& c = search.c;
  constexpr std::size_t kWidth = Lanes::kWidth, kStreams = kWidth * kVectors;
  const std::size_t taps = model.grid.taps;
  const Means means(model);
  const Output<kStreams> output(taps);
  const bool closed = model.closed, even = kKind != Kind::table && even_taps(model);
  Vector x[kVectors], twos[kMaxTaps * kVectors];
  Scale scales[kVectors] = {};
  Vector rows[kVectors] = {};
  for (std::size_t v = 0; v < kVectors; ++v) x[v] = Lanes::load(task.states.data() + v * kWidth);
  alignas(64) std::int32_t levels[kMaxTaps * kStreams];
  const std::uint8_t* words = task.words;
  for (std::size_t first = task.first; first < task.last; first += kStreams) {
    const std::size_t active = task.last - first < kStreams ? task.last - first : kStreams;
    for (std::size_t t = 0; t < taps; ++t) {
#pragma GCC unroll 4
      for (std::size_t v = 0; v < kVectors; ++v) {
        const std::size_t stream = v * kWidth, q = first + stream;
        if (stream >= active) break;
        const auto on = Lanes::only(active - stream);
        Vector offset = c.zero;
        Place place{offset, offset, {}, {}};
        if constexpr (kKind != Kind::table) {
          if (t == 0 || !even) {
            scales[v] = scale_at(task.slice_scales, q, model.tap_scales[t]);
            if constexpr (kListed) {
              rows[v] = search.intervals().rows(task.slice_scales, q, model.tap_scales[t]);
            }
          }
          Vector mean = c.mean;
          if constexpr (kKind == Kind::predicted) mean = means_at(task, means, twos + v, kVectors, q, t, c);
          place = place_at(search, mean, scales[v], rows[v], offset);
        }
        const Vector slot = Lanes::bits_and(x[v], c.half);
        const Found f = search.find(place, slot);
        // A table may have one symbol of width 2^16.
        const Vector high = Lanes::shift_right(x[v], 16);
        const Vector next = Lanes::add(
            kKind == Kind::table ? Lanes::mul(f.width, high) : Lanes::mul_halves(f.width, high), f.above);
        x[v] = Lanes::refill(Lanes::choose(on, next, x[v]), on, words);
        const Vector level = levels_of(search, task, f.symbol, offset, on, closed);
        if constexpr (kKind == Kind::predicted) {
          const Vector before = t > 0 ? twos[(t - 1) * kVectors + v] : c.zero;
          twos[t * kVectors + v] =
              Lanes::bits_or(Lanes::bits_and(level, c.half), Lanes::shift_left(before, 16));
        }
        Lanes::store(levels + t * kStreams + stream, level);
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
bool decode_vectors(StreamTask& task) {
  if (task.model->table) return decode_groups<Kind::table, false, kVectors>(task);
  const bool even = has_one_mean(*task.model);
  if (are_few(task)) {
    return even ? decode_groups<Kind::even, true, kVectors>(task)
                : decode_groups<Kind::predicted, true, kVectors>(task);
  }
  return even ? decode_groups<Kind::even, false, kVectors>(task)
              : decode_groups<Kind::predicted, false, kVectors>(task);
}

/// For as many streams as fill one, two or four vectors.
bool decode_any(StreamTask& task) {
  if (task.streams == Lanes::kWidth) return decode_vectors<1>(task);
  if constexpr (4 * Lanes::kWidth <= kMaxStreams) {
    if (task.streams == 4 * Lanes::kWidth) return decode_vectors<4>(task);
  }
  return decode_vectors<2>(task);
}

/// For a stream of one state.
void decode_alone(StreamTask task, StreamDecoder& stream) {
  const std::size_t taps = task.model->grid.taps;
  task.streams = kMaxStreams;
  const Search<Kind::even> search(task);
  for (std::size_t q = task.first; q < task.last; ++q) {
    for (std::size_t t = 0; t < taps; ++t) {
      const Prediction p = prediction_at(*task.model, task.slice_scales, q, t, task.out);
      Interval found{};
      if (p.multiplier < kNarrow || !search.find_near(p, stream.slot(), found)) {
        found = find_interval(*task.tables, p, stream.slot());
      }
      stream.take(found.start, found.width);
      task.out[q * taps + t] = level_of(*task.model, p, found.symbol, *task.excess);
    }
  }
}

}  // namespace
}  // namespace rdquant::codec
