#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "codec/rans/scalar_stream.hpp"
#include "codec/rans/streams.hpp"

namespace rdquant::codec {
namespace {

/// States are written as four bits, their width in bits less 17, and their bits below the leading one: about
/// four bits more than they are worth.
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

/// Symbol of a level under a prediction; what lies beyond the window goes to `excess`.
std::uint32_t symbol_of(const Model& model, std::int32_t level, std::int32_t mean, Writer& excess) {
  if (model.table) return static_cast<std::uint32_t>(level);
  const std::int32_t residual = level - rounded(mean);
  const std::int32_t window = model.window;
  if (!model.closed && (residual <= -window || residual >= window)) {
    excess.varint(static_cast<std::uint64_t>((residual < 0 ? -residual : residual) - window));
    return residual < 0 ? 0U : static_cast<std::uint32_t>(2 * window);
  }
  return static_cast<std::uint32_t>(residual + window);
}

/// The levels of some rows as intervals.
class Rows {
 public:
  Rows(const Tables& tables, std::unique_ptr<std::int16_t[]> scales, std::size_t slices,
       const std::int32_t* levels)
      : tables_(tables), taps_(tables.model.grid.taps), scales_(std::move(scales)), levels_(levels) {
    intervals_.reserve(slices * taps_);
    Writer excess;
    for (std::size_t q = 0; q < slices; ++q) {
      for (std::size_t t = 0; t < taps_; ++t) {
        const std::size_t before = excess.size();
        intervals_.push_back(interval(q, t, excess));
        if (excess.size() != before) beyond_.push_back(q * taps_ + t);
      }
    }
  }

  [[nodiscard]] std::size_t slices() const noexcept { return intervals_.size() / taps_; }
  [[nodiscard]] std::size_t taps() const noexcept { return taps_; }
  [[nodiscard]] Packed at(std::size_t q, std::size_t t) const noexcept { return intervals_[q * taps_ + t]; }
  [[nodiscard]] double bits(std::size_t q) const {
    double sum = 0.0;
    for (std::size_t t = 0; t < taps_; ++t) sum += 16.0 - std::log2(at(q, t) & 0xffff);
    return sum;
  }

  /// Excesses of slices [first, last) in the order in which `streams` streams decode them.
  void write_excess(std::size_t first, std::size_t last, std::size_t streams, Writer& out) const {
    const auto begin = std::lower_bound(beyond_.begin(), beyond_.end(), first * taps_);
    const auto end = std::lower_bound(begin, beyond_.end(), last * taps_);
    std::vector<std::size_t> order(begin, end);
    const auto place = [&](std::size_t i) {
      const std::size_t q = i / taps_ - first;
      return std::array{q / streams, i % taps_, q % streams};
    };
    std::sort(order.begin(), order.end(), [&](auto a, auto b) { return place(a) < place(b); });
    for (const std::size_t i : order) (void)interval(i / taps_, i % taps_, out);
  }

 private:
  Packed interval(std::size_t q, std::size_t t, Writer& excess) const {
    Prediction p = prediction_at(tables_.model, scales_.get(), q, t, levels_);
    std::int32_t level = levels_[q * taps_ + t];
    if (tables_.model.trellis()) {
      halve(p, (level & 1) != 0);
      level >>= 1;
    }
    const std::uint32_t symbol = symbol_of(tables_.model, level, p.mean, excess);
    const auto start_of = [&](std::uint32_t s) {
      return symbol_start(tables_.model, tables_.cells, p.mean, p.multiplier, s, p.dead);
    };
    const std::uint32_t start = start_of(symbol);
    return (start << 16) | (start_of(symbol + 1) - start);
  }

  const Tables& tables_;
  std::size_t taps_;
  std::unique_ptr<std::int16_t[]> scales_;
  const std::int32_t* levels_;
  std::vector<Packed> intervals_;
  std::vector<std::size_t> beyond_;  ///< places of residuals beyond the window
};

std::vector<std::uint8_t> encode_section(const Rows& rows, std::size_t first, std::size_t last,
                                         std::size_t streams, Writer& excess);

// Slices that cost almost nothing would all fit a tail, which would be tried again and again.
constexpr std::size_t kMostTail = 1024;
constexpr int kFineTries = 32;

/// As many of the slices before `last` as the first states of `streams` streams can hold, coded.
struct Tail {
  std::size_t slices = 0;
  std::vector<std::uint8_t> bytes;
};

Tail tail_of(const Rows& rows, std::size_t first, std::size_t last, std::size_t streams) {
  const double room = 16.0 * static_cast<double>(streams);
  std::size_t count = 0;
  for (double bits = 0.0; count < std::min(last - first, kMostTail); ++count) {
    bits += rows.bits(last - count - 1);
    if (bits > room) break;
  }
  for (int tries = 0; count > 0; count -= ++tries < kFineTries ? 1 : (count + 3) / 4) {
    Writer unused;
    Tail tail{count, encode_section(rows, last - count, last, tail_streams(streams), unused)};
    // The decoder knows the tail's end by its last byte, which is not 0.
    if (tail.bytes.size() <= 2 * streams && (tail.bytes.empty() || tail.bytes.back() != 0)) return tail;
  }
  return {};
}

/// Words of slices [first, last) in `states.size()` streams, reversed; the states become the decoder's first.
std::vector<std::uint8_t> push_streams(const Rows& rows, std::size_t first, std::size_t last,
                                       std::span<std::uint32_t> states) {
  const std::size_t streams = states.size();
  std::vector<std::uint8_t> words;
  words.reserve((last - first) * rows.taps());
  for (std::size_t group = (last - first + streams - 1) / streams; group-- > 0;) {
    const std::size_t from = first + group * streams, active = std::min(streams, last - from);
    for (std::size_t t = rows.taps(); t-- > 0;) {
      for (std::size_t stream = active; stream-- > 0;) {
        std::uint32_t& x = states[stream];
        const Packed interval = rows.at(from + stream, t);
        if ((x >> 16) >= (interval & 0xffff)) {
          words.push_back(static_cast<std::uint8_t>(x >> 8));
          words.push_back(static_cast<std::uint8_t>(x));
          x >>= 16;
        }
        x = pushed(x, interval);
      }
    }
  }
  return words;
}

std::vector<std::uint8_t> encode_section(const Rows& rows, std::size_t first, std::size_t last,
                                         std::size_t streams, Writer& excess) {
  if (streams == 1) {
    StreamEncoder stream;
    for (std::size_t q = last; q-- > first;) {
      for (std::size_t t = rows.taps(); t-- > 0;) stream.add(rows.at(q, t));
    }
    rows.write_excess(first, last, 1, excess);
    return stream.finish();
  }
  const Tail tail = tail_of(rows, first, last, streams);
  std::vector<std::uint32_t> states(streams, kTotal);
  for (std::size_t i = 0; i < tail.bytes.size(); ++i) {
    states[i / 2] |= static_cast<std::uint32_t>(tail.bytes[i]) << (8 * (i % 2));
  }
  const std::size_t middle = last - tail.slices;
  auto words = push_streams(rows, first, middle, states);
  std::reverse(words.begin(), words.end());
  Writer out;
  out.varint(tail.slices);
  write_states(out, states);
  out.append(words);
  rows.write_excess(first, middle, streams, excess);
  if (tail.slices > 0) (void)encode_section(rows, middle, last, tail_streams(streams), excess);
  return out.take();
}

}  // namespace

CodedRows encode_rows(const Tables& tables, std::size_t first_row, std::size_t rows, std::size_t streams,
                      const std::int32_t* levels) {
  return encode_slices(tables, slice_scales(tables.model, first_row, rows), rows * tables.model.grid.cols,
                       streams, levels);
}

CodedRows encode_slices(const Tables& tables, std::unique_ptr<std::int16_t[]> scales, std::size_t slices,
                        std::size_t streams, const std::int32_t* levels) {
  const Rows source(tables, std::move(scales), slices, levels);
  Writer excess;
  auto bytes = encode_section(source, 0, source.slices(), streams, excess);
  return {std::move(bytes), excess.take()};
}

}  // namespace rdquant::codec
