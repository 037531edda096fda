#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "codec/format/bytes.hpp"

namespace rdquant::codec {

/// Values of any width ≤ 32 one after the other, low bits first, filled up to a byte.
class BitWriter {
 public:
  explicit BitWriter(Writer& out) : out_(out) {}
  void add(std::uint32_t value, int width) {
    held_ |= static_cast<std::uint64_t>(value) << bits_;
    for (bits_ += width; bits_ >= 8; bits_ -= 8, held_ >>= 8) out_.byte(static_cast<std::uint8_t>(held_));
  }
  void finish() {
    if (bits_ > 0) out_.byte(static_cast<std::uint8_t>(held_));
  }

 private:
  Writer& out_;
  std::uint64_t held_ = 0;
  int bits_ = 0;
};

/// Reads what BitWriter wrote, from untrusted bytes. @throws CorruptFile  too few of them.
class CheckedBits {
 public:
  explicit CheckedBits(Reader& in) : in_(in) {}
  [[nodiscard]] std::uint32_t next(int width) {
    for (; bits_ < width; bits_ += 8) held_ |= static_cast<std::uint64_t>(in_.byte()) << bits_;
    const auto value = static_cast<std::uint32_t>(held_ & ((std::uint64_t{1} << width) - 1));
    held_ >>= width;
    bits_ -= width;
    return value;
  }

 private:
  Reader& in_;
  std::uint64_t held_ = 0;
  int bits_ = 0;
};

/// Values less `least`, `width` bits each.
inline void write_bits(Writer& out, std::span<const std::int32_t> values, std::int32_t least, int width) {
  BitWriter bits(out);
  const std::uint64_t mask = (std::uint64_t{1} << width) - 1;
  for (const std::int32_t v : values) {
    bits.add(
        static_cast<std::uint32_t>(static_cast<std::uint64_t>(static_cast<std::int64_t>(v) - least) & mask),
        width);
  }
  bits.finish();
}

/// Packed values one after the other, from value number `first` on.
class BitReader {
 public:
  BitReader(std::span<const std::uint8_t> bytes, int width, std::size_t first = 0)
      : bytes_(bytes), width_(static_cast<std::size_t>(width)), bit_(first * width_) {}
  [[nodiscard]] std::uint32_t next() {
    const std::size_t at = bit_ / 8, over = bit_ % 8;
    bit_ += width_;
    std::uint64_t held = 0;
    if (std::endian::native == std::endian::little && at + 8 <= bytes_.size()) {
      std::memcpy(&held, bytes_.data() + at, 8);  // all bytes that a value of 32 bits can touch
    } else {
      for (std::size_t i = 0; i < 8 && at + i < bytes_.size(); ++i) {
        held |= static_cast<std::uint64_t>(bytes_[at + i]) << (8 * i);
      }
    }
    return static_cast<std::uint32_t>((held >> over) & ((std::uint64_t{1} << width_) - 1));
  }

 private:
  std::span<const std::uint8_t> bytes_;
  std::size_t width_;
  std::size_t bit_;  ///< of the next value
};

/// Coarse levels to levels: ·2^width, plus a packed value each, from value number `first` on, plus `centre`;
/// all of it modulo 2^32. `packed` has all the values.
void add_low_bits(std::span<std::int32_t> levels, std::span<const std::uint8_t> packed, int width,
                  std::size_t first, std::uint32_t centre);

/// The same for the first of the levels, eight at a time; how many those are. Widths up to 8.
using AddLowBits = std::size_t (*)(std::span<std::int32_t> levels, std::span<const std::uint8_t> packed,
                                   int width, std::size_t first, std::uint32_t centre);
namespace baseline {
extern const AddLowBits add_low_bits_of_eight;
}
namespace avx2 {
extern const AddLowBits add_low_bits_of_eight;
}

}  // namespace rdquant::codec
