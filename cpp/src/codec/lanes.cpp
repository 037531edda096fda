#include "lanes.hpp"

#include <algorithm>
#include <bit>

#include "rdquant/core/cpu.hpp"
#include "trellis_code.hpp"

namespace rdquant::codec {
namespace {

/// Row + column scale of every kernel of the rows, and kMaxLanes zeros.
std::vector<std::int32_t> scales_of(const Model& model, std::size_t first_row, std::size_t rows) {
  const std::size_t cols = model.grid.cols;
  std::vector<std::int32_t> scales(rows * cols + kMaxLanes);
  if (model.table) return scales;
  for (std::size_t o = 0; o < rows; ++o) {
    const std::int32_t row = model.row_scales[first_row + o];
    for (std::size_t i = 0; i < cols; ++i) scales[o * cols + i] = row + model.col_scales[i];
  }
  return scales;
}

/// Whether the row above is decoded when a group of lanes starts.
bool up_allowed(const Model& model, std::size_t lanes) { return model.grid.cols >= lanes; }

/// What position (kernel q, tap t) is predicted with.
struct Prediction {
  std::int32_t mean = 0;
  std::int32_t multiplier = 0;
  std::int32_t dead = 0;
};

Prediction prediction_at(const Model& model, const std::int32_t* scales, std::size_t q, std::size_t t,
                         const std::int32_t* levels) {
  if (model.table) return {};
  const std::size_t taps = model.grid.taps;
  Prediction p;
  p.dead = model.dead;
  if (!model.predictors.empty()) {
    const std::int32_t* kernel = levels + q * taps;
    const std::int32_t* above = q >= model.grid.cols ? kernel - model.grid.cols * taps : nullptr;
    p.mean = predict(model.predictors[t], kernel, t, above);
  }
  p.multiplier = kMultipliers[static_cast<std::size_t>(clamp_scale(scales[q] + model.tap_scales[t]))];
  return p;
}

/// The prediction of the halved level of a trellis that allows odd levels, or even ones.
void halve(Prediction& p, bool odd) {
  p.mean = halved_mean(p.mean, odd);
  if (odd) p.dead = 0;
}

/// The symbol whose interval holds `slot`.
Interval find(const Model& model, const Cells& cells, const Prediction& p, std::uint32_t slot) {
  std::uint32_t low = 0, high = model.symbols();
  Interval found{0, 0, kTotal};
  std::uint32_t end = kTotal;
  while (high - low > 1) {
    const std::uint32_t middle = (low + high) / 2;
    const std::uint32_t start = symbol_start(model, cells, p.mean, p.multiplier, middle, p.dead);
    if (start <= slot) {
      low = middle;
      found.start = start;
    } else {
      high = middle;
      end = start;
    }
  }
  found.symbol = low;
  found.width = end - found.start;
  return found;
}

/// States are written as four bits, their width in bits less 17, and their bits below the leading one: five
/// bits a lane less than they take in memory.
void write_states(Writer& out, std::span<const std::uint32_t> states) {
  std::uint64_t held = 0;
  int bits = 0;
  for (const std::uint32_t x : states) {
    const int width = std::bit_width(x);
    held |=
        (static_cast<std::uint64_t>(width - 17) | (static_cast<std::uint64_t>(x & ~(1U << (width - 1))) << 4))
        << bits;
    for (bits += width + 3; bits >= 8; bits -= 8, held >>= 8) out.byte(static_cast<std::uint8_t>(held));
  }
  if (bits > 0) out.byte(static_cast<std::uint8_t>(held));
}

void read_states(Reader& in, std::span<std::uint32_t> states) {
  std::uint64_t held = 0;
  int bits = 0;
  const auto take = [&](int width) {
    for (; bits < width; bits += 8) held |= static_cast<std::uint64_t>(in.byte()) << bits;
    const auto value = static_cast<std::uint32_t>(held & ((std::uint64_t{1} << width) - 1));
    held >>= width;
    bits -= width;
    return value;
  };
  for (std::uint32_t& x : states) {
    const int below = static_cast<int>(take(4)) + 16;
    x = (1U << below) | take(below);
  }
}

using Kernel = bool (*)(LaneTask&);

Kernel kernel_for(const Model& model, [[maybe_unused]] std::size_t lanes) {
  if (model.trellis()) return decode_lanes_plain;
#if defined(__x86_64__)
  const core::Isa isa = core::selected_isa();
  if (lanes >= 16 && isa == core::Isa::avx512) return decode_lanes_avx512;
  if (lanes >= 8 && isa >= core::Isa::avx2) return decode_lanes_avx2;
#endif
  return decode_lanes_plain;
}

/// Symbol of a level under a prediction; what lies beyond the window goes to `excess`.
std::uint32_t symbol_of(const Model& model, std::int32_t level, std::int32_t mean, Writer& excess) {
  if (model.table) return static_cast<std::uint32_t>(level);
  const std::int32_t residual = level - rounded(mean);
  const std::int32_t window = model.window;
  if (residual <= -window || residual >= window) {
    excess.varint(static_cast<std::uint64_t>((residual < 0 ? -residual : residual) - window));
    return residual < 0 ? 0U : static_cast<std::uint32_t>(2 * window);
  }
  return static_cast<std::uint32_t>(residual + window);
}

}  // namespace

std::int32_t with_excess(std::int32_t level, bool positive, Reader& excess) {
  const auto more = static_cast<std::int32_t>(
      excess.bounded(static_cast<std::uint64_t>(4) * kReach, "residual beyond the window"));
  level += positive ? more : -more;
  if (level < -2 * kReach || level > 2 * kReach) {
    excess.fail("level " + std::to_string(level) + " beyond the coarse range");
  }
  return level;
}

bool decode_lanes_plain(LaneTask& task) {
  const Model& model = *task.model;
  const std::size_t taps = model.grid.taps, kernels = task.rows * model.grid.cols;
  ChainStates chains(model, kernels);
  for (std::size_t first = 0; first < kernels; first += task.lanes) {
    const std::size_t active = std::min(task.lanes, kernels - first);
    for (std::size_t t = 0; t < taps; ++t) {
      for (std::size_t lane = 0; lane < active; ++lane) {
        const std::size_t q = first + lane;
        Prediction p = prediction_at(model, task.kernel_scales, q, t, task.out);
        const bool odd = model.trellis() && chains.odd(q, t);
        if (model.trellis()) halve(p, odd);
        std::uint32_t& x = task.states[lane];
        const Interval found = find(model, *task.cells, p, x & 0xffff);
        x = found.width * (x >> 16) + (x & 0xffff) - found.start;
        if (x < kTotal) {
          x = (x << 16) | task.words[0] | (static_cast<std::uint32_t>(task.words[1]) << 8);
          task.words += 2;
        }
        auto level = static_cast<std::int32_t>(found.symbol);
        if (!model.table) {
          level += rounded(p.mean) - model.window;
          const bool last = found.symbol == static_cast<std::uint32_t>(2 * model.window);
          if (found.symbol == 0 || last) level = with_excess(level, last, *task.excess);
        }
        if (model.trellis()) {
          level = 2 * level + (odd ? 1 : 0);
          chains.take(q, t, level);
        }
        task.out[q * taps + t] = level;
      }
      if (task.words > task.words_end) return false;
    }
  }
  return true;
}

std::vector<std::uint8_t> encode_rows(const Model& model, const Cells& cells, std::size_t first_row,
                                      std::size_t rows, std::size_t lanes, const std::int32_t* levels) {
  const std::size_t taps = model.grid.taps, kernels = rows * model.grid.cols;
  const auto scales = scales_of(model, first_row, rows);
  std::vector<std::uint32_t> coded;  // start in the upper, width in the lower half, in the decoder's order
  coded.reserve(kernels * taps);
  Writer excess;
  for (std::size_t first = 0; first < kernels; first += lanes) {
    const std::size_t end = std::min(first + lanes, kernels);
    for (std::size_t t = 0; t < taps; ++t) {
      for (std::size_t q = first; q < end; ++q) {
        Prediction p = prediction_at(model, scales.data(), q, t, levels);
        std::int32_t level = levels[q * taps + t];
        if (model.trellis()) {
          halve(p, (level & 1) != 0);
          level >>= 1;
        }
        const std::uint32_t symbol = symbol_of(model, level, p.mean, excess);
        const std::uint32_t start = symbol_start(model, cells, p.mean, p.multiplier, symbol, p.dead);
        const std::uint32_t stop = symbol_start(model, cells, p.mean, p.multiplier, symbol + 1, p.dead);
        coded.push_back((start << 16) | (stop - start));
      }
    }
  }
  std::vector<std::uint32_t> states(lanes, kTotal);
  std::vector<std::uint8_t> words;  // reversed
  words.reserve(coded.size());
  const std::size_t tail = kernels % lanes == 0 ? lanes : kernels % lanes;
  std::size_t active = tail, at = coded.size();
  for (std::size_t group = (kernels + lanes - 1) / lanes; group-- > 0; active = lanes) {
    for (std::size_t step = taps * active; step-- > 0;) {
      std::uint32_t& x = states[step % active];
      const std::uint32_t start = coded[--at] >> 16, width = coded[at] & 0xffff;
      if ((x >> 16) >= width) {
        words.push_back(static_cast<std::uint8_t>(x >> 8));
        words.push_back(static_cast<std::uint8_t>(x));
        x >>= 16;
      }
      x = ((x / width) << 16) + start + x % width;
    }
  }
  std::reverse(words.begin(), words.end());
  Writer out;
  out.block(excess.take());
  write_states(out, states);
  out.append(words);
  return out.take();
}

void decode_rows(const Model& model, const Cells& cells, std::size_t first_row, std::size_t rows,
                 std::size_t lanes, Reader& in, std::int32_t* levels) {
  Reader excess(in.block(), in.section() + " (excess)");
  LaneTask task;
  task.model = &model;
  task.cells = &cells;
  task.first_row = first_row;
  task.rows = rows;
  task.lanes = lanes;
  read_states(in, std::span(task.states).first(lanes));
  if (model.uses_up() && !up_allowed(model, lanes)) in.fail("prediction from a row that is not decoded yet");
  if (model.trellis() && model.chains < lanes) in.fail("fewer chains of a trellis than lanes");
  const auto scales = scales_of(model, first_row, rows);
  const auto words = in.rest();
  std::vector<std::uint8_t> padded(words.size() + kPadding);
  std::copy(words.begin(), words.end(), padded.begin());
  task.kernel_scales = scales.data();
  task.words = padded.data();
  task.words_end = padded.data() + words.size();
  task.excess = &excess;
  task.out = levels;
  if (!kernel_for(model, lanes)(task)) in.fail("the words end before the levels");
  if (task.words != task.words_end) in.fail("words left over");
  for (std::size_t i = 0; i < lanes; ++i) {
    if (task.states[i] != kTotal) in.fail("lane " + std::to_string(i) + " does not end where it began");
  }
  excess.finish();
}

}  // namespace rdquant::codec
