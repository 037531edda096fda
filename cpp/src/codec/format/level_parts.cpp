#include "codec/format/level_parts.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "codec/format/bits.hpp"
#include "codec/mixing/mixed.hpp"
#include "codec/rans/streams.hpp"
#include "codec/sparse/sparse.hpp"

namespace rdquant::codec {
namespace {

std::size_t packed_bytes(const Reader& in, std::uint64_t size, int width) {
  if (size > kMaxSize / 64) in.fail("too many packed levels");
  return static_cast<std::size_t>((size * static_cast<std::uint64_t>(width) + 7) / 8);
}

/// The body of methods 2, 3 and 5, taken apart.
class Modelled final : public LevelParts {
 public:
  Modelled(Reader& in, const Grid& grid, Method method)
      : method_(method), section_(in.section()), model_(read_model(in, grid)), tables_(model_) {
    const std::uint8_t flags = in.byte();
    if ((flags & kLogStreams) > 5 || flags > (kLogStreams | kManyParts | kExcesses)) {
      in.fail("unknown flags of parts " + std::to_string(flags));
    }
    streams_ = std::size_t{1} << (flags & kLogStreams);
    rows_ = (flags & kManyParts) != 0 ? static_cast<std::size_t>(in.bounded(grid.rows, "rows of a part"))
                                      : grid.rows;
    if (rows_ == 0) in.fail("parts of 0 rows");
    low_ = in.take(model_.shift > 0 ? packed_bytes(in, grid.size(), model_.shift) : 0);
    for (std::size_t first = 0; first < grid.rows; first += rows_) {
      const auto excess = (flags & kExcesses) != 0 ? in.block() : std::span<const std::uint8_t>();
      parts_.push_back({excess, first + rows_ < grid.rows ? in.block() : in.rest()});
    }
  }

  [[nodiscard]] std::size_t parts() const noexcept override { return parts_.size(); }
  [[nodiscard]] std::size_t first(std::size_t p) const noexcept override { return p * rows_ * row_size(); }
  [[nodiscard]] std::size_t size(std::size_t p) const noexcept override { return rows(p) * row_size(); }

  void decode(std::size_t p, std::span<std::int32_t> levels) const override {
    Reader part(parts_[p].bytes, section_ + ", part " + std::to_string(p));
    if (method_ == kFast) {
      Reader excess(parts_[p].excess, section_ + ", excess of part " + std::to_string(p));
      decode_rows(tables_, p * rows_, rows(p), streams_, excess, part, levels.data());
      excess.finish();
    } else {
      decode_mixed(tables_, p * rows_, rows(p), parts_[p].bytes, part, levels.data(), method_ == kReferring);
    }
    const auto centre = static_cast<std::uint32_t>(model_.centre);
    if (model_.shift > 0) {
      add_low_bits(levels, low_, model_.shift, first(p), centre);
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

  Method method_;
  std::string section_;
  Model model_;
  Tables tables_;
  std::size_t streams_ = 1, rows_ = 1;
  std::span<const std::uint8_t> low_;
  std::vector<Part> parts_;
};

/// Methods 0 and 1: one part.
class Plain final : public LevelParts {
 public:
  /// `in` begins behind the header; all of it is read.
  Plain(Reader& in, Method method, std::size_t size) : size_(size) {
    least_ = in.zigzag32(method == kConstant ? "level" : "least level");
    if (method == kConstant) return;
    width_ = in.byte();
    if (width_ > 32) in.fail("a width of " + std::to_string(width_) + " bits");
    packed_ = in.take(packed_bytes(in, size, width_));
  }

  [[nodiscard]] std::size_t parts() const noexcept override { return size_ > 0 ? 1 : 0; }
  [[nodiscard]] std::size_t first(std::size_t) const noexcept override { return 0; }
  [[nodiscard]] std::size_t size(std::size_t) const noexcept override { return size_; }

  void decode(std::size_t, std::span<std::int32_t> levels) const override {
    if (width_ == 0) {
      std::fill(levels.begin(), levels.end(), least_);
      return;
    }
    BitReader bits(packed_, width_);
    for (std::int32_t& v : levels)
      v = static_cast<std::int32_t>(static_cast<std::uint32_t>(least_) + bits.next());
  }

 private:
  std::size_t size_;
  std::int32_t least_ = 0;
  int width_ = 0;
  std::span<const std::uint8_t> packed_;
};

/// No levels, no bytes.
class None final : public LevelParts {
 public:
  [[nodiscard]] std::size_t parts() const noexcept override { return 0; }
  [[nodiscard]] std::size_t first(std::size_t) const noexcept override { return 0; }
  [[nodiscard]] std::size_t size(std::size_t) const noexcept override { return 0; }
  void decode(std::size_t, std::span<std::int32_t>) const override {}
};

std::unique_ptr<LevelParts> open_body(Reader& in, Method method, const LevelsHeader& header) {
  if (header.size == 0) return std::make_unique<None>();
  if (method < kFast) return std::make_unique<Plain>(in, method, static_cast<std::size_t>(header.size));
  const Grid grid = grid_of(header.shape);
  if (method == kSparse) return std::make_unique<SparseLevels>(in, grid);
  return std::make_unique<Modelled>(in, grid, method);
}

}  // namespace

LevelsHeader read_header(Reader& in, Method& method) {
  LevelsHeader header;
  const std::uint8_t first = in.byte();
  if (first >> 4 > kReferring) in.fail("unknown method " + std::to_string(first >> 4));
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

std::unique_ptr<LevelParts> open_levels(std::span<const std::uint8_t> bytes, std::uint64_t size) {
  Reader in(bytes, "levels");
  Method method{};
  const LevelsHeader header = read_header(in, method);
  core::require(header.size == size, "levels must have as many elements as were coded");
  auto parts = open_body(in, method, header);
  in.finish();
  return parts;
}

}  // namespace rdquant::codec
