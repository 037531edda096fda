#include "rdquant/codec/levels.hpp"

#include <algorithm>
#include <bit>

#include "analyse.hpp"
#include "lanes.hpp"
#include "mixed.hpp"
#include "rdquant/core/parallel.hpp"
#include "trellis_code.hpp"

namespace rdquant::codec {
namespace {

enum Method : std::uint8_t { kConstant, kPacked, kFast, kMax };

constexpr std::uint64_t kMaxSize = std::uint64_t{1} << 40;
constexpr std::size_t kMaxRank = 32;

/// Whether levels, part by part, are a path of the trellis.
bool follows(const Trellis& trellis, const Grid& grid, std::span<const std::int32_t> levels) {
  const TrellisCode code = trellis_code(std::countr_zero(static_cast<unsigned>(trellis.states)));
  const auto chains = static_cast<std::size_t>(trellis.chains);
  const std::size_t part = rows_a_part(grid) * grid.cols;
  std::vector<std::uint8_t> states(chains * grid.taps);
  for (std::size_t first = 0; first < grid.kernels(); first += part) {
    std::fill(states.begin(), states.end(), std::uint8_t{0});
    const std::int32_t* level = levels.data() + first * grid.taps;
    for (std::size_t q = 0, chain = 0; q < std::min(part, grid.kernels() - first); ++q) {
      std::uint8_t* state = states.data() + chain * grid.taps;
      for (std::size_t t = 0; t < grid.taps; ++t, ++level, ++state) {
        if (*level < -kReach || *level > kReach || ((*state ^ *level) & 1) != 0) return false;
        *state = static_cast<std::uint8_t>(code.next(*state, *level));
      }
      if (++chain == chains) chain = 0;
    }
  }
  return true;
}

void check_trellis(const Trellis& trellis, const Grid& grid, std::span<const std::int32_t> levels) {
  core::require(trellis.states == 8 || trellis.states == 32, "a trellis has 8 or 32 states");
  core::require(trellis.chains >= 1 && trellis.chains <= std::max(grid.kernels(), kMaxLanes),
                "a trellis has at least one chain, and no more than kernels");
  core::require(follows(trellis, grid, levels),
                "the levels are no path of the trellis, or one of them is beyond ±8191");
}

void write_bits(Writer& out, std::span<const std::int32_t> values, std::int32_t least, int width) {
  std::uint64_t held = 0;
  int bits = 0;
  const std::uint64_t mask = (std::uint64_t{1} << width) - 1;
  for (const std::int32_t v : values) {
    held |= (static_cast<std::uint64_t>(static_cast<std::int64_t>(v) - least) & mask) << bits;
    for (bits += width; bits >= 8; bits -= 8, held >>= 8) out.byte(static_cast<std::uint8_t>(held));
  }
  if (bits > 0) out.byte(static_cast<std::uint8_t>(held));
}

/// The packed values one after the other.
class BitReader {
 public:
  BitReader(std::span<const std::uint8_t> bytes, int width) : bytes_(bytes), width_(width) {}
  [[nodiscard]] std::uint32_t next() {
    while (bits_ < width_) held_ |= static_cast<std::uint64_t>(bytes_[at_++]) << bits_, bits_ += 8;
    const std::uint64_t mask = (std::uint64_t{1} << width_) - 1;
    const auto value = static_cast<std::uint32_t>(held_ & mask);
    held_ >>= width_;
    bits_ -= width_;
    return value;
  }

 private:
  std::span<const std::uint8_t> bytes_;
  int width_;
  std::size_t at_ = 0;
  std::uint64_t held_ = 0;
  int bits_ = 0;
};

std::size_t packed_bytes(const Reader& in, std::uint64_t size, int width) {
  if (size > kMaxSize / 64) in.fail("too many packed levels");
  return static_cast<std::size_t>((size * static_cast<std::uint64_t>(width) + 7) / 8);
}

Cells cells_of(const Model& model) { return cells_for(model.table ? 0 : model.shape, model.symbols()); }

/// Model, parts and low bits: the body of methods 2 and 3.
std::vector<std::uint8_t> encode_modelled(const Analysis& a, std::span<const std::int32_t> levels,
                                          Profile profile, int threads) {
  const Model& model = a.model;
  const Grid& grid = model.grid;
  Writer out;
  write_model(out, model);
  std::size_t lanes = profile == Profile::fast ? lanes_for(grid.size()) : 1;
  if (model.trellis()) lanes = std::min(lanes, std::bit_floor(model.chains));
  out.byte(static_cast<std::uint8_t>(std::countr_zero(lanes)));
  const std::size_t rows = rows_a_part(grid), parts = (grid.rows + rows - 1) / rows;
  out.varint(rows);
  const Cells cells = cells_of(model);
  std::vector<std::vector<std::uint8_t>> coded(parts);
  core::parallel_for(parts, 1, threads, [&](std::size_t begin, std::size_t end) {
    for (std::size_t p = begin; p < end; ++p) {
      const std::size_t first = p * rows, count = std::min(rows, grid.rows - first);
      const std::int32_t* const from = a.coarse.data() + first * grid.cols * grid.taps;
      coded[p] = profile == Profile::fast ? encode_rows(model, cells, first, count, lanes, from)
                                          : encode_mixed(model, cells, first, count, from);
    }
  });
  for (const auto& part : coded) out.block(part);
  if (model.shift > 0) write_bits(out, levels, model.centre, model.shift);
  return out.take();
}

std::vector<std::uint8_t> encode_best(const Grid& grid, std::span<const std::int32_t> levels, Profile profile,
                                      int threads, const Trellis& trellis) {
  const std::size_t lanes = profile == Profile::max ? 1 : lanes_for(grid.size());
  if (trellis.states != 0)
    return encode_modelled(analyse(grid, levels, lanes, trellis), levels, profile, threads);
  Analysis computed = analyse(grid, levels, lanes);
  TableAnalysis table = analyse_table(grid, levels);
  if (table.fits && table.analysis.bits < computed.bits) {
    auto coded = encode_modelled(table.analysis, levels, profile, threads);
    // Both are estimates: near each other, only trying tells.
    if (table.analysis.bits < 0.97 * computed.bits) return coded;
    auto other = encode_modelled(computed, levels, profile, threads);
    return other.size() < coded.size() ? other : coded;
  }
  return encode_modelled(computed, levels, profile, threads);
}

LevelsHeader read_header(Reader& in, std::uint8_t& method) {
  LevelsHeader header;
  const std::uint8_t first = in.byte();
  method = first >> 4;
  if (method > kMax) in.fail("unknown method " + std::to_string(method));
  if ((first & 15) >= kLevelTypes) in.fail("unknown type " + std::to_string(first & 15));
  header.type = static_cast<LevelType>(first & 15);
  const std::uint64_t rank = in.bounded(kMaxRank, "number of dimensions");
  header.size = 1;
  bool empty = false;
  std::uint64_t others = 1;  // product of the dimensions that are not 0
  for (std::uint64_t i = 0; i < rank; ++i) {
    header.shape.push_back(in.bounded(kMaxSize, "dimension"));
    empty = empty || header.shape.back() == 0;
    if (header.shape.back() == 0) continue;
    if (others > kMaxSize / header.shape.back()) in.fail("a shape of more than 2^40 levels");
    others *= header.shape.back();
  }
  header.size = empty ? 0 : others;
  return header;
}

void decode_modelled(Reader& in, const Grid& grid, bool fast, std::span<std::int32_t> levels, int threads) {
  const Model model = read_model(in, grid);
  const std::uint8_t log_lanes = in.byte();
  if (log_lanes > 5) in.fail("2^" + std::to_string(log_lanes) + " lanes, allowed up to 32");
  const std::size_t lanes = std::size_t{1} << log_lanes;
  const auto rows = static_cast<std::size_t>(in.bounded(grid.rows, "rows of a part"));
  if (rows == 0) in.fail("parts of 0 rows");
  std::vector<std::span<const std::uint8_t>> parts;
  for (std::size_t first = 0; first < grid.rows; first += rows) parts.push_back(in.block());
  const auto low = in.take(model.shift > 0 ? packed_bytes(in, grid.size(), model.shift) : 0);
  const Cells cells = cells_of(model);
  core::parallel_for(parts.size(), 1, threads, [&](std::size_t begin, std::size_t end) {
    for (std::size_t p = begin; p < end; ++p) {
      const std::size_t first = p * rows, count = std::min(rows, grid.rows - first);
      std::int32_t* const to = levels.data() + first * grid.cols * grid.taps;
      Reader part(parts[p], in.section() + ", part " + std::to_string(p));
      if (fast) {
        decode_rows(model, cells, first, count, lanes, part, to);
      } else {
        decode_mixed(model, cells, first, count, parts[p], part, to);
      }
    }
  });
  if (model.shift > 0) {
    BitReader bits(low, model.shift);
    for (std::int32_t& v : levels) {
      const std::uint64_t wide =
          (static_cast<std::uint64_t>(static_cast<std::int64_t>(v)) << model.shift) | bits.next();
      v = static_cast<std::int32_t>(static_cast<std::uint32_t>(wide) +
                                    static_cast<std::uint32_t>(model.centre));
    }
  } else if (model.centre != 0) {
    for (std::int32_t& v : levels) {
      v = static_cast<std::int32_t>(static_cast<std::uint32_t>(v) + static_cast<std::uint32_t>(model.centre));
    }
  }
}

}  // namespace

std::vector<std::uint8_t> encode_levels(std::span<const std::int32_t> levels,
                                        std::span<const std::uint64_t> shape, LevelType type, Profile profile,
                                        int threads, Trellis trellis) {
  core::require(shape.size() <= kMaxRank, "levels have at most 32 dimensions");
  std::uint64_t size = 1;
  for (const std::uint64_t d : shape) size *= d;
  core::require(size == levels.size(), "the shape has another number of elements than the levels");
  Writer out;
  const auto start = [&](Method method) {
    out.byte(static_cast<std::uint8_t>(method * 16 + static_cast<int>(type)));
    out.varint(shape.size());
    for (const std::uint64_t d : shape) out.varint(d);
  };
  if (levels.empty()) {
    start(kConstant);
    return out.take();
  }
  if (trellis.states != 0) check_trellis(trellis, grid_of(shape), levels);
  const auto [least, most] = std::minmax_element(levels.begin(), levels.end());
  if (*least == *most) {
    start(kConstant);
    out.zigzag(*least);
    return out.take();
  }
  const int width = std::bit_width(static_cast<std::uint64_t>(static_cast<std::int64_t>(*most) - *least));
  const std::size_t packed = (levels.size() * static_cast<std::size_t>(width) + 7) / 8 + 2;
  std::vector<std::uint8_t> modelled;
  if (levels.size() > 8) modelled = encode_best(grid_of(shape), levels, profile, threads, trellis);
  if (modelled.empty() || modelled.size() >= packed) {
    start(kPacked);
    out.zigzag(*least);
    out.byte(static_cast<std::uint8_t>(width));
    write_bits(out, levels, *least, width);
    return out.take();
  }
  start(profile == Profile::fast ? kFast : kMax);
  out.append(modelled);
  return out.take();
}

LevelsHeader levels_header(std::span<const std::uint8_t> bytes) {
  Reader in(bytes, "levels");
  std::uint8_t method = 0;
  return read_header(in, method);
}

Trellis levels_trellis(std::span<const std::uint8_t> bytes) {
  Reader in(bytes, "levels");
  std::uint8_t method = 0;
  const LevelsHeader header = read_header(in, method);
  if (header.size == 0 || method < kFast) return {};
  const Model model = read_model(in, grid_of(header.shape));
  return {model.trellis() ? 1 << model.log_states : 0, model.chains};
}

void decode_levels(std::span<const std::uint8_t> bytes, std::span<std::int32_t> levels, int threads) {
  Reader in(bytes, "levels");
  std::uint8_t method = 0;
  const LevelsHeader header = read_header(in, method);
  core::require(header.size == levels.size(), "levels must have as many elements as were coded");
  if (header.size == 0) {
    in.finish();
    return;
  }
  if (method == kConstant) {
    std::fill(levels.begin(), levels.end(), in.zigzag32("level"));
  } else if (method == kPacked) {
    const std::int32_t least = in.zigzag32("least level");
    const int width = in.byte();
    if (width > 32) in.fail("a width of " + std::to_string(width) + " bits");
    BitReader bits(in.take(packed_bytes(in, header.size, width)), width);
    for (std::int32_t& v : levels)
      v = static_cast<std::int32_t>(static_cast<std::uint32_t>(least) + bits.next());
  } else {
    decode_modelled(in, grid_of(header.shape), method == kFast, levels, threads);
  }
  in.finish();
}

}  // namespace rdquant::codec
