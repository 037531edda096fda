#include "codec/mixing/references.hpp"

#include <algorithm>
#include <bit>
#include <cstdlib>

namespace rdquant::codec {
namespace {

constexpr std::size_t kOften = 8;          // blocks of a row before each of which rows are chosen
constexpr std::int64_t kRidge = 64;        // values that expect a weight of 0
constexpr int kSweeps = 6;                 // of Gauss and Seidel's
constexpr std::int64_t kMost = 1 << 19;    // of a weight, 1/2^16
constexpr std::int64_t kMostMean = 32767;  // of a prediction

/// Σ x·y of a block; values up to 2047.
std::int32_t product(const std::int16_t* x, const std::int16_t* y) noexcept {
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < References::kBlock; ++i) sum += x[i] * y[i];
  return sum;
}

/// ⌊√v⌋
std::uint64_t root(std::uint64_t v) noexcept {
  std::uint64_t r = 0;
  for (std::uint64_t bit = std::uint64_t{1} << 31; bit != 0; bit >>= 1) {
    if ((r | bit) * (r | bit) <= v) r |= bit;
  }
  return r;
}

}  // namespace

References::References(std::size_t rows, std::size_t length)
    : length_(length),
      slots_(std::min(rows, kKept)),
      row_((length + kBlock - 1) / kBlock * kBlock),
      kept_(row_.size() * slots_),
      products_(slots_) {}

void References::predict_block() {
  means_.fill(0);
  const std::size_t blocks = at_ / kBlock, known = std::min(rows_, slots_);
  if (blocks == 0 || known == 0) return;
  for (std::size_t slot = 0; slot < known; ++slot) {
    products_[slot] += product(row_.data() + (blocks - 1) * kBlock, block(blocks - 1, slot));
  }
  if (blocks % std::max<std::size_t>(1, std::bit_floor(blocks) / kOften) == 0) {
    choose();
    weigh(blocks);
  }
  std::array<std::int64_t, kBlock> sums{};
  for (std::size_t k = 0; k < count_; ++k) {
    const std::int16_t* const like = block(blocks, used_[k]);
    for (std::size_t i = 0; i < kBlock; ++i) sums[i] += weights_[k] * like[i];
  }
  for (std::size_t i = 0; i < kBlock; ++i) {
    means_[i] = static_cast<std::int32_t>(std::clamp((sums[i] + 2048) >> 12, -kMostMean, kMostMean));
  }
}

/// The rows of the largest products; of equal ones the first.
void References::choose() {
  const std::size_t known = std::min(rows_, slots_);
  std::array<std::int64_t, kUsed> merits{};
  count_ = 0;
  for (std::size_t slot = 0; slot < known; ++slot) {
    const std::int64_t merit = std::abs(products_[slot]);
    if (count_ == kUsed && merit <= merits[kUsed - 1]) continue;
    std::size_t k = count_ < kUsed ? count_++ : kUsed - 1;
    for (; k > 0 && merits[k - 1] < merit; --k) merits[k] = merits[k - 1], used_[k] = used_[k - 1];
    merits[k] = merit;
    used_[k] = slot;
  }
}

/// Their weights: (YᵀY + ridge)·w = Yᵀx over the blocks so far.
void References::weigh(std::size_t blocks) {
  std::array<std::array<std::int64_t, kUsed>, kUsed> gram{};
  for (std::size_t b = 0; b < blocks; ++b) {
    for (std::size_t k = 0; k < count_; ++k) {
      for (std::size_t l = 0; l <= k; ++l) gram[k][l] += product(block(b, used_[k]), block(b, used_[l]));
    }
  }
  for (std::size_t k = 0; k < count_; ++k) {
    for (std::size_t l = 0; l < k; ++l) gram[l][k] = gram[k][l];
  }
  weights_.fill(0);
  const auto values = static_cast<std::int64_t>(blocks * kBlock);
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    for (std::size_t k = 0; k < count_; ++k) {
      std::int64_t rest = products_[used_[k]] * 65536;
      for (std::size_t l = 0; l < count_; ++l) rest -= l == k ? 0 : gram[k][l] * weights_[l];
      weights_[k] = std::clamp(rest / (gram[k][k] + gram[k][k] * kRidge / values + 1), -kMost, kMost);
    }
  }
}

/// Goes on with the next row; the finished one takes the place of the oldest.
void References::keep_row() {
  std::int64_t energy = 0;
  for (std::size_t i = 0; i < length_; ++i) energy += row_[i] * row_[i];
  const auto factor =
      static_cast<std::int64_t>(root((static_cast<std::uint64_t>(length_) << 32) /
                                     static_cast<std::uint64_t>(std::max<std::int64_t>(1, energy))));
  const std::size_t slot = rows_ % slots_;
  for (std::size_t i = 0; i < length_; ++i) {  // 256·x·√(length/energy)
    kept_[(i / kBlock * slots_ + slot) * kBlock + i % kBlock] = static_cast<std::int16_t>(
        std::clamp<std::int64_t>((row_[i] * factor + 128) >> 8, -kLargest, kLargest));
  }
  ++rows_;
  at_ = 0;
  std::fill(products_.begin(), products_.end(), 0);
  count_ = 0;
}

}  // namespace rdquant::codec
