#include "codec/format/checksum.hpp"

#include <array>

#include "rdquant/codec/container.hpp"
#include "simd/dispatch.hpp"

namespace rdquant::codec {
namespace {

/// Slicing by eight (Kounavis and Berry, 2005): table[k][b] is the CRC of byte b and k zero bytes.
constexpr auto kCrc = [] {
  std::array<std::array<std::uint32_t, 256>, 8> table{};
  for (std::uint32_t b = 0; b < 256; ++b) {
    std::uint32_t crc = b;
    for (int i = 0; i < 8; ++i) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xedb88320U : 0U);
    table[0][b] = crc;
  }
  for (std::size_t k = 1; k < 8; ++k) {
    for (std::size_t b = 0; b < 256; ++b)
      table[k][b] = (table[k - 1][b] >> 8) ^ table[0][table[k - 1][b] & 255];
  }
  return table;
}();

}  // namespace

std::uint32_t crc_plain(std::span<const std::uint8_t> bytes, std::uint32_t crc) noexcept {
  const std::uint8_t* p = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= 8; left -= 8, p += 8) {
    const std::uint32_t low =
        crc ^ (p[0] | (static_cast<std::uint32_t>(p[1]) << 8) | (static_cast<std::uint32_t>(p[2]) << 16) |
               (static_cast<std::uint32_t>(p[3]) << 24));
    crc = kCrc[7][low & 255] ^ kCrc[6][(low >> 8) & 255] ^ kCrc[5][(low >> 16) & 255] ^ kCrc[4][low >> 24] ^
          kCrc[3][p[4]] ^ kCrc[2][p[5]] ^ kCrc[1][p[6]] ^ kCrc[0][p[7]];
  }
  for (; left > 0; --left, ++p) crc = (crc >> 8) ^ kCrc[0][(crc ^ *p) & 255];
  return crc;
}

std::uint32_t crc32(std::span<const std::uint8_t> bytes, std::uint32_t before) {
  return ~RDQUANT_LEAF(pclmul, crc_folded, crc_plain)(bytes, ~before);
}

}  // namespace rdquant::codec
