#pragma once

#include <cstddef>
#include <cstdint>

/// The loops over all elements of a sparse tensor, for vectors; the plain ones of sparse.cpp are the
/// definition.
namespace rdquant::codec {

/// Writes the scales row + of_row[i] of those elements of a row that are not 0 in `signs`; where they end. Up
/// to 15 elements behind that are written too.
[[nodiscard]] std::int16_t* scales_of_row_avx512(const std::int32_t* signs, const std::int16_t* of_row,
                                                 std::size_t size, std::int16_t row, std::int16_t* out);

/// Signs to levels, common + sign·(least + distance), modulo 2^32, every element that is not 0 taking the
/// next of `distances`, or all of them the first. 16 elements at a time; how many are done. `distances` holds
/// one more than are taken, and 15 elements behind it are read too.
[[nodiscard]] std::size_t place_avx512(const std::int32_t* distances, bool same, std::int32_t common,
                                       std::int32_t least, std::int32_t* levels, std::size_t size,
                                       std::size_t& taken);

}  // namespace rdquant::codec
