#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "rdquant/core/error.hpp"

/// Bytes in and out. Integers are little-endian; a varint is LEB128, seven bits a byte, low bits first.
namespace rdquant::codec {

/// Appends to a vector of bytes.
class Writer {
 public:
  void byte(std::uint8_t value) { bytes_.push_back(value); }
  void u32(std::uint32_t value) { fixed(value, 4); }
  void u64(std::uint64_t value) { fixed(value, 8); }
  void varint(std::uint64_t value) {
    for (; value >= 128; value >>= 7) byte(static_cast<std::uint8_t>(value | 128));
    byte(static_cast<std::uint8_t>(value));
  }
  /// Small magnitudes of either sign take few bytes: 0, −1, 1, −2, … become 0, 1, 2, 3, …
  void zigzag(std::int64_t value) {
    const auto u = static_cast<std::uint64_t>(value);
    varint((u << 1) ^ (value < 0 ? ~std::uint64_t{0} : 0));
  }
  void append(std::span<const std::uint8_t> more) { bytes_.insert(bytes_.end(), more.begin(), more.end()); }
  /// A varint of the length, then the bytes.
  void block(std::span<const std::uint8_t> more) {
    varint(more.size());
    append(more);
  }
  [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }
  [[nodiscard]] std::vector<std::uint8_t> take() noexcept { return std::move(bytes_); }

 private:
  void fixed(std::uint64_t value, int count) {
    for (int i = 0; i < count; ++i) byte(static_cast<std::uint8_t>(value >> (8 * i)));
  }

  std::vector<std::uint8_t> bytes_;
};

/// A name from a file as messages show it: control characters as \xNN. A NUL would end the message.
[[nodiscard]] inline std::string printable(const std::string& name) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string shown;
  for (const char c : name) {
    const auto code = static_cast<unsigned char>(c);
    if (code >= 32 && code != 127) {
      shown += c;
    } else {
      shown += {'\\', 'x', kDigits[code / 16], kDigits[code % 16]};
    }
  }
  return shown;
}

/// Reads untrusted bytes: every read is checked.
///
/// @throws CorruptFile  all members, naming the section and the offset in it.
class Reader {
 public:
  Reader(std::span<const std::uint8_t> bytes, std::string section)
      : bytes_(bytes), section_(std::move(section)) {}

  [[nodiscard]] std::uint8_t byte() { return take(1)[0]; }
  [[nodiscard]] std::uint32_t u32() { return static_cast<std::uint32_t>(fixed(4)); }
  [[nodiscard]] std::uint64_t u64() { return fixed(8); }
  [[nodiscard]] std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const std::uint8_t next = byte();
      if (shift == 63 && next > 1) fail("a number that does not fit 64 bits");
      value |= static_cast<std::uint64_t>(next & 127) << shift;
      if (next < 128) return value;
    }
    fail("a number of more than ten bytes");
  }
  /// A varint of at most `limit`; `what` names it in the message.
  [[nodiscard]] std::uint64_t bounded(std::uint64_t limit, const char* what) {
    const std::uint64_t value = varint();
    if (value > limit) {
      fail(std::string(what) + " " + std::to_string(value) + ", allowed up to " + std::to_string(limit));
    }
    return value;
  }
  [[nodiscard]] std::int64_t zigzag() {
    const std::uint64_t u = varint();
    return static_cast<std::int64_t>(u >> 1) ^ -static_cast<std::int64_t>(u & 1);
  }
  [[nodiscard]] std::int32_t zigzag32(const char* what) {
    const std::int64_t value = zigzag();
    if (value < std::numeric_limits<std::int32_t>::min() ||
        value > std::numeric_limits<std::int32_t>::max()) {
      fail(std::string(what) + " " + std::to_string(value) + " beyond 32 bits");
    }
    return static_cast<std::int32_t>(value);
  }
  [[nodiscard]] std::span<const std::uint8_t> take(std::size_t count) {
    if (count > left()) {
      fail(std::to_string(count) + " bytes expected, " + std::to_string(left()) + " left");
    }
    const auto part = bytes_.subspan(offset_, count);
    offset_ += count;
    return part;
  }
  /// What `Writer::block` wrote.
  [[nodiscard]] std::span<const std::uint8_t> block() {
    const std::uint64_t count = varint();
    if (count > left()) {
      fail(std::to_string(count) + " bytes expected, " + std::to_string(left()) + " left");
    }
    return take(static_cast<std::size_t>(count));
  }
  [[nodiscard]] std::span<const std::uint8_t> rest() { return take(left()); }
  [[nodiscard]] std::size_t left() const noexcept { return bytes_.size() - offset_; }
  [[nodiscard]] std::size_t offset() const noexcept { return offset_; }
  [[nodiscard]] const std::string& section() const noexcept { return section_; }
  void finish() {
    if (left() != 0) fail(std::to_string(left()) + " bytes too many");
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw core::CorruptFile("section " + printable(section_) + ", offset " + std::to_string(offset_) + ": " +
                            what);
  }

 private:
  [[nodiscard]] std::uint64_t fixed(int count) {
    const auto part = take(static_cast<std::size_t>(count));
    std::uint64_t value = 0;
    for (int i = 0; i < count; ++i) {
      value |= static_cast<std::uint64_t>(part[static_cast<std::size_t>(i)]) << (8 * i);
    }
    return value;
  }

  std::span<const std::uint8_t> bytes_;
  std::size_t offset_ = 0;
  std::string section_;
};

}  // namespace rdquant::codec
