#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

/// Prediction of the rows of a matrix from earlier rows that are like them: classes of a last layer resemble
/// each other. Which rows, and how much of each, follows from what has been decoded of the row; nothing is
/// sent. Integers only.
///
/// Rows are cut into blocks of 32 values. Before a block of a row, from the second on, the blocks before it
/// are compared with those of the last 1024 rows, which are kept at a mean square of 2^16. The eight of the
/// largest products |Σ x·y| predict the block by ridge regression on the blocks before it; later blocks keep
/// these rows and weights for up to an eighth of the way.
namespace rdquant::codec {

class References {
 public:
  static constexpr std::size_t kBlock = 32;
  static constexpr std::size_t kKept = 1024;  ///< rows
  static constexpr std::size_t kUsed = 8;     ///< of them at a time

  /// Whether rows are long enough to be compared, and short enough for sums of 64 bits.
  [[nodiscard]] static constexpr bool fit(std::size_t rows, std::size_t length) noexcept {
    return rows > 1 && length >= 2 * kBlock && length <= (std::size_t{1} << 20);
  }
  References(std::size_t rows, std::size_t length);

  /// What the next value is expected to be, in 1/16.
  [[nodiscard]] std::int32_t mean() {
    if (at_ % kBlock == 0) predict_block();
    return means_[at_ % kBlock];
  }
  /// The next value; beyond ±2047 it counts as that.
  void take(std::int32_t value) {
    row_[at_] =
        static_cast<std::int16_t>(value < -kLargest ? -kLargest : (value > kLargest ? kLargest : value));
    if (++at_ == length_) keep_row();
  }

 private:
  static constexpr std::int32_t kLargest = 2047;

  /// Block `b` of the kept row in `slot`.
  [[nodiscard]] const std::int16_t* block(std::size_t b, std::size_t slot) const noexcept {
    return kept_.data() + (b * slots_ + slot) * kBlock;
  }
  void predict_block();
  void choose();
  void weigh(std::size_t blocks);
  void keep_row();

  std::size_t length_, slots_;
  std::size_t rows_ = 0;                // that have been kept
  std::size_t at_ = 0;                  // in the row
  std::vector<std::int16_t> row_;       // filled up with zeros to whole blocks
  std::vector<std::int16_t> kept_;      // block by block, so that a comparison reads it from end to end
  std::vector<std::int64_t> products_;  // Σ x·y of each kept row with the blocks so far
  std::array<std::size_t, kUsed> used_{};
  std::array<std::int64_t, kUsed> weights_{};  // 1/2^16
  std::size_t count_ = 0;                      // of those used
  std::array<std::int32_t, kBlock> means_{};
};

}  // namespace rdquant::codec
