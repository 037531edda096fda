#pragma once

#include <cstdint>
#include <span>
#include <vector>

/// rANS with a single state that starts at 0 in the encoder and takes words as long as there are any, so that
/// a stream costs two bytes more than its symbols and no more. Its bytes: the state, then 16-bit words. Of B
/// bytes the state has 4 − B mod 2, or all if B < 4.
namespace rdquant::codec {

using Packed = std::uint32_t;  ///< an interval: start in the upper, width in the lower half

/// State from which `interval` is decoded next, leaving `x`.
[[nodiscard]] inline std::uint32_t pushed(std::uint32_t x, Packed interval) noexcept {
  const std::uint32_t start = interval >> 16, width = interval & 0xffff;
  return ((x / width) << 16) + start + x % width;
}

/// The encoder takes the last symbol first.
class StreamEncoder {
 public:
  void add(Packed interval) {
    if ((state_ >> 16) >= (interval & 0xffff)) {
      words_.push_back(static_cast<std::uint16_t>(state_));
      state_ >>= 16;
    }
    state_ = pushed(state_, interval);
  }
  [[nodiscard]] std::vector<std::uint8_t> finish() const;

 private:
  std::uint32_t state_ = 0;
  std::vector<std::uint16_t> words_;  ///< the decoder's last first
};

class StreamDecoder {
 public:
  explicit StreamDecoder(std::span<const std::uint8_t> bytes);
  /// The slot that the next symbol's interval holds.
  [[nodiscard]] std::uint32_t slot() const noexcept { return state_ & 0xffff; }
  void take(std::uint32_t start, std::uint32_t width) noexcept {
    state_ = width * (state_ >> 16) + (state_ & 0xffff) - start;
    if (state_ < 65536 && at_ + 2 <= bytes_.size()) {
      state_ = (state_ << 16) | bytes_[at_] | (static_cast<std::uint32_t>(bytes_[at_ + 1]) << 8);
      at_ += 2;
    }
  }
  /// Whether all bytes have been used and the state is the encoder's first one.
  [[nodiscard]] bool finished() const noexcept { return state_ == 0 && at_ == bytes_.size(); }

 private:
  std::span<const std::uint8_t> bytes_;
  std::size_t at_ = 0;
  std::uint32_t state_ = 0;
};

}  // namespace rdquant::codec
