#pragma once

#include <cstddef>
#include <cstdint>

/// The loops over all elements of a sparse tensor, in vectors.
namespace rdquant::codec {

/// Elements that are read and written behind the last that counts.
inline constexpr std::size_t kBehind = 16;

struct SparseKernels {
  /// Writes the scales row + of_row[i] of those elements of a row that are not 0 in `signs`; where they end. kBehind
  /// elements behind `of_row` are read, kBehind behind the scales written.
  std::int16_t* (*scales_of_row)(const std::int32_t* signs, const std::int16_t* of_row, std::size_t size,
                                 std::int16_t row, std::int16_t* out);
  /// Signs to levels, common + sign·(least + distance), modulo 2^32, every element that is not 0 taking the next of
  /// `distances`, or all of them the first. Some elements at a time; how many are done, and in `taken` how many
  /// distances they took. kBehind elements behind `distances` are read.
  std::size_t (*place)(const std::int32_t* distances, bool same, std::int32_t common, std::int32_t least,
                       std::int32_t* levels, std::size_t size, std::size_t& taken);
};
namespace baseline {
extern const SparseKernels sparse_kernels;
}
namespace avx2 {
extern const SparseKernels sparse_kernels;
}
namespace avx512 {
extern const SparseKernels sparse_kernels;
}

}  // namespace rdquant::codec
