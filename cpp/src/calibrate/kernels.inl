// The loops behind kernels.hpp. Included by one file per instruction set, which sets RDQUANT_KERNELS_ISA.
// Everything here is local to the including file, and nothing from the standard library is called: code built
// for one set must not be linked into another.
#include "calibrate/kernels.hpp"

namespace rdquant::calibrate {
namespace {

/// Rows and columns of a tile whose sums stay in registers.
constexpr std::size_t kTileRows = 4, kTileBytes = 128;

template <typename T, std::size_t kCols>
void whole_tile(const Product<T>& p, std::size_t i, std::size_t k) {
  T sums[kTileRows][kCols] = {};
  const T* a = p.a + i;
  const T* b = p.b + k;
  for (std::size_t t = 0; t < p.depth; ++t, a += p.lda, b += p.ldb) {
    for (std::size_t r = 0; r < kTileRows; ++r) {
      for (std::size_t n = 0; n < kCols; ++n) sums[r][n] += a[r] * b[n];
    }
  }
  for (std::size_t r = 0; r < kTileRows; ++r) {
    T* const c = p.c + (i + r) * p.ldc + k;
    for (std::size_t n = 0; n < kCols; ++n) c[n] += p.sign * sums[r][n];
  }
}

/// A tile at the edge: `rows` × `cols` of it.
template <typename T, std::size_t kCols>
void part_tile(const Product<T>& p, std::size_t i, std::size_t k, std::size_t rows, std::size_t cols) {
  T sums[kTileRows][kCols] = {};
  const T* a = p.a + i;
  const T* b = p.b + k;
  for (std::size_t t = 0; t < p.depth; ++t, a += p.lda, b += p.ldb) {
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t n = 0; n < cols; ++n) sums[r][n] += a[r] * b[n];
    }
  }
  for (std::size_t r = 0; r < rows; ++r) {
    T* const c = p.c + (i + r) * p.ldc + k;
    for (std::size_t n = 0; n < cols; ++n) c[n] += p.sign * sums[r][n];
  }
}

template <typename T>
void multiply_all(const Product<T>& p) {
  constexpr std::size_t kCols = kTileBytes / sizeof(T);
  for (std::size_t k = 0; k < p.cols; k += kCols) {
    const std::size_t cols = p.cols - k < kCols ? p.cols - k : kCols;
    for (std::size_t i = 0; i < p.rows; i += kTileRows) {
      const std::size_t rows = p.rows - i < kTileRows ? p.rows - i : kTileRows;
      if (rows == kTileRows && cols == kCols) {
        whole_tile<T, kCols>(p, i, k);
      } else {
        part_tile<T, kCols>(p, i, k, rows, cols);
      }
    }
  }
}

}  // namespace

namespace RDQUANT_KERNELS_ISA {
const Kernels kernels = {multiply_all<float>, multiply_all<double>};
}

}  // namespace rdquant::calibrate
