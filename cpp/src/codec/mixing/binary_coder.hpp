#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "codec/format/bytes.hpp"

/// Arithmetic coding of yes/no decisions with 16-bit probabilities: the carry-less coder of lpaq (Mahoney,
/// 2007). Encoder and decoder keep an interval [low, high] of 32 bits and send its top byte as soon as it is
/// settled.
namespace rdquant::codec {

/// Probability that the next decision is yes, in 1/65536, learnt at two speeds (Alakuijala et al., JPEG XL;
/// AV1 and NNC keep two states as well).
class AdaptiveBit {
  /// 2^14/(n + 2)
  static constexpr auto kReciprocal = [] {
    std::array<std::int32_t, 127> table{};
    for (std::int32_t n = 0; n < 127; ++n) table[static_cast<std::size_t>(n)] = 16384 / (n + 2);
    return table;
  }();

 public:
  AdaptiveBit() = default;
  /// Begins at `p`, as if it had learnt that from a few decisions.
  explicit AdaptiveBit(std::uint16_t p) noexcept : fast_(p), slow_(p), count_(6) {}
  [[nodiscard]] std::uint32_t p() const noexcept {
    return (static_cast<std::uint32_t>(fast_) + slow_ + 1) >> 1;
  }
  void learn(bool yes) noexcept {
    const std::int32_t target = 65535 * static_cast<std::int32_t>(yes);
    fast_ = static_cast<std::uint16_t>(fast_ + (target - fast_) / 16);
    // The slow state starts as a running mean: 1/2, 1/3, … 1/128.
    slow_ = static_cast<std::uint16_t>(slow_ + (((target - slow_) * kReciprocal[count_]) >> 14));
    if (count_ < 126) ++count_;
    if (count_ < 16) fast_ = slow_;
  }

 private:
  std::uint16_t fast_ = 32768;
  std::uint16_t slow_ = 32768;
  std::uint8_t count_ = 0;
};

inline constexpr std::uint32_t kLeastP =
    16;  ///< probabilities handed to the coder stay this far from 0 and 1

[[nodiscard]] inline std::uint32_t clamp_p(std::uint32_t p) noexcept {
  return p < kLeastP ? kLeastP : (p > 65536 - kLeastP ? 65536 - kLeastP : p);
}

inline constexpr std::size_t kSlack = 16;  ///< zero bytes that a decoder may take for granted past the end

class BinaryEncoder {
 public:
  void code(bool yes, std::uint32_t p) {
    const std::uint32_t middle =
        low_ + static_cast<std::uint32_t>((static_cast<std::uint64_t>(high_ - low_) * clamp_p(p)) >> 16);
    (yes ? high_ : low_) = yes ? middle : middle + 1;
    while (((low_ ^ high_) & 0xff000000U) == 0) {
      bytes_.push_back(static_cast<std::uint8_t>(high_ >> 24));
      low_ <<= 8;
      high_ = (high_ << 8) | 255;
    }
  }
  void code(bool yes, AdaptiveBit& bit) {
    code(yes, bit.p());
    bit.learn(yes);
  }
  /// The bytes, as few as determine the rest: the decoder reads up to kSlack zeros past the end.
  [[nodiscard]] std::vector<std::uint8_t> finish() {
    if (low_ != 0) {  // the top byte rounded up lies within: [low, high] spans a byte's boundary
      std::uint32_t kept = 8;
      while (kept < 32 &&
             ((low_ + ((std::uint64_t{1} << (32 - kept)) - 1)) >> (32 - kept) << (32 - kept)) > high_) {
        kept += 8;
      }
      const std::uint64_t unit = std::uint64_t{1} << (32 - kept);
      const std::uint64_t value = (low_ + unit - 1) / unit * unit;
      for (std::uint32_t i = 0; i < kept; i += 8) {
        bytes_.push_back(static_cast<std::uint8_t>(value >> (24 - i)));
      }
    }
    for (std::size_t i = 0; i < kSlack / 2 && !bytes_.empty() && bytes_.back() == 0; ++i) bytes_.pop_back();
    return std::move(bytes_);
  }

 private:
  std::uint32_t low_ = 0;
  std::uint32_t high_ = 0xffffffffU;
  std::vector<std::uint8_t> bytes_;
};

/// Never fails: any bytes decode to some decisions. Callers check the values that these make, and whether the
/// bytes suffice (`exhausted`) and are all needed (`unused`).
class BinaryDecoder {
 public:
  explicit BinaryDecoder(std::span<const std::uint8_t> bytes) : bytes_(bytes) {
    for (int i = 0; i < 4; ++i) shift();
  }
  [[nodiscard]] bool code(std::uint32_t p) {
    const std::uint32_t middle =
        low_ + static_cast<std::uint32_t>((static_cast<std::uint64_t>(high_ - low_) * clamp_p(p)) >> 16);
    const bool yes = value_ <= middle;
    // Without a branch: who asks is going to have one on the decision, which is guessed wrong often enough.
    const std::uint32_t chosen = ~(static_cast<std::uint32_t>(yes) - 1);
    high_ = (middle & chosen) | (high_ & ~chosen);
    low_ = (low_ & chosen) | ((middle + 1) & ~chosen);
    while (((low_ ^ high_) & 0xff000000U) == 0) {
      low_ <<= 8;
      high_ = (high_ << 8) | 255;
      shift();
    }
    return yes;
  }
  [[nodiscard]] bool code(AdaptiveBit& bit) {
    const bool yes = code(bit.p());
    bit.learn(yes);
    return yes;
  }
  /// Whether more zeros past the end were taken than an encoder leaves out: the bytes have been cut.
  [[nodiscard]] bool exhausted() const noexcept { return next_ > bytes_.size() + kSlack; }
  /// Whether there are bytes that no decision depended on.
  [[nodiscard]] bool unused() const noexcept { return next_ < bytes_.size(); }

 private:
  void shift() {
    value_ = (value_ << 8) | (next_ < bytes_.size() ? bytes_[next_] : 0U);
    ++next_;
  }

  std::span<const std::uint8_t> bytes_;
  std::size_t next_ = 0;
  std::uint32_t low_ = 0;
  std::uint32_t high_ = 0xffffffffU;
  std::uint32_t value_ = 0;
};

/// Adaptive code of signed integers: zero?, sign, then Elias-gamma of the magnitude, its bits learnt.
class AdaptiveInteger {
 public:
  AdaptiveInteger() = default;
  /// Begins with the probability of a zero, and those that a magnitude of at least 2^k is at least 2^(k + 1).
  AdaptiveInteger(std::uint16_t zero, const std::array<std::uint16_t, 8>& widths) : zero_(zero) {
    for (std::size_t k = 0; k < widths.size(); ++k) width_[k] = AdaptiveBit(widths[k]);
  }
  void encode(BinaryEncoder& out, std::int32_t value) {
    out.code(value == 0, zero_);
    if (value == 0) return;
    out.code(value < 0, sign_);
    const std::uint32_t magnitude =
        value < 0 ? ~static_cast<std::uint32_t>(value) + 1 : static_cast<std::uint32_t>(value);
    int width = 0;
    while ((magnitude >> width) > 1) out.code(true, width_[width]), ++width;
    if (width < 31) out.code(false, width_[width]);
    for (int i = width - 1; i >= 0; --i) {
      const bool bit = ((magnitude >> i) & 1) != 0;
      if (i == width - 1) {
        out.code(bit, top_[width]);
      } else {
        out.code(bit, 32768U);
      }
    }
  }
  [[nodiscard]] std::int32_t decode(BinaryDecoder& in) {
    if (in.code(zero_)) return 0;
    const bool negative = in.code(sign_);
    int width = 0;
    while (width < 31 && in.code(width_[width])) ++width;
    std::uint32_t magnitude = 1;
    for (int i = width - 1; i >= 0; --i) {
      const bool bit = i == width - 1 ? in.code(top_[width]) : in.code(32768U);
      magnitude = (magnitude << 1) | static_cast<std::uint32_t>(bit);
    }
    const auto minus = static_cast<std::uint32_t>(negative);
    return static_cast<std::int32_t>((magnitude ^ (0 - minus)) + minus);
  }

 private:
  AdaptiveBit zero_;
  AdaptiveBit sign_;
  AdaptiveBit width_[32];
  AdaptiveBit top_[32];
};

}  // namespace rdquant::codec
