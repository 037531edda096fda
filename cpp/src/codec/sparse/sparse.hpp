#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "codec/format/bytes.hpp"
#include "codec/format/level_parts.hpp"
#include "codec/model/model.hpp"
#include "codec/rans/streams.hpp"
#include "rdquant/codec/levels.hpp"

/// Levels most of which are the same (pruned networks): where the others lie and their signs, coded with
/// scales of rows, columns and taps, and how far they are from the common level, with scales of their own.
/// Format: method 4 in rdquant/codec/levels.hpp.
namespace rdquant::codec {

/// Distances without scales as symbols and raw bits, so that few symbols reach far: below 2^split a distance
/// is its own symbol, beyond it a symbol holds the width and the `kept` bits after the leading one.
struct Layout {
  int split = 0;  ///< 0 … 12
  int kept = 0;   ///< 0 … min(split, 7)
};
struct Token {
  std::uint32_t symbol = 0;
  std::uint32_t raw = 0;
  int bits = 0;  ///< of `raw`
};

struct SparseModel {
  Grid grid;
  std::int32_t common = 0;  ///< the level of most elements
  std::uint32_t least = 1;  ///< smallest distance from it of any other
  bool even = false;        ///< all distances are the smallest: there is no model of them
  Model signs;              ///< of −1, 0, 1
  std::size_t streams = 1;  ///< of signs, in profile fast
  Model distances;          ///< of the distances beyond the smallest; its grid is that of the tensor
  Layout layout;            ///< of distances with a table

  /// Whether symbols of distances can be followed by raw bits.
  [[nodiscard]] bool raw() const noexcept {
    return !even && (distances.table ? distances.symbols() > (1U << layout.split) : distances.shift > 0);
  }
  /// Symbol and raw bits of a distance less `least`.
  [[nodiscard]] Token token(std::uint32_t beyond) const noexcept;
};

/// The best model of levels more than half of which are the same; none where it would not pay.
struct SparseAnalysis {
  SparseModel model;
  double bits = 0.0;  ///< estimate of the coded size, model included
};
[[nodiscard]] std::optional<SparseAnalysis> analyse_sparse(const Grid& grid,
                                                           std::span<const std::int32_t> levels);

/// The body of method 4.
[[nodiscard]] std::vector<std::uint8_t> encode_sparse(const SparseModel& model,
                                                      std::span<const std::int32_t> levels, Profile profile,
                                                      int threads);

/// The body of method 4, taken apart.
class SparseLevels final : public LevelParts {
 public:
  /// @throws CorruptFile
  SparseLevels(Reader& in, const Grid& grid);

  [[nodiscard]] std::size_t parts() const noexcept override { return parts_.size(); }
  [[nodiscard]] std::size_t first(std::size_t p) const noexcept override { return p * rows_ * row_size(); }
  [[nodiscard]] std::size_t size(std::size_t p) const noexcept override { return rows(p) * row_size(); }
  void decode(std::size_t p, std::span<std::int32_t> levels) const override;

 private:
  struct Part {
    std::span<const std::uint8_t> signs, excess, distances, raw;
  };
  [[nodiscard]] std::size_t row_size() const noexcept { return model_.grid.cols * model_.grid.taps; }
  [[nodiscard]] std::size_t rows(std::size_t p) const noexcept {
    return std::min(rows_, model_.grid.rows - p * rows_);
  }
  /// Distances less the least of the elements that are not 0 in `signs`, 32 bits without a sign; one more
  /// element follows them.
  [[nodiscard]] std::vector<std::int32_t> distances(std::size_t p, std::span<const std::int32_t> signs) const;
  /// Symbols to distances less the least, with the raw bits of the part.
  void add_raw(std::size_t p, std::span<std::int32_t> symbols) const;
  [[nodiscard]] Reader reader(std::span<const std::uint8_t> bytes, const char* what, std::size_t p) const;
  /// Signs to levels.
  void place(std::size_t p, const std::vector<std::int32_t>& distances, std::span<std::int32_t> levels) const;

  std::string section_;
  SparseModel model_;
  bool mixed_ = false;
  std::size_t rows_ = 1;
  std::optional<Tables> signs_;
  std::vector<Part> parts_;
};

}  // namespace rdquant::codec
