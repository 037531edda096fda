#pragma once

#include <cstddef>
#include <span>

namespace rdquant::linalg {

struct CholeskyOptions {
  /// The square of a diagonal element that is not above it is lost to rounding: the element becomes the
  /// limit's root, or 1 where the limit is 0, and the rest of its row 0, so that the row stands alone.
  double least = 0.0;
  /// Rows that are factorised together. What the rows above take from a row is summed per panel: the bits
  /// depend on it, and on nothing else.
  std::size_t panel = 32;
  int threads = 1;  ///< 0: all cores
};

/// Cholesky's factor U of A = Uᵀ·U, in place of the upper triangle of A, row-major [n, n]; what is below the
/// diagonal is neither used nor kept. Returns the number of lost rows, 0 where A is positive definite.
std::size_t factorise(std::span<double> a, std::size_t n, const CholeskyOptions& options = {});

/// Solves Uᵀ·U·x = b with such a factor; b becomes x.
void solve(std::span<const double> u, std::size_t n, std::span<double> b);

}  // namespace rdquant::linalg
