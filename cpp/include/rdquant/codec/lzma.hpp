#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace rdquant::codec {

/// Most bytes that the graph of a compressed model may have.
inline constexpr std::uint64_t kMostGraph = std::uint64_t{1} << 31;

/// Unpacks an LZMA_alone stream (13 bytes of header, then LZMA with an end marker or a size in the header), which
/// must end where `bytes` do. Source: I. Pavlov, "LZMA specification", 2015.
///
/// @throws CorruptFile  damaged bytes, a dictionary of more than 64 MB, or more than `limit` bytes; names `section`
///         and the offset in it.
[[nodiscard]] std::vector<std::uint8_t> unpack_lzma(std::span<const std::uint8_t> bytes,
                                                    const std::string& section,
                                                    std::uint64_t limit = kMostGraph);

}  // namespace rdquant::codec
