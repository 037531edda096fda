#include "rdquant/codec/levels.hpp"

#include <algorithm>
#include <bit>

#include "codec/fit/analyse.hpp"
#include "codec/format/bits.hpp"
#include "codec/format/level_parts.hpp"
#include "codec/format/share.hpp"
#include "codec/mixing/mixed.hpp"
#include "codec/mixing/references.hpp"
#include "codec/rans/streams.hpp"
#include "codec/rdo/trellis_code.hpp"
#include "codec/sparse/sparse.hpp"
#include "rdquant/core/parallel.hpp"

namespace rdquant::codec {
namespace {

/// Whether levels, part by part, are a path of the trellis.
bool follows(const Trellis& trellis, const Grid& grid, std::span<const std::int32_t> levels) {
  const TrellisCode code = trellis_code(std::countr_zero(static_cast<unsigned>(trellis.states)));
  const auto chains = static_cast<std::size_t>(trellis.chains);
  const std::size_t part = rows_a_part(grid) * grid.cols;
  std::vector<std::uint8_t> states(chains * grid.taps);
  for (std::size_t first = 0; first < grid.slices(); first += part) {
    std::fill(states.begin(), states.end(), std::uint8_t{0});
    const std::int32_t* level = levels.data() + first * grid.taps;
    for (std::size_t q = 0, chain = 0; q < std::min(part, grid.slices() - first); ++q) {
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
  core::require(trellis.chains >= 1 && trellis.chains <= std::max(grid.slices(), kMaxStreams),
                "a trellis has at least one chain, and no more than slices");
  core::require(follows(trellis, grid, levels),
                "the levels are not a path of the trellis, or one of them is beyond ±8191");
}

constexpr std::size_t kReferringSize = std::size_t{1} << 21;  // levels of a part of method 5, about

/// Rows of a part: of method 5 as many as refer to each other, whole paths of a trellis.
std::size_t rows_of(Method method, const Grid& grid) {
  const std::size_t rows = rows_a_part(grid);
  if (method != kReferring) return rows;
  const std::size_t parts = (grid.size() + kReferringSize - 1) / kReferringSize;
  return std::min(grid.rows, ((grid.rows + parts - 1) / parts + rows - 1) / rows * rows);
}

/// Model, parts and low bits: the body of methods 2, 3 and 5.
std::vector<std::uint8_t> encode_modelled(const Analysis& a, std::span<const std::int32_t> levels,
                                          Method method, int threads) {
  const Model& model = a.model;
  const Grid& grid = model.grid;
  Writer out;
  write_model(out, model);
  std::size_t streams = method == kFast ? streams_for(grid.size()) : 1;
  if (model.trellis()) streams = std::min(streams, std::bit_floor(model.chains));
  const std::size_t rows = rows_of(method, grid), parts = (grid.rows + rows - 1) / rows;
  const Tables tables(model);
  std::vector<CodedRows> coded(parts);
  core::parallel_for(parts, 1, threads, [&](std::size_t begin, std::size_t end) {
    for (std::size_t p = begin; p < end; ++p) {
      const std::size_t first = p * rows, count = std::min(rows, grid.rows - first);
      const std::int32_t* const from = a.coarse.data() + first * grid.cols * grid.taps;
      coded[p] = method == kFast
                     ? encode_rows(tables, first, count, streams, from)
                     : CodedRows{encode_mixed(tables, first, count, from, method == kReferring), {}};
    }
  });
  const bool excess =
      std::any_of(coded.begin(), coded.end(), [](const CodedRows& part) { return !part.excess.empty(); });
  out.byte(static_cast<std::uint8_t>(std::countr_zero(streams) | (parts > 1 ? kManyParts : 0) |
                                     (excess ? kExcesses : 0)));
  if (parts > 1) out.varint(rows);
  if (model.shift > 0) write_bits(out, levels, model.centre, model.shift);
  for (std::size_t p = 0; p < parts; ++p) {
    if (excess) out.block(coded[p].excess);
    if (p + 1 < parts) out.varint(coded[p].bytes.size());
    out.append(coded[p].bytes);
  }
  return out.take();
}

/// The body of a method from 2 on.
struct Body {
  Method method = kFast;
  std::vector<std::uint8_t> bytes;
};

constexpr double kSure =
    0.97;  // of two estimates, the larger one is not tried if the other is below this share

/// Profile max: `a` by method 3; then without those scales that it is smaller without, since it learns scales
/// while it codes; then by method 5, if that is smaller.
Body encode_mixing(Analysis a, std::span<const std::int32_t> levels, int threads) {
  constexpr std::size_t kLeastShare =
      64;  // share of the bytes that a model must take for coding without its scales to be tried
  Body body{kMax, encode_modelled(a, levels, kMax, threads)};
  Writer side;
  write_model(side, a.model);
  if (a.model.table) return body;
  if (side.size() * kLeastShare >= body.bytes.size()) {
    for (const bool rows : {false, true}) {
      Analysis other = a;
      auto& scales = rows ? other.model.row_scales : other.model.col_scales;
      std::fill(scales.begin(), scales.end(), rows ? median(scales) : 0);
      auto bytes = encode_modelled(other, levels, kMax, threads);
      if (bytes.size() >= body.bytes.size()) continue;
      body.bytes = std::move(bytes);
      a = std::move(other);
    }
  }
  if (!References::fit(a.model.grid.rows, a.model.grid.cols * a.model.grid.taps)) return body;
  auto bytes = encode_modelled(a, levels, kReferring, threads);
  return bytes.size() < body.bytes.size() ? Body{kReferring, std::move(bytes)} : body;
}

Body encode_dense(const Grid& grid, std::span<const std::int32_t> levels, Profile profile, int threads,
                  const Trellis& trellis) {
  const std::size_t streams = profile == Profile::max ? 1 : streams_for(grid.size());
  const auto encode = [&](const Analysis& a) {
    return profile == Profile::max ? encode_mixing(a, levels, threads)
                                   : Body{kFast, encode_modelled(a, levels, kFast, threads)};
  };
  if (trellis.states != 0) return encode(analyse(grid, levels, streams, trellis));
  Analysis computed = analyse(grid, levels, streams);
  TableAnalysis table = analyse_table(grid, levels);
  const auto closed = analyse_closed(grid, levels);
  double least = computed.bits;
  if (table.fits) least = std::min(least, table.analysis.bits);
  if (closed) least = std::min(least, closed->bits);
  // These are estimates: where they are close, both are tried.
  Body best;
  const auto attempt = [&](const Analysis& a) {
    if (kSure * a.bits > least) return;
    Body coded = encode(a);
    if (best.bytes.empty() || coded.bytes.size() < best.bytes.size()) best = std::move(coded);
  };
  attempt(computed);
  if (table.fits && table.analysis.bits < computed.bits) attempt(table.analysis);
  if (closed) attempt(*closed);
  return best;
}

/// Whether sparse levels are worth their time: profile fast decodes them half as fast as dense ones.
bool worth_sparse(std::size_t sparse, std::size_t dense, Profile profile) {
  constexpr std::size_t kLeastGain = 32;  // 1/32 of the bytes
  return profile == Profile::max ? sparse <= dense : sparse + dense / kLeastGain <= dense;
}

Body encode_best(const Grid& grid, std::span<const std::int32_t> levels, Profile profile, int threads,
                 const Trellis& trellis) {
  Body dense = encode_dense(grid, levels, profile, threads, trellis);
  const auto sparse = trellis.states == 0 ? analyse_sparse(grid, levels) : std::optional<SparseAnalysis>();
  if (!sparse) return dense;
  Body body{kSparse, encode_sparse(sparse->model, levels, profile, threads)};
  return worth_sparse(body.bytes.size(), dense.bytes.size(), profile) ? body : dense;
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
  const auto coded = open_levels(bytes, levels.size());
  share(coded->parts(), threads,
        [&](std::size_t p) { coded->decode(p, levels.subspan(coded->first(p), coded->size(p))); });
}

void decode_levels_into(std::span<const std::uint8_t> bytes, const TakeLevels& take, int threads) {
  const auto coded = open_levels(bytes, levels_header(bytes).size);
  share(coded->parts(), threads, [&](std::size_t p) {
    std::vector<std::int32_t> levels(coded->size(p));
    coded->decode(p, levels);
    take(coded->first(p), levels);
  });
}

}  // namespace rdquant::codec
