#include "rdquant/codec/levels.hpp"

#include <algorithm>
#include <bit>

#include "analyse.hpp"
#include "bits.hpp"
#include "lanes.hpp"
#include "mixed.hpp"
#include "rdquant/core/parallel.hpp"
#include "sparse.hpp"
#include "trellis_code.hpp"

namespace rdquant::codec {
namespace {

enum Method : std::uint8_t { kConstant, kPacked, kFast, kMax, kSparse };

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

std::size_t packed_bytes(const Reader& in, std::uint64_t size, int width) {
  if (size > kMaxSize / 64) in.fail("too many packed levels");
  return static_cast<std::size_t>((size * static_cast<std::uint64_t>(width) + 7) / 8);
}

enum PartFlag : std::uint8_t { kLogLanes = 7, kSeveral = 8, kExcess = 16 };

/// Model, parts and low bits: the body of methods 2 and 3.
std::vector<std::uint8_t> encode_modelled(const Analysis& a, std::span<const std::int32_t> levels,
                                          Profile profile, int threads) {
  const Model& model = a.model;
  const Grid& grid = model.grid;
  Writer out;
  write_model(out, model);
  std::size_t lanes = profile == Profile::fast ? lanes_for(grid.size()) : 1;
  if (model.trellis()) lanes = std::min(lanes, std::bit_floor(model.chains));
  const std::size_t rows = rows_a_part(grid), parts = (grid.rows + rows - 1) / rows;
  const Tables tables(model);
  std::vector<CodedRows> coded(parts);
  core::parallel_for(parts, 1, threads, [&](std::size_t begin, std::size_t end) {
    for (std::size_t p = begin; p < end; ++p) {
      const std::size_t first = p * rows, count = std::min(rows, grid.rows - first);
      const std::int32_t* const from = a.coarse.data() + first * grid.cols * grid.taps;
      coded[p] = profile == Profile::fast ? encode_rows(tables, first, count, lanes, from)
                                          : CodedRows{encode_mixed(tables, first, count, from), {}};
    }
  });
  const bool excess =
      std::any_of(coded.begin(), coded.end(), [](const CodedRows& part) { return !part.excess.empty(); });
  out.byte(static_cast<std::uint8_t>(std::countr_zero(lanes) | (parts > 1 ? kSeveral : 0) |
                                     (excess ? kExcess : 0)));
  if (parts > 1) out.varint(rows);
  if (model.shift > 0) write_bits(out, levels, model.centre, model.shift);
  for (std::size_t p = 0; p < parts; ++p) {
    if (excess) out.block(coded[p].excess);
    if (p + 1 < parts) out.varint(coded[p].bytes.size());
    out.append(coded[p].bytes);
  }
  return out.take();
}

/// The body of method 2, 3 or 4.
struct Body {
  Method method = kFast;
  std::vector<std::uint8_t> bytes;
};

std::vector<std::uint8_t> encode_dense(const Grid& grid, std::span<const std::int32_t> levels,
                                       Profile profile, int threads, const Trellis& trellis) {
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

Body encode_best(const Grid& grid, std::span<const std::int32_t> levels, Profile profile, int threads,
                 const Trellis& trellis) {
  const Method dense = profile == Profile::fast ? kFast : kMax;
  const auto sparse = trellis.states == 0 ? analyse_sparse(grid, levels) : std::optional<SparseAnalysis>();
  if (!sparse) return {dense, encode_dense(grid, levels, profile, threads, trellis)};
  Body body{kSparse, encode_sparse(sparse->model, levels, profile, threads)};
  auto other = encode_dense(grid, levels, profile, threads, trellis);
  return other.size() < body.bytes.size() ? Body{dense, std::move(other)} : body;
}

LevelsHeader read_header(Reader& in, Method& method) {
  LevelsHeader header;
  const std::uint8_t first = in.byte();
  if (first >> 4 > kSparse) in.fail("unknown method " + std::to_string(first >> 4));
  method = static_cast<Method>(first >> 4);
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

/// The body of methods 2 and 3, taken apart.
class Modelled {
 public:
  Modelled(Reader& in, const Grid& grid, bool fast)
      : fast_(fast), section_(in.section()), model_(read_model(in, grid)), tables_(model_) {
    const std::uint8_t flags = in.byte();
    if ((flags & kLogLanes) > 5 || flags > (kLogLanes | kSeveral | kExcess)) {
      in.fail("unknown flags of parts " + std::to_string(flags));
    }
    lanes_ = std::size_t{1} << (flags & kLogLanes);
    rows_ = (flags & kSeveral) != 0 ? static_cast<std::size_t>(in.bounded(grid.rows, "rows of a part"))
                                    : grid.rows;
    if (rows_ == 0) in.fail("parts of 0 rows");
    low_ = in.take(model_.shift > 0 ? packed_bytes(in, grid.size(), model_.shift) : 0);
    for (std::size_t first = 0; first < grid.rows; first += rows_) {
      const auto excess = (flags & kExcess) != 0 ? in.block() : std::span<const std::uint8_t>();
      parts_.push_back({excess, first + rows_ < grid.rows ? in.block() : in.rest()});
    }
  }

  [[nodiscard]] std::size_t parts() const noexcept { return parts_.size(); }
  /// Number of the first level of a part, and of levels in it.
  [[nodiscard]] std::size_t first(std::size_t p) const noexcept { return p * rows_ * row_size(); }
  [[nodiscard]] std::size_t size(std::size_t p) const noexcept { return rows(p) * row_size(); }

  void decode(std::size_t p, std::span<std::int32_t> levels) const {
    Reader part(parts_[p].bytes, section_ + ", part " + std::to_string(p));
    if (fast_) {
      Reader excess(parts_[p].excess, section_ + ", excess of part " + std::to_string(p));
      decode_rows(tables_, p * rows_, rows(p), lanes_, excess, part, levels.data());
      excess.finish();
    } else {
      decode_mixed(tables_, p * rows_, rows(p), parts_[p].bytes, part, levels.data());
    }
    const auto centre = static_cast<std::uint32_t>(model_.centre);
    if (model_.shift > 0) {
      BitReader bits(low_, model_.shift, first(p));
      for (std::int32_t& v : levels) {
        const std::uint64_t wide =
            (static_cast<std::uint64_t>(static_cast<std::int64_t>(v)) << model_.shift) | bits.next();
        v = static_cast<std::int32_t>(static_cast<std::uint32_t>(wide) + centre);
      }
    } else if (centre != 0) {
      for (std::int32_t& v : levels) v = static_cast<std::int32_t>(static_cast<std::uint32_t>(v) + centre);
    }
  }

 private:
  struct Part {
    std::span<const std::uint8_t> excess, bytes;
  };
  [[nodiscard]] std::size_t row_size() const noexcept { return model_.grid.cols * model_.grid.taps; }
  [[nodiscard]] std::size_t rows(std::size_t p) const noexcept {
    return std::min(rows_, model_.grid.rows - p * rows_);
  }

  bool fast_;
  std::string section_;
  Model model_;
  Tables tables_;
  std::size_t lanes_ = 1, rows_ = 1;
  std::span<const std::uint8_t> low_;
  std::vector<Part> parts_;
};

/// Calls `use` with the parts of methods 2, 3 and 4.
template <typename Use>
void with_parts(Reader& in, const Grid& grid, Method method, Use&& use) {
  if (method == kSparse) {
    use(SparseLevels(in, grid));
  } else {
    use(Modelled(in, grid, method == kFast));
  }
}

/// Methods 0 and 1; `in` stands behind the header.
void decode_plain(Reader& in, Method method, std::span<std::int32_t> levels) {
  if (method == kConstant) {
    std::fill(levels.begin(), levels.end(), in.zigzag32("level"));
    return;
  }
  const std::int32_t least = in.zigzag32("least level");
  const int width = in.byte();
  if (width > 32) in.fail("a width of " + std::to_string(width) + " bits");
  BitReader bits(in.take(packed_bytes(in, levels.size(), width)), width);
  for (std::int32_t& v : levels)
    v = static_cast<std::int32_t>(static_cast<std::uint32_t>(least) + bits.next());
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
  Body body;
  if (levels.size() > 8) {
    body = encode_best(grid_of(shape), levels, profile, threads, trellis);
    if (profile == Profile::max) {  // mixing has to learn, which small tensors and high rates do not pay for
      Body fast = encode_best(grid_of(shape), levels, Profile::fast, threads, trellis);
      if (fast.bytes.size() <= body.bytes.size()) body = std::move(fast);
    }
  }
  if (body.bytes.empty() || body.bytes.size() >= packed) {
    start(kPacked);
    out.zigzag(*least);
    out.byte(static_cast<std::uint8_t>(width));
    write_bits(out, levels, *least, width);
    return out.take();
  }
  start(body.method);
  out.append(body.bytes);
  return out.take();
}

LevelsHeader levels_header(std::span<const std::uint8_t> bytes) {
  Reader in(bytes, "levels");
  Method method{};
  return read_header(in, method);
}

Trellis levels_trellis(std::span<const std::uint8_t> bytes) {
  Reader in(bytes, "levels");
  Method method{};
  const LevelsHeader header = read_header(in, method);
  if (header.size == 0 || method < kFast || method == kSparse) return {};
  const Model model = read_model(in, grid_of(header.shape));
  return {model.trellis() ? 1 << model.log_states : 0, model.chains};
}

void decode_levels(std::span<const std::uint8_t> bytes, std::span<std::int32_t> levels, int threads) {
  Reader in(bytes, "levels");
  Method method{};
  const LevelsHeader header = read_header(in, method);
  core::require(header.size == levels.size(), "levels must have as many elements as were coded");
  if (header.size > 0 && method < kFast) decode_plain(in, method, levels);
  if (header.size > 0 && method >= kFast) {
    with_parts(in, grid_of(header.shape), method, [&](const auto& parts) {
      in.finish();
      core::parallel_for(parts.parts(), 1, threads, [&](std::size_t begin, std::size_t end) {
        for (std::size_t p = begin; p < end; ++p) {
          parts.decode(p, levels.subspan(parts.first(p), parts.size(p)));
        }
      });
    });
  }
  in.finish();
}

void decode_levels_into(std::span<const std::uint8_t> bytes, const TakeLevels& take, int threads) {
  Reader in(bytes, "levels");
  Method method{};
  const LevelsHeader header = read_header(in, method);
  if (header.size == 0 || method < kFast) {
    std::vector<std::int32_t> levels(static_cast<std::size_t>(header.size));
    decode_levels(bytes, levels);
    take(0, levels);
    return;
  }
  with_parts(in, grid_of(header.shape), method, [&](const auto& parts) {
    in.finish();
    core::parallel_for(parts.parts(), 1, threads, [&](std::size_t begin, std::size_t end) {
      std::vector<std::int32_t> levels;
      for (std::size_t p = begin; p < end; ++p) {
        levels.resize(parts.size(p));
        parts.decode(p, levels);
        take(parts.first(p), levels);
      }
    });
  });
}

}  // namespace rdquant::codec
