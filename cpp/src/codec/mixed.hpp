#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lanes.hpp"

/// The profile "max": yes/no decisions whose probability under the parametric model is mixed with those of
/// adaptive contexts.
namespace rdquant::codec {

[[nodiscard]] std::vector<std::uint8_t> encode_mixed(const Tables& tables, std::size_t first_row,
                                                     std::size_t rows, const std::int32_t* levels);
/// @throws CorruptFile  a level beyond the coarse range, or bytes left over.
void decode_mixed(const Tables& tables, std::size_t first_row, std::size_t rows,
                  std::span<const std::uint8_t> bytes, const Reader& at, std::int32_t* levels);

}  // namespace rdquant::codec
