#include "codec/sparse/sparse.hpp"

#include <algorithm>
#include <bit>
#include <limits>

#include "codec/format/bits.hpp"
#include "codec/mixing/mixed.hpp"
#include "codec/sparse/sparse_kernels.hpp"
#include "rdquant/core/parallel.hpp"
#include "simd/dispatch.hpp"

namespace rdquant::codec {
namespace {

enum SparseFlag : std::uint8_t { kMixed = 1, kSeveral = 2, kEven = 4, kExcess = 8, kStreams = 16 };

/// Streams of so many distances, which the format fixes.
std::size_t streams_of_distances(std::size_t size) {
  if (size >= std::size_t{1} << 17) return 32;
  if (size >= std::size_t{1} << 15) return 16;
  return size >= std::size_t{1} << 12 ? 8 : 1;
}

const SparseKernels& kernels() { return simd::selected(RDQUANT_VARIANTS(sparse_kernels)); }

constexpr int kMostSplit = 12, kMostKept = 7;

/// Scales of the elements of a part that are not 0 in `signs`, in order, and kMaxStreams more.
std::unique_ptr<std::int16_t[]> scales_of(const Model& model, std::size_t first_row,
                                          std::span<const std::int32_t> signs, std::size_t count) {
  static_assert(kBehind <= kMaxStreams);
  auto scales = std::make_unique<std::int16_t[]>(count + kMaxStreams);
  if (model.table) return scales;
  const std::size_t taps = model.grid.taps, row_size = model.grid.cols * taps;
  std::vector<std::int16_t> of_row;
  of_row.reserve(row_size + kBehind);
  for (std::size_t i = 0; i < model.grid.cols; ++i) {
    for (std::size_t t = 0; t < taps; ++t) {
      of_row.push_back(static_cast<std::int16_t>(model.col_scales[i] + model.tap_scales[t]));
    }
  }
  of_row.resize(row_size + kBehind);
  std::int16_t* next = scales.get();
  const std::int16_t* const end = next + count;
  const std::int32_t* sign = signs.data();
  for (std::size_t o = first_row; next < end; ++o, sign += row_size) {
    const auto row = static_cast<std::int16_t>(model.row_scales[o]);
    next = kernels().scales_of_row(sign, of_row.data(), row_size, row, next);
  }
  *next = 0;
  return scales;
}

/// The model of distances as that of a vector of `count` of them.
Model of_vector(const Model& model, std::size_t count, const std::int16_t* scales) {
  Model vector;
  vector.grid = {1, count, 1};
  vector.table = model.table;
  vector.one_sided = model.one_sided;
  vector.window = model.window;
  vector.shape = model.shape;
  vector.dead = model.dead;
  vector.cumulated = model.cumulated;
  vector.row_scales.assign(1, 0);
  vector.col_scales.assign(scales, scales + count);
  vector.tap_scales.assign(1, 0);
  return vector;
}

CodedRows encode_distances(const Model& model, std::size_t first_row, std::span<const std::int32_t> signs,
                           const std::vector<std::int32_t>& symbols, Profile profile) {
  auto scales = scales_of(model, first_row, signs, symbols.size());
  const Model vector = of_vector(model, symbols.size(), scales.get());
  const Tables tables(vector);
  if (profile == Profile::max) return {encode_mixed(tables, 0, 1, symbols.data()), {}};
  return encode_slices(tables, std::move(scales), symbols.size(), streams_of_distances(symbols.size()),
                       symbols.data());
}

/// What a part is coded as.
struct CodedPart {
  std::vector<std::uint8_t> signs, raw;
  CodedRows distances;
};

CodedPart encode_part(const SparseModel& model, const Tables& signs, std::size_t first_row, std::size_t rows,
                      std::span<const std::int32_t> levels, Profile profile) {
  std::vector<std::int32_t> coarse(levels.size()), symbols;
  Writer raw_bytes;
  BitWriter raw(raw_bytes);
  for (std::size_t i = 0; i < levels.size(); ++i) {
    const std::int64_t difference = static_cast<std::int64_t>(levels[i]) - model.common;
    coarse[i] = difference < 0 ? -1 : (difference > 0 ? 1 : 0);
    if (difference == 0 || model.even) continue;
    const Token token = model.token(static_cast<std::uint32_t>(std::abs(difference)) - model.least);
    symbols.push_back(static_cast<std::int32_t>(token.symbol));
    raw.add(token.raw, token.bits);
  }
  CodedPart part;
  if (std::all_of(coarse.begin(), coarse.end(), [](std::int32_t c) { return c == 0; })) return {};
  part.signs = profile == Profile::max
                   ? encode_mixed(signs, first_row, rows, coarse.data())
                   : encode_rows(signs, first_row, rows, model.streams, coarse.data()).bytes;
  if (!model.even) part.distances = encode_distances(model.distances, first_row, coarse, symbols, profile);
  raw.finish();
  part.raw = raw_bytes.take();
  return part;
}

SparseModel read_sparse_model(Reader& in, const Grid& grid, bool even) {
  SparseModel model;
  model.grid = grid;
  model.even = even;
  model.common = in.zigzag32("common level");
  model.least =
      static_cast<std::uint32_t>(in.bounded(std::numeric_limits<std::uint32_t>::max(), "least distance"));
  if (model.least == 0) in.fail("a least distance of 0");
  const auto plain = [&](const Model& m) {
    return !m.trellis() && m.predictors.empty() && (m.table || m.centre == 0);
  };
  model.signs = read_model(in, grid);
  if (!plain(model.signs) || !model.signs.closed || model.signs.window != 1 || model.signs.table ||
      model.signs.shift > 0) {
    in.fail("a model of signs that is not of −1, 0 and 1 alone");
  }
  if (even) return model;
  model.distances = read_model(in, grid);
  model.distances.one_sided = !model.distances.table;
  if (!plain(model.distances) || model.distances.closed) in.fail("a model that is not of distances");
  if (!model.distances.table) return model;
  const std::uint8_t layout = in.byte();
  model.layout = {layout / 16, layout % 16};
  if (model.distances.centre != 0 || model.distances.shift != 0 || model.layout.split > kMostSplit ||
      model.layout.kept > std::min(model.layout.split, kMostKept)) {
    in.fail("a layout of distances " + std::to_string(layout));
  }
  return model;
}

/// Takes a part's blocks; the last block of all has no length before it.
class Blocks {
 public:
  Blocks(Reader& in, std::size_t count) : in_(in), left_(count) {}
  [[nodiscard]] std::span<const std::uint8_t> next() { return --left_ > 0 ? in_.block() : in_.rest(); }

 private:
  Reader& in_;
  std::size_t left_;
};

/// Signs to levels, computed as `Number`s; one of those that 32 bits do not hold, or 0.
template <typename Number>
std::int64_t place_as(const SparseModel& model, const std::int32_t* distance,
                      std::span<std::int32_t> levels) {
  const auto common = static_cast<Number>(model.common), least = static_cast<Number>(model.least);
  const std::ptrdiff_t step = model.even ? 0 : 1;
  std::int64_t beyond = 0;
  for (std::int32_t& level : levels) {  // without a branch: signs may be like noise
    const Number there =
        common + level * (least + static_cast<Number>(static_cast<std::uint32_t>(*distance)));
    distance += level != 0 ? step : 0;
    level = static_cast<std::int32_t>(there);
    if (level != there) beyond = there;
  }
  return beyond;
}

std::size_t blocks_a_part(const SparseModel& model, bool excess) {
  return model.even ? 1 : 2 + (excess ? 1U : 0U) + (model.raw() ? 1U : 0U);
}

}  // namespace

Token SparseModel::token(std::uint32_t beyond) const noexcept {
  if (!distances.table) {
    return {(beyond >> distances.shift) + 1, beyond & ((std::uint32_t{1} << distances.shift) - 1),
            distances.shift};
  }
  if (beyond < (std::uint32_t{1} << layout.split)) return {beyond, 0, 0};
  const int width = std::bit_width(beyond) - 1, bits = width - layout.kept;
  const std::uint32_t top = (beyond >> bits) & ((std::uint32_t{1} << layout.kept) - 1);
  const auto over = static_cast<std::uint32_t>(width - layout.split);
  return {(std::uint32_t{1} << layout.split) + (over << layout.kept) + top,
          beyond & ((std::uint32_t{1} << bits) - 1), bits};
}

std::vector<std::uint8_t> encode_sparse(const SparseModel& model, std::span<const std::int32_t> levels,
                                        Profile profile, int threads) {
  const Grid& grid = model.grid;
  const std::size_t rows = rows_a_part(grid), parts = (grid.rows + rows - 1) / rows,
                    row_size = grid.cols * grid.taps;
  const Tables signs(model.signs);
  std::vector<CodedPart> coded(parts);
  core::parallel_for(parts, 1, threads, [&](std::size_t begin, std::size_t end) {
    for (std::size_t p = begin; p < end; ++p) {
      const std::size_t first = p * rows, count = std::min(rows, grid.rows - first);
      coded[p] = encode_part(model, signs, first, count, levels.subspan(first * row_size, count * row_size),
                             profile);
    }
  });
  const bool excess =
      std::any_of(coded.begin(), coded.end(), [](const CodedPart& p) { return !p.distances.excess.empty(); });
  Writer out;
  out.byte(static_cast<std::uint8_t>((profile == Profile::max ? kMixed : 0) | (parts > 1 ? kSeveral : 0) |
                                     (model.even ? kEven : 0) | (excess ? kExcess : 0) |
                                     std::countr_zero(model.streams) * kStreams));
  if (parts > 1) out.varint(rows);
  out.zigzag(model.common);
  out.varint(model.least);
  write_model(out, model.signs);
  if (!model.even) write_model(out, model.distances);
  if (!model.even && model.distances.table) {
    out.byte(static_cast<std::uint8_t>(model.layout.split * 16 + model.layout.kept));
  }
  std::size_t left = parts * blocks_a_part(model, excess);
  const auto put = [&](std::span<const std::uint8_t> bytes) {
    if (--left > 0) out.varint(bytes.size());
    out.append(bytes);
  };
  for (const CodedPart& part : coded) {
    put(part.signs);
    if (model.even) continue;
    if (excess) put(part.distances.excess);
    put(part.distances.bytes);
    if (model.raw()) put(part.raw);
  }
  return out.take();
}

SparseLevels::SparseLevels(Reader& in, const Grid& grid) : section_(in.section()) {
  const std::uint8_t flags = in.byte();
  if (flags / kStreams > std::countr_zero(kMaxStreams))
    in.fail("unknown flags of sparse levels " + std::to_string(flags));
  mixed_ = (flags & kMixed) != 0;
  rows_ =
      (flags & kSeveral) != 0 ? static_cast<std::size_t>(in.bounded(grid.rows, "rows of a part")) : grid.rows;
  if (rows_ == 0) in.fail("parts of 0 rows");
  model_ = read_sparse_model(in, grid, (flags & kEven) != 0);
  model_.streams = std::size_t{1} << (flags / kStreams);
  signs_.emplace(model_.signs);
  const bool excess = (flags & kExcess) != 0;
  const std::size_t parts = (grid.rows + rows_ - 1) / rows_;
  Blocks blocks(in, parts * blocks_a_part(model_, excess));
  for (std::size_t p = 0; p < parts; ++p) {
    Part part;
    part.signs = blocks.next();
    if (!model_.even) {
      if (excess) part.excess = blocks.next();
      part.distances = blocks.next();
      if (model_.raw()) part.raw = blocks.next();
    }
    parts_.push_back(part);
  }
}

Reader SparseLevels::reader(std::span<const std::uint8_t> bytes, const char* what, std::size_t p) const {
  return {bytes, section_ + ", " + what + " of part " + std::to_string(p)};
}

std::vector<std::int32_t> SparseLevels::distances(std::size_t p, std::span<const std::int32_t> signs) const {
  const auto count = static_cast<std::size_t>(static_cast<std::ptrdiff_t>(signs.size()) -
                                              std::count(signs.begin(), signs.end(), 0));
  std::vector<std::int32_t> symbols(count + kBehind);
  const auto scales = scales_of(model_.distances, p * rows_, signs, count);
  const Model vector = of_vector(model_.distances, mixed_ ? count : 0, scales.get());
  const Tables tables(vector);
  Reader in = reader(parts_[p].distances, "distances", p);
  if (mixed_) {
    decode_mixed(tables, 0, 1, in.rest(), in, symbols.data());
  } else {
    Reader excess = reader(parts_[p].excess, "excess", p);
    decode_slices(tables, scales.get(), count, streams_of_distances(count), excess, in, symbols.data());
    excess.finish();
  }
  add_raw(p, std::span(symbols).first(count));
  return symbols;
}

void SparseLevels::add_raw(std::size_t p, std::span<std::int32_t> symbols) const {
  const Reader at = reader(parts_[p].distances, "distances", p);
  Reader raw_bytes = reader(parts_[p].raw, "raw bits", p);
  CheckedBits raw(raw_bytes);
  const auto with_bits = [&](int width, std::uint64_t top) {
    const std::uint64_t distance = (top << width) | raw.next(width);
    if (distance > std::numeric_limits<std::uint32_t>::max()) at.fail("a distance of more than 32 bits");
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(distance));
  };
  const auto own = static_cast<std::int32_t>(1U << model_.layout.split);
  for (std::int32_t& symbol : symbols) {
    if (!model_.distances.table) {
      if (symbol < 1) at.fail("a distance below the least");
      symbol = with_bits(model_.distances.shift, static_cast<std::uint64_t>(symbol) - 1);
    } else if (symbol >= own) {
      const auto over = static_cast<std::uint32_t>(symbol - own);
      const int width = model_.layout.split + static_cast<int>(over >> model_.layout.kept);
      if (width > 31) at.fail("a distance of " + std::to_string(width + 1) + " bits");
      const std::uint32_t one = std::uint32_t{1} << model_.layout.kept;
      symbol = with_bits(width - model_.layout.kept, one | (over & (one - 1)));
    }
  }
  raw_bytes.finish();
}

void SparseLevels::place(std::size_t p, const std::vector<std::int32_t>& distances,
                         std::span<std::int32_t> levels) const {
  const std::int64_t common = model_.common, least = model_.least;
  std::uint32_t most = 0;
  for (const std::int32_t d : distances) most = std::max(most, static_cast<std::uint32_t>(d));
  const std::int64_t reach = std::abs(common) + least + most;
  if (reach <= std::numeric_limits<std::int32_t>::max()) {
    std::size_t taken = 0;
    const std::size_t done =
        kernels().place(distances.data(), model_.even, model_.common, static_cast<std::int32_t>(model_.least),
                        levels.data(), levels.size(), taken);
    (void)place_as<std::int32_t>(model_, distances.data() + taken, levels.subspan(done));
    return;
  }
  const std::int64_t beyond = place_as<std::int64_t>(model_, distances.data(), levels);
  if (beyond != 0) {
    reader(parts_[p].distances, "distances", p).fail("level " + std::to_string(beyond) + " beyond 32 bits");
  }
}

void SparseLevels::decode(std::size_t p, std::span<std::int32_t> levels) const {
  Reader signs = reader(parts_[p].signs, "signs", p);
  if (signs.left() == 0) {
    std::fill(levels.begin(), levels.end(), 0);
  } else if (mixed_) {
    decode_mixed(*signs_, p * rows_, rows(p), signs.rest(), signs, levels.data());
  } else {
    Reader none = reader({}, "signs", p);
    decode_rows(*signs_, p * rows_, rows(p), model_.streams, none, signs, levels.data());
  }
  place(p, model_.even ? std::vector<std::int32_t>(kBehind) : distances(p, levels), levels);
}

}  // namespace rdquant::codec
