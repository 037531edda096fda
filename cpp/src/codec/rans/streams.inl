// The decoder of interleaved streams, a vector of them at a time. Included by one file per instruction set, which sets
// RDQUANT_KERNELS_ISA. decode_streams_plain is the definition of what it computes.
#include "codec/rans/search.inl"
#include "simd/order.inl"

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
  [[nodiscard, gnu::always_inline]] I32 at(std::size_t t, const I32* twos, std::size_t stride,
                                           const std::int32_t* above, std::int32_t apart,
                                           const Constants& c) const {
    const Tap& tap = taps_[t];
    I32 sum = splat(tap.bias);
    if (tap.up != 0) sum += add_pairs(simd::load_strided(above, apart), splat(tap.up));
    const I32* two = twos + (t - 1) * stride;
    for (std::size_t j = 0; j < tap.pairs; ++j, two -= 2 * stride) {
      sum += add_pairs(*two, splat(tap.past[j]));
    }
    return min(max(sum >> 2, c.least_mean), c.most_mean);
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
inline I32 multiplier_of(I32 s) {
  alignas(64) static constexpr std::int32_t kEighths[16] = {524288, 571740, 623487, 679917, 741455, 808563,
                                                            881744, 961548, 524288, 571740, 623487, 679917,
                                                            741455, 808563, 881744, 961548};
  const I32 up = (kScales - 1) - clamp(s, 0, kScales - 1);
  const I32 eighth = simd::lookup_eight(kEighths, up & 7);
  const I32 scaled = shift_left_by(eighth, shift_right(up, 3));
  return shift_right(scaled + (1 << 15), 16);
}

/// Scales of the slices from q on at a tap whose scale is `tap`.
[[gnu::always_inline]] inline Scale scale_at(const std::int16_t* slice_scales, std::size_t q,
                                             std::int32_t tap) {
  const I32 multiplier = multiplier_of(simd::load_shorts(slice_scales + q) + tap);
  return {multiplier, about_inverse(to_float(multiplier))};
}

/// Levels whose symbols are the outermost two get what lies beyond the window.
inline I32 beyond_window(const StreamTask& task, I32 level, I32 symbol, std::uint32_t outside) {
  alignas(64) std::int32_t some[kWidth], symbols[kWidth];
  store(some, level);
  store(symbols, symbol);
  for (std::size_t l = 0; l < kWidth; ++l) {
    if ((outside >> l) & 1) some[l] = with_excess(some[l], symbols[l] != 0, *task.excess);
  }
  return simd::load(some);
}

/// Means of one vector of slices, q the first; the row above has been written, as a model that looks up has
/// at least as many columns as there are streams.
[[gnu::always_inline]] inline I32 means_at(const StreamTask& task, const Means& means, const I32* twos,
                                           std::size_t stride, std::size_t q, std::size_t t,
                                           const Constants& c) {
  const std::size_t taps = task.model->grid.taps, cols = task.model->grid.cols;
  if (!means.uses_up(t)) return means.at(t, twos, stride, nullptr, 0, c);
  if (q >= cols) {
    const std::int32_t* above = task.out + (q - cols) * taps + t;
    return means.at(t, twos, stride, above, static_cast<std::int32_t>(taps), c);
  }
  alignas(64) std::int32_t first_row[kWidth] = {};  // nothing is above it
  for (std::size_t l = cols - q; l < kWidth; ++l) first_row[l] = task.out[(q + l - cols) * taps + t];
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
      for (std::size_t l = 0; l < kStreams; l += kWidth) store(out + l, simd::load(levels + l));
      return;
    }
    if (active == kStreams) {
      const simd::Gather gather(core::gathers_in_vectors(), kStreams);
      for (std::size_t i = 0; i < taps_ * kStreams; i += kWidth) {
        store(out + i, gather(levels, simd::load(order_ + i)));
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

/// States of `on` that are below 2^16, and only these, take a word each.
[[gnu::always_inline]] inline I32 refill(I32 x, Mask on, const std::uint8_t*& words) {
  const Mask low = on & less_unsigned(x, splat(65536));
  const I32 filled = (x << 16) | simd::spread_words(words, low);
  words += 2 * static_cast<unsigned>(__builtin_popcount(bits(low)));
  return select(low, filled, x);
}

/// Whether all taps have one scale, so that slices have one.
inline bool even_taps(const Model& model) {
  const auto& scales = model.tap_scales;
  return std::all_of(scales.begin(), scales.end(), [&](std::int32_t s) { return s == scales[0]; });
}

template <Kind kKind, bool kListed>
[[gnu::always_inline]] inline Place place_at(const Search<kKind, kListed>& search, I32 mean,
                                             const Scale& scale, I32 row, I32& offset) {
  const Constants& c = search.c;
  const I32 above = mean + c.eight;
  offset = (above >> 4) - c.window;
  if constexpr (kListed && kKind == Kind::predicted) {
    row += add_pairs(above & c.fifteen, c.row);
  }
  const I32 edge0 = (offset << 4) - mean - c.edge;
  return {edge0, c.zero - offset, scale, row};
}

/// Levels of the symbols found: those at the ends of an open window stand for all beyond, which follow elsewhere.
template <Kind kKind, bool kListed>
[[gnu::always_inline]] inline I32 levels_of(const Search<kKind, kListed>& search, StreamTask& task,
                                            I32 symbol, I32 offset, Mask on, bool closed) {
  const I32 level = symbol + offset;
  if (kKind != Kind::table && !closed) {
    const std::uint32_t outside = bits(search.outermost(symbol) & on);
    if (outside != 0) return beyond_window(task, level, symbol, outside);
  }
  return level;
}

template <Kind kKind, bool kListed, std::size_t kVectors>
bool decode_groups(StreamTask& task) {
  const Model& model = *task.model;
  const Search<kKind, kListed> search(task);
  const Constants& c = search.c;
  constexpr std::size_t kStreams = kWidth * kVectors;
  const std::size_t taps = model.grid.taps;
  const Means means(model);
  const Output<kStreams> output(taps);
  const bool closed = model.closed, even = kKind != Kind::table && even_taps(model);
  I32 x[kVectors], twos[kMaxTaps * kVectors];
  Scale scales[kVectors] = {};
  I32 rows[kVectors] = {};
  for (std::size_t v = 0; v < kVectors; ++v) x[v] = simd::load_as<I32>(task.states.data() + v * kWidth);
  alignas(64) std::int32_t levels[kMaxTaps * kStreams];
  const std::uint8_t* words = task.words;
  for (std::size_t first = task.first; first < task.last; first += kStreams) {
    const std::size_t active = task.last - first < kStreams ? task.last - first : kStreams;
    for (std::size_t t = 0; t < taps; ++t) {
#pragma GCC unroll 4
      for (std::size_t v = 0; v < kVectors; ++v) {
        const std::size_t stream = v * kWidth, q = first + stream;
        if (stream >= active) break;
        const auto on = simd::mask_of_first(active - stream);
        I32 offset = c.zero;
        Place place{offset, offset, {}, {}};
        if constexpr (kKind != Kind::table) {
          if (t == 0 || !even) {
            scales[v] = scale_at(task.slice_scales, q, model.tap_scales[t]);
            if constexpr (kListed) {
              rows[v] = search.intervals().rows(task.slice_scales, q, model.tap_scales[t]);
            }
          }
          I32 mean = c.mean;
          if constexpr (kKind == Kind::predicted) mean = means_at(task, means, twos + v, kVectors, q, t, c);
          place = place_at(search, mean, scales[v], rows[v], offset);
        }
        const I32 slot = x[v] & c.half;
        const Found f = search.find(place, slot);
        // A table may have one symbol of width 2^16.
        const I32 high = shift_right(x[v], 16);
        const I32 next = (kKind == Kind::table ? f.width * high : mul_halves(f.width, high)) + f.above;
        x[v] = refill(select(on, next, x[v]), on, words);
        const I32 level = levels_of(search, task, f.symbol, offset, on, closed);
        if constexpr (kKind == Kind::predicted) {
          const I32 before = t > 0 ? twos[(t - 1) * kVectors + v] : c.zero;
          twos[t * kVectors + v] = (level & c.half) | (before << 16);
        }
        store(levels + t * kStreams + stream, level);
      }
      if (words > task.words_end) return false;
    }
    output.write(task.out + first * taps, levels, active);
  }
  for (std::size_t v = 0; v < kVectors; ++v) store_as(task.states.data() + v * kWidth, x[v]);
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
  if (task.streams == kWidth) return decode_vectors<1>(task);
  if constexpr (4 * kWidth <= kMaxStreams) {
    if (task.streams == 4 * kWidth) return decode_vectors<4>(task);
  }
  return decode_vectors<2>(task);
}

/// For a stream of one state.
void decode_alone(const StreamTask& alone, StreamDecoder& stream) {
  StreamTask task = alone;
  task.streams = kMaxStreams;
  const std::size_t taps = task.model->grid.taps;
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

namespace RDQUANT_KERNELS_ISA {
const StreamKernels stream_kernels = {
    .least_streams = kWidth, .decode = decode_any, .decode_single = decode_alone};
}
}  // namespace rdquant::codec
