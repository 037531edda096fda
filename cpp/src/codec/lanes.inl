// The lane decoder over vectors of lanes, for an instruction set that defines, before it includes this file,
// a type `Lanes` with these static members:
//   kWidth, Vector, Mask; set, load, store, gather (32-bit elements), add, sub, mul (32 bits), pairs
//   (products of signed 16-bit halves, summed), shift_left, shift_right, shift_right_signed, bits_and, less,
//   choose, min, max, bits (of a mask), only (of a mask, the first n), refill.
// decode_lanes_plain is the definition of what it computes.
#include "lanes.hpp"

namespace rdquant::codec {
namespace {

using Vector = Lanes::Vector;

struct Constants {
  Vector symbols, twice_dead, window, half_word;
  std::uint32_t first_step;
};

struct Found {
  Vector symbol, start, end;
};

/// Symbols whose intervals hold `slot`. `edge0`: lower edge of symbol 0 relative to the mean; `zero`: the
/// last symbol whose level is below 1.
template <bool kTable>
inline Found find(const LaneTask& task, const Constants& c, Vector edge0, Vector zero, Vector multiplier,
                  Vector slot) {
  Found f{Lanes::set(0), Lanes::set(0), Lanes::set(static_cast<std::int32_t>(kTotal))};
  for (std::uint32_t step = c.first_step; step > 0; step >>= 1) {
    const Vector next = Lanes::add(f.symbol, Lanes::set(static_cast<std::int32_t>(step)));
    Vector start;
    if constexpr (kTable) {
      start = Lanes::gather(task.model->cumulated.data(), Lanes::min(next, c.symbols));
    } else {
      Vector edge = Lanes::add(edge0, Lanes::shift_left(next, 4));
      edge = Lanes::choose(Lanes::less(zero, next), Lanes::add(edge, c.twice_dead), edge);
      Vector z = Lanes::shift_right_signed(Lanes::pairs(edge, multiplier), 5);
      z = Lanes::min(Lanes::max(z, Lanes::set(-16384)), Lanes::set(16383));
      const Vector at = Lanes::add(z, Lanes::set(16384));
      const Vector cell = Lanes::gather(task.cells->data(), Lanes::shift_right(at, 4));
      const Vector part =
          Lanes::pairs(Lanes::bits_and(cell, c.half_word), Lanes::bits_and(at, Lanes::set(15)));
      start = Lanes::add(next, Lanes::add(Lanes::shift_right(cell, 16), Lanes::shift_right(part, 4)));
    }
    const auto inside =
        Lanes::both(Lanes::less(next, c.symbols), Lanes::less(start, Lanes::add(slot, Lanes::set(1))));
    const auto beyond = Lanes::less(slot, start);
    f.symbol = Lanes::choose(inside, next, f.symbol);
    f.start = Lanes::choose(inside, start, f.start);
    f.end = Lanes::choose(Lanes::both(Lanes::less(next, c.symbols), beyond), start, f.end);
  }
  return f;
}

/// Means of tap t, 1/16 level, from the taps before it in `kernel` and the same tap in the row above, whose
/// lanes are `apart` elements apart.
inline Vector means(const Predictor& p, const Vector* kernel, std::size_t stride, std::size_t t,
                    const std::int32_t* above, std::int32_t apart) {
  Vector sum = Lanes::set(4 * p.bias + 2);
  if (p.up != 0) sum = Lanes::add(sum, Lanes::mul(Lanes::strided(above, apart), Lanes::set(p.up)));
  for (std::size_t j = 0; j < p.past.size(); ++j) {
    sum = Lanes::add(sum, Lanes::mul(kernel[(t - 1 - j) * stride], Lanes::set(p.past[j])));
  }
  const Vector mean = Lanes::shift_right_signed(sum, 2);
  return Lanes::min(Lanes::max(mean, Lanes::set(-16 * kReach)), Lanes::set(16 * kReach));
}

template <bool kTable, std::size_t kVectors>
bool decode_groups(LaneTask& task) {
  const Model& model = *task.model;
  constexpr std::size_t kWidth = Lanes::kWidth, kLanes = kWidth * kVectors;
  const std::size_t taps = model.grid.taps, cols = model.grid.cols, kernels = task.rows * cols;
  const bool predicts = !model.predictors.empty();
  Constants c{Lanes::set(static_cast<std::int32_t>(model.symbols())), Lanes::set(2 * model.dead),
              Lanes::set(model.window), Lanes::set(0xffff), 1};
  while (2 * c.first_step < model.symbols()) c.first_step *= 2;
  const std::int32_t* const multiplier_table = kMultipliers.data();
  Vector x[kVectors], kernel[kMaxTaps * kVectors];
  for (std::size_t v = 0; v < kVectors; ++v) x[v] = Lanes::load(task.states.data() + v * kWidth);
  alignas(64) std::int32_t levels[kMaxTaps * kLanes];
  const std::uint8_t* words = task.words;
  for (std::size_t first = 0; first < kernels; first += kLanes) {
    const std::size_t active = kernels - first < kLanes ? kernels - first : kLanes;
    for (std::size_t t = 0; t < taps; ++t) {
      for (std::size_t v = 0; v < kVectors; ++v) {
        const std::size_t lane = v * kWidth, q = first + lane;
        if (lane >= active) break;
        const auto on = Lanes::only(active - lane);
        Vector mean = Lanes::set(0), offset = Lanes::set(0), multiplier = Lanes::set(0);
        Vector edge0 = mean, zero = mean;
        if constexpr (!kTable) {
          if (predicts) {
            // A model that looks up has as many columns as lanes: the row above has been written.
            const Predictor& p = model.predictors[t];
            alignas(64) std::int32_t first_row[kWidth] = {};
            const std::int32_t* above = first_row;  // nothing is above it
            auto apart = static_cast<std::int32_t>(taps);
            if (p.up != 0 && q >= cols) {
              above = task.out + (q - cols) * taps + t;
            } else if (p.up != 0) {
              for (std::size_t l = cols - q; l < kWidth; ++l)
                first_row[l] = task.out[(q + l - cols) * taps + t];
              apart = 1;
            }
            mean = means(p, kernel + v, kVectors, t, above, apart);
          }
          const Vector s = Lanes::add(Lanes::load(task.kernel_scales + q), Lanes::set(model.tap_scales[t]));
          multiplier = Lanes::gather(multiplier_table,
                                     Lanes::min(Lanes::max(s, Lanes::set(0)), Lanes::set(kScales - 1)));
          const Vector middle = Lanes::shift_right_signed(Lanes::add(mean, Lanes::set(8)), 4);
          offset = Lanes::sub(middle, c.window);
          edge0 = Lanes::sub(Lanes::sub(Lanes::shift_left(offset, 4), mean), Lanes::set(8 + model.dead));
          zero = Lanes::sub(Lanes::set(0), offset);
        }
        const Vector slot = Lanes::bits_and(x[v], c.half_word);
        const Found f = find<kTable>(task, c, edge0, zero, multiplier, slot);
        Vector next = Lanes::mul(Lanes::sub(f.end, f.start), Lanes::shift_right(x[v], 16));
        next = Lanes::add(next, Lanes::sub(slot, f.start));
        next = Lanes::choose(on, next, x[v]);
        x[v] = Lanes::refill(next, on, words);
        Vector level = Lanes::add(f.symbol, offset);
        if constexpr (!kTable) {
          const auto outer = Lanes::either(
              Lanes::less(f.symbol, Lanes::set(1)),
              Lanes::less(Lanes::set(static_cast<std::int32_t>(model.symbols()) - 2), f.symbol));
          const std::uint32_t outside = Lanes::bits(Lanes::both(outer, on));
          if (outside != 0) {
            alignas(64) std::int32_t some[kWidth], symbols[kWidth];
            Lanes::store(some, level);
            Lanes::store(symbols, f.symbol);
            for (std::size_t l = 0; l < kWidth; ++l) {
              if ((outside >> l) & 1) some[l] = with_excess(some[l], symbols[l] != 0, *task.excess);
            }
            level = Lanes::load(some);
          }
        }
        kernel[t * kVectors + v] = level;
        Lanes::store(levels + t * kLanes + lane, level);
      }
      if (words > task.words_end) return false;
    }
    std::int32_t* const out = task.out + first * taps;
    if (taps == 1) {
      std::memcpy(out, levels, active * sizeof(std::int32_t));
    } else {
      for (std::size_t t = 0; t < taps; ++t) {
        for (std::size_t l = 0; l < active; ++l) out[l * taps + t] = levels[t * kLanes + l];
      }
    }
  }
  for (std::size_t v = 0; v < kVectors; ++v) Lanes::store(task.states.data() + v * kWidth, x[v]);
  task.words = words;
  return true;
}

template <std::size_t kVectors>
bool decode_vectors(LaneTask& task) {
  return task.model->table ? decode_groups<true, kVectors>(task) : decode_groups<false, kVectors>(task);
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
