#pragma once

#include <cstdint>
#include <span>

/// The remainder of CRC-32 without the inversions at its beginning and end.
namespace rdquant::codec {

[[nodiscard]] std::uint32_t crc_plain(std::span<const std::uint8_t> bytes, std::uint32_t crc) noexcept;
/// The same by products without carries, where the processor has them (PCLMULQDQ).
[[nodiscard]] std::uint32_t crc_folded(std::span<const std::uint8_t> bytes, std::uint32_t crc) noexcept;

}  // namespace rdquant::codec
