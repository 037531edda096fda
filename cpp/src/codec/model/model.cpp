#include "codec/model/model.hpp"

#include <algorithm>

#include "codec/mixing/binary_coder.hpp"
#include "codec/rdo/trellis_code.hpp"

namespace rdquant::codec {
namespace {

enum Flag : std::uint8_t {
  kTable = 1,
  kPredicts = 2,
  kRows = 4,
  kCols = 8,
  kTaps = 16,
  kCentre = 32,
  kShift = 64,
  kTrellis = 128
};
constexpr std::uint8_t kClosed = 255;  // in place of shape and dead zone, which follow
constexpr std::uint8_t kCoded = kTable | kPredicts | kRows | kCols | kTaps;  // a block of codes follows

/// Whether any of some scales is not `base`, which they are if none is sent.
bool any_but(std::int32_t base, const std::vector<std::int32_t>& scales) {
  return std::any_of(scales.begin(), scales.end(), [&](std::int32_t s) { return s != base; });
}

/// Where the codes begin, from the models of a few networks: a small tensor ends before it has taught them.
struct Coders {
  static constexpr std::array<std::uint16_t, 8> kScaleWidths = {36000, 21000, 12000, 8000,
                                                                16000, 16000, 16000, 16000};
  static constexpr std::array<std::uint16_t, 8> kTapWidths = {61000, 57000, 51000, 43000,
                                                              29000, 12000, 4000,  2000};
  AdaptiveInteger bias{55700, kTapWidths}, up{63500, kTapWidths}, near{10600, kTapWidths},
      far{10200, kTapWidths};
  AdaptiveInteger row{12000, kScaleWidths}, col{16000, kScaleWidths}, tap{8000, kTapWidths};
  AdaptiveInteger count;
};

std::size_t past_of(std::size_t t) { return std::min(t, kMaxPast); }

void encode_predictors(BinaryEncoder& out, const Model& model, Coders& c) {
  for (std::size_t t = 0; t < model.predictors.size(); ++t) {
    const Predictor& p = model.predictors[t];
    c.bias.encode(out, p.bias);
    c.up.encode(out, p.up);
    for (std::size_t j = 0; j < past_of(t); ++j) {
      (j < 4 ? c.near : c.far).encode(out, j < p.past.size() ? p.past[j] : 0);
    }
  }
}

std::vector<Predictor> decode_predictors(BinaryDecoder& in, const Reader& at, std::size_t taps, Coders& c) {
  std::vector<Predictor> predictors(taps);
  const auto within = [&](std::int32_t value, std::int32_t limit) {
    if (value < -limit || value > limit) at.fail("coefficient " + std::to_string(value));
    return value;
  };
  for (std::size_t t = 0; t < taps; ++t) {
    Predictor& p = predictors[t];
    p.bias = within(c.bias.decode(in), 16 * kReach);
    p.up = within(c.up.decode(in), 255);
    p.past.resize(past_of(t));
    for (std::size_t j = 0; j < p.past.size(); ++j) {
      p.past[j] = within((j < 4 ? c.near : c.far).decode(in), 255);
    }
    while (!p.past.empty() && p.past.back() == 0) p.past.pop_back();
  }
  return predictors;
}

/// Offsets to `base`, in steps.
void encode_scales(BinaryEncoder& out, const std::vector<std::int32_t>& scales, std::int32_t base, int step,
                   AdaptiveInteger& coder) {
  for (const std::int32_t s : scales) coder.encode(out, (s - base) / step);
}

void decode_scales(BinaryDecoder& in, const Reader& at, std::vector<std::int32_t>& scales, std::int32_t base,
                   int step, AdaptiveInteger& coder) {
  for (std::int32_t& s : scales) {
    const std::int32_t offset = coder.decode(in);
    if (offset < -2 * kScales || offset > 2 * kScales) at.fail("scale " + std::to_string(offset));
    s = base + step * offset;
  }
}

void read_table(BinaryDecoder& in, const Reader& at, Model& model, std::size_t symbols, Coders& c) {
  model.cumulated.assign(1, 0);
  std::int64_t last = 0;  // a difference may have any 32 bits
  for (std::size_t i = 0; i < symbols; ++i) {
    last += c.count.decode(in);
    if (last < 0 || last > static_cast<std::int64_t>(kTotal)) at.fail("a count outside 0..65536");
    model.cumulated.push_back(model.cumulated.back() + static_cast<std::uint32_t>(last));
  }
  if (model.cumulated.back() != kTotal) at.fail("counts that do not sum to 65536");
}

void read_trellis(Reader& in, Model& model) {
  if (model.table || model.shift != 0 || model.centre != 0)
    in.fail("a trellis of shifted levels, or with a table");
  model.log_states = in.byte();
  if (!is_trellis(model.log_states)) {
    in.fail("a trellis of 2^" + std::to_string(model.log_states) + " states, allowed 8 and 32");
  }
  model.chains =
      static_cast<std::size_t>(in.bounded(std::max(model.grid.slices(), kMaxStreams), "number of chains"));
  if (model.chains == 0) in.fail("a trellis of 0 chains");
}

}  // namespace

Grid grid_of(std::span<const std::uint64_t> shape) {
  Grid grid{1, 1, 1};
  if (shape.empty()) return grid;
  const auto at = [&](std::size_t i) { return static_cast<std::size_t>(shape[i]); };
  if (shape.size() == 1) return {1, at(0), 1};
  for (std::size_t i = 2; i < shape.size(); ++i) grid.taps *= at(i);
  if (grid.taps <= kMaxTaps) return {at(0), at(1), grid.taps};
  std::size_t rows = 1;
  for (std::size_t i = 0; i + 1 < shape.size(); ++i) rows *= at(i);
  return {rows, at(shape.size() - 1), 1};
}

std::size_t rows_a_part(const Grid& grid) {
  const std::size_t parts = std::max<std::size_t>(1, (grid.size() + kPartSize / 2) / kPartSize);
  return (grid.rows + parts - 1) / parts;
}

std::size_t streams_for(std::size_t size) {
  if (size >= 4096) return 32;
  if (size >= 2048) return 16;
  return size >= 256 ? 8 : 1;
}

std::int32_t median(std::vector<std::int32_t> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

void write_model(Writer& out, const Model& model) {
  const bool computed = !model.table;
  const std::int32_t base = computed ? median(model.row_scales) : 0;
  const bool rows = computed && any_but(base, model.row_scales),
             cols = computed && any_but(0, model.col_scales), taps = computed && any_but(0, model.tap_scales);
  std::uint8_t flags = model.table ? kTable : 0;
  if (!model.predictors.empty()) flags |= kPredicts;
  if (rows) flags |= kRows;
  if (cols) flags |= kCols;
  if (taps) flags |= kTaps;
  if (model.centre != 0) flags |= kCentre;
  if (model.shift != 0) flags |= kShift;
  if (model.trellis()) flags |= kTrellis;
  out.byte(flags);
  if (model.shift != 0) out.byte(static_cast<std::uint8_t>(model.shift));
  if (model.centre != 0) out.zigzag(model.centre);
  if (model.trellis()) {
    out.byte(static_cast<std::uint8_t>(model.log_states));
    out.varint(model.chains);
  }
  BinaryEncoder coded;
  Coders c;
  if (model.table) {
    out.varint(model.symbols());
    std::int32_t last = 0;
    for (std::size_t i = 0; i + 1 < model.cumulated.size(); ++i) {
      const auto count = static_cast<std::int32_t>(model.cumulated[i + 1] - model.cumulated[i]);
      c.count.encode(coded, count - last);
      last = count;
    }
  } else {
    const bool wide = model.closed && model.window > 1;
    out.byte(static_cast<std::uint8_t>(model.closed && !wide ? 0 : model.window));
    if (wide) out.byte(kClosed);
    out.byte(static_cast<std::uint8_t>(model.shape * 16 + (model.dead + 8) / 2));
    out.byte(static_cast<std::uint8_t>(base));
    if (rows || cols) {
      out.byte(static_cast<std::uint8_t>((model.row_step - 1) * 4 + model.col_step - 1));
    }
    encode_predictors(coded, model, c);
    if (rows) encode_scales(coded, model.row_scales, base, model.row_step, c.row);
    if (cols) encode_scales(coded, model.col_scales, 0, model.col_step, c.col);
    if (taps) encode_scales(coded, model.tap_scales, 0, 1, c.tap);
  }
  if ((flags & kCoded) != 0) out.block(coded.finish());
}

Model read_model(Reader& in, const Grid& grid) {
  Model model;
  model.grid = grid;
  const std::uint8_t flags = in.byte();
  model.table = (flags & kTable) != 0;
  if (flags & kShift) model.shift = in.byte();
  if (model.shift > 30) in.fail("shift " + std::to_string(model.shift) + ", allowed up to 30");
  if (flags & kCentre) model.centre = in.zigzag32("centre");
  if (flags & kTrellis) read_trellis(in, model);
  Coders c;
  if (model.table) {
    const auto symbols = static_cast<std::size_t>(in.bounded(kMaxSymbols, "number of symbols"));
    BinaryDecoder coded(in.block());
    read_table(coded, in, model, symbols, c);
    return model;
  }
  model.window = in.byte();
  model.closed = model.window == 0;
  if (model.closed) model.window = 1;
  std::uint8_t packed = in.byte();
  if (packed == kClosed) {
    if (model.closed) in.fail("a window that is closed twice");
    model.closed = true;
    packed = in.byte();
  }
  model.shape = packed / 16;
  model.dead = (packed % 16) * 2 - 8;
  if (model.shape >= kShapes) in.fail("shape " + std::to_string(model.shape));
  const std::int32_t base = in.byte();
  if (flags & (kRows | kCols)) {
    const std::uint8_t steps = in.byte();
    if (steps > 15) in.fail("steps of scales " + std::to_string(steps));
    model.row_step = steps / 4 + 1;
    model.col_step = steps % 4 + 1;
  }
  BinaryDecoder coded((flags & kCoded) != 0 ? in.block() : std::span<const std::uint8_t>());
  if (flags & kPredicts) model.predictors = decode_predictors(coded, in, grid.taps, c);
  model.row_scales.assign(grid.rows, base);
  model.col_scales.assign(grid.cols, 0);
  model.tap_scales.assign(grid.taps, 0);
  if (flags & kRows) decode_scales(coded, in, model.row_scales, base, model.row_step, c.row);
  if (flags & kCols) decode_scales(coded, in, model.col_scales, 0, model.col_step, c.col);
  if (flags & kTaps) decode_scales(coded, in, model.tap_scales, 0, 1, c.tap);
  return model;
}

}  // namespace rdquant::codec
