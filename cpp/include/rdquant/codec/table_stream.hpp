#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace rdquant::codec {

/// Levels of 8 bits as profile "fast" codes a single stream with sent probabilities, laid out for decoders of a few
/// instructions a level that have no memory to build tables in: microcontrollers'.
struct TableStream {
  std::int32_t least = 0;  ///< the level of symbol 0; symbols are levels without gaps
  std::vector<std::uint16_t>
      edges;  ///< 65535, then each symbol's last slot of 2^16; its predecessor's where it has none
  std::vector<std::uint8_t> bins;    ///< for every 2^10 slots the symbol that holds the first
  std::uint32_t state = 0;           ///< of the decoder at the beginning
  std::vector<std::uint16_t> words;  ///< that it takes, in order

  [[nodiscard]] std::size_t bytes() const noexcept {
    return 2 * edges.size() + bins.size() + 2 * words.size();
  }
};

[[nodiscard]] TableStream encode_table_stream(std::span<const std::int8_t> levels);

/// The definition of decoding. `count`: of the levels that were coded.
[[nodiscard]] std::vector<std::int8_t> decode_table_stream(const TableStream& stream, std::size_t count);

}  // namespace rdquant::codec
