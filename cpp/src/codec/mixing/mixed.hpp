#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "codec/rans/streams.hpp"

/// The profile "max": yes/no decisions whose probability under the parametric model is mixed with those of
/// adaptive contexts. `refers`: as method 5 has it, rows are also predicted from similar ones
/// (references.hpp), and paths of a trellis are shorter than the part.
namespace rdquant::codec {

[[nodiscard]] std::vector<std::uint8_t> encode_mixed(const Tables& tables, std::size_t first_row,
                                                     std::size_t rows, const std::int32_t* levels,
                                                     bool refers = false);
/// @throws CorruptFile  a level beyond the coarse range, or bytes left over.
void decode_mixed(const Tables& tables, std::size_t first_row, std::size_t rows,
                  std::span<const std::uint8_t> bytes, const Reader& at, std::int32_t* levels,
                  bool refers = false);

}  // namespace rdquant::codec
