#include "codec/rans/streams.hpp"

#include <algorithm>
#include <bit>

#include "codec/rans/scalar_stream.hpp"
#include "simd/dispatch.hpp"

namespace rdquant::codec {
namespace {

/// The symbol whose interval holds `slot`, or one near it.
std::uint32_t first_guess(const Tables& tables, const Prediction& p, std::uint32_t slot) {
  if (tables.model.table) {
    const std::uint32_t bin = tables.bins[slot / kBinSlots];
    return (bin >> 16) + (slot > (bin & 0xffff) ? 1 : 0);
  }
  const std::int32_t window = tables.model.window;
  const float fraction = static_cast<float>(p.mean - 16 * rounded(p.mean) + 8) / 16.0F;
  const float above = tables.guesses.at(slot, p.multiplier) + fraction + static_cast<float>(window);
  return static_cast<std::uint32_t>(std::clamp(static_cast<std::int32_t>(above), 0, 2 * window));
}

/// The symbol whose interval holds `slot`, from that of residual 0 outwards. Nothing depends on the slot but
/// the direction, which the processor guesses right more often than not.
Interval find_outwards(const Tables& tables, const Prediction& p, std::uint32_t slot) {
  const auto start_of = [&](std::uint32_t s) {
    return symbol_start(tables.model, tables.cells, p.mean, p.multiplier, s, p.dead);
  };
  auto symbol = static_cast<std::uint32_t>(tables.model.window);
  std::uint32_t first = start_of(symbol), next = start_of(symbol + 1);
  while (slot >= next) {  // the last symbol's interval ends at kTotal
    ++symbol;
    first = next;
    next = start_of(symbol + 1);
  }
  while (slot < first) {  // symbol 0 starts at 0
    --symbol;
    next = first;
    first = start_of(symbol);
  }
  return {symbol, first, next - first};
}

/// The prediction of level (slice q, tap t), halved where levels are the path of a trellis.
Prediction predicted(const StreamTask& task, std::size_t q, std::size_t t) {
  Prediction p = prediction_at(*task.model, task.slice_scales, q, t, task.out);
  if (task.model->trellis()) halve(p, task.chains->odd(q, t));
  return p;
}

/// The level that a symbol stands for at (slice q, tap t), by which its chain advances.
std::int32_t take_level(const StreamTask& task, const Prediction& p, std::uint32_t symbol, std::size_t q,
                        std::size_t t) {
  const std::int32_t coded = level_of(*task.model, p, symbol, *task.excess);
  if (!task.model->trellis()) return coded;
  const std::int32_t level = 2 * coded + (task.chains->odd(q, t) ? 1 : 0);
  task.chains->take(q, t, level);
  return level;
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

/// Slices of the task, one after the other, from a stream of one state; this is the definition.
void decode_single_plain(const StreamTask& task, StreamDecoder& stream) {
  const std::size_t taps = task.model->grid.taps;
  for (std::size_t q = task.first; q < task.last; ++q) {
    for (std::size_t t = 0; t < taps; ++t) {
      const Prediction p = predicted(task, q, t);
      const Interval found = find_interval(*task.tables, p, stream.slot());
      stream.take(found.start, found.width);
      task.out[q * taps + t] = take_level(task, p, found.symbol, q, t);
    }
  }
}

void decode_single(const StreamTask& task, StreamDecoder& stream) {
  if (task.model->table || task.model->trellis()) return decode_single_plain(task, stream);
  simd::selected(RDQUANT_VARIANTS(stream_kernels)).decode_single(task, stream);
}

bool decode_streams(StreamTask& task) {
  if (task.model->trellis()) return decode_streams_plain(task);
  const auto* const kernels =
      simd::selected_where(RDQUANT_VARIANTS(stream_kernels),
                           [&](const StreamKernels& k) { return k.least_streams <= task.streams; });
  return kernels == nullptr ? decode_streams_plain(task) : kernels->decode(task);
}

/// Slices of the task: those of the streams, then those that the streams' states hold.
void decode_section(StreamTask task, Reader& in) {
  if (task.streams == 1) {
    StreamDecoder stream(in.rest());
    decode_single(task, stream);
    if (!stream.finished()) in.fail("the stream does not end in its initial state");
    return;
  }
  const std::size_t end = task.last, streams = task.streams;
  task.last -= static_cast<std::size_t>(in.bounded(task.last - task.first, "slices of the tail"));
  read_states(in, std::span(task.states).first(streams));
  const auto words = in.rest();
  std::vector<std::uint8_t> padded(words.size() + kPadding);
  std::copy(words.begin(), words.end(), padded.begin());
  task.words = padded.data();
  task.words_end = padded.data() + words.size();
  if (!decode_streams(task)) in.fail("the words end before the levels");
  if (task.words != task.words_end) in.fail("words left over");
  std::array<std::uint8_t, 2 * kMaxStreams> tail{};
  std::size_t held = 0;
  for (std::size_t i = 0; i < streams; ++i) {
    if (task.states[i] >> 16 != 1)
      in.fail("stream " + std::to_string(i) + " does not end in its initial state");
    for (std::size_t b = 0; b < 2; ++b) {
      tail[2 * i + b] = static_cast<std::uint8_t>(task.states[i] >> (8 * b));
      if (tail[2 * i + b] != 0) held = 2 * i + b + 1;
    }
  }
  if (task.last == end) {
    if (held != 0) in.fail("streams hold more than the tail");
    return;
  }
  task.first = task.last;
  task.last = end;
  task.streams = tail_streams(streams);
  Reader rest(std::span<const std::uint8_t>(tail).first(held),
              in.section() + ", tail of " + std::to_string(streams) + " streams");
  decode_section(task, rest);
}

}  // namespace

// By halving, unless it is the guess or next to it.
Interval find_interval(const Tables& tables, const Prediction& p, std::uint32_t slot) {
  const Model& model = tables.model;
  if (!model.table && p.multiplier >= kNarrow) return find_outwards(tables, p, slot);
  const auto start_of = [&](std::uint32_t s) {
    return symbol_start(model, tables.cells, p.mean, p.multiplier, s, p.dead);
  };
  std::uint32_t guess = first_guess(tables, p, slot), first = start_of(guess), next = start_of(guess + 1);
  if (slot >= next) {
    ++guess;
    first = next;
    next = start_of(guess + 1);
  } else if (slot < first) {
    --guess;  // symbol 0 starts at 0
    next = first;
    first = start_of(guess);
  }
  if (first <= slot && slot < next) return {guess, first, next - first};
  std::uint32_t low = 0, high = model.symbols();
  Interval found{0, 0, kTotal};
  std::uint32_t end = kTotal;
  while (high - low > 1) {
    const std::uint32_t middle = (low + high) / 2;
    const std::uint32_t start = start_of(middle);
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

std::int32_t level_of(const Model& model, const Prediction& p, std::uint32_t symbol, Reader& excess) {
  auto level = static_cast<std::int32_t>(symbol);
  if (model.table) return level;
  level += rounded(p.mean) - model.window;
  const bool last = symbol == static_cast<std::uint32_t>(2 * model.window);
  return !model.closed && (symbol == 0 || last) ? with_excess(level, last, excess) : level;
}

Tables::Tables(const Model& m) : model(m) {
  if (!m.table) {
    cells = cells_for(m.shape, m.symbols(), m.one_sided);
    guesses = Guesses(m.shape, m.symbols(), m.one_sided);
    return;
  }
  std::uint32_t symbol = 0;
  for (std::uint32_t slot = 0; slot < kTotal; slot += kBinSlots) {
    while (m.cumulated[symbol + 1] <= slot) ++symbol;
    bins.push_back((symbol << 16) | (m.cumulated[symbol + 1] - 1));
  }
}

std::unique_ptr<std::int16_t[]> slice_scales(const Model& model, std::size_t first_row, std::size_t rows) {
  const std::size_t cols = model.grid.cols;
  auto scales = std::make_unique_for_overwrite<std::int16_t[]>(rows * cols + kMaxStreams);
  std::fill_n(scales.get() + rows * cols, kMaxStreams, std::int16_t{0});
  if (model.table) {
    std::fill_n(scales.get(), rows * cols, std::int16_t{0});
    return scales;
  }
  const std::vector<std::int16_t> of_cols(model.col_scales.begin(), model.col_scales.end());
  for (std::size_t o = 0; o < rows; ++o) {
    std::int16_t* const to = scales.get() + o * cols;
    const auto row = static_cast<std::int16_t>(model.row_scales[first_row + o]);
    for (std::size_t i = 0; i < cols; ++i) to[i] = static_cast<std::int16_t>(row + of_cols[i]);
  }
  return scales;
}

Prediction prediction_at(const Model& model, const std::int16_t* scales, std::size_t q, std::size_t t,
                         const std::int32_t* levels) noexcept {
  if (model.table) return {};
  const std::size_t taps = model.grid.taps;
  Prediction p;
  p.dead = model.dead;
  if (!model.predictors.empty()) {
    const std::int32_t* slice = levels + q * taps;
    const std::int32_t* above = q >= model.grid.cols ? slice - model.grid.cols * taps : nullptr;
    p.mean = predict(model.predictors[t], slice, t, above);
  }
  p.multiplier = kMultipliers[static_cast<std::size_t>(clamp_scale(scales[q] + model.tap_scales[t]))];
  return p;
}

std::int32_t with_excess(std::int32_t level, bool positive, Reader& excess) {
  const auto more = static_cast<std::int32_t>(
      excess.bounded(static_cast<std::uint64_t>(4) * kReach, "residual beyond the window"));
  level += positive ? more : -more;
  if (level < -2 * kReach || level > 2 * kReach) {
    excess.fail("level " + std::to_string(level) + " beyond the coarse range");
  }
  return level;
}

bool decode_streams_plain(StreamTask& task) {
  const Model& model = *task.model;
  const Tables& tables = *task.tables;
  const std::size_t taps = model.grid.taps;
  for (std::size_t first = task.first; first < task.last; first += task.streams) {
    const std::size_t active = std::min(task.streams, task.last - first);
    for (std::size_t t = 0; t < taps; ++t) {
      for (std::size_t stream = 0; stream < active; ++stream) {
        const std::size_t q = first + stream;
        const Prediction p = predicted(task, q, t);
        std::uint32_t& x = task.states[stream];
        const Interval found = find_interval(tables, p, x & 0xffff);
        x = found.width * (x >> 16) + (x & 0xffff) - found.start;
        if (x < kTotal) {
          x = (x << 16) | task.words[0] | (static_cast<std::uint32_t>(task.words[1]) << 8);
          task.words += 2;
        }
        task.out[q * taps + t] = take_level(task, p, found.symbol, q, t);
      }
      if (task.words > task.words_end) return false;
    }
  }
  return true;
}

void decode_rows(const Tables& tables, std::size_t first_row, std::size_t rows, std::size_t streams,
                 Reader& excess, Reader& in, std::int32_t* levels) {
  if (tables.model.uses_up() && tables.model.grid.cols < streams) {
    in.fail("prediction from a row that is not decoded yet");
  }
  if (tables.model.trellis() && tables.model.chains < streams) {
    in.fail("fewer chains of a trellis than streams");
  }
  const auto scales = slice_scales(tables.model, first_row, rows);
  decode_slices(tables, scales.get(), rows * tables.model.grid.cols, streams, excess, in, levels);
}

void decode_slices(const Tables& tables, const std::int16_t* scales, std::size_t slices, std::size_t streams,
                   Reader& excess, Reader& in, std::int32_t* levels) {
  ChainStates chains(tables.model, slices);
  StreamTask task;
  task.model = &tables.model;
  task.tables = &tables;
  task.last = slices;
  task.streams = streams;
  task.slice_scales = scales;
  task.excess = &excess;
  task.out = levels;
  task.chains = &chains;
  decode_section(task, in);
}

}  // namespace rdquant::codec
