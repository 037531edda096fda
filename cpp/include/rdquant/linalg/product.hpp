#pragma once

#include <cstddef>

namespace rdquant::linalg {

/// c[i·ldc + k] += sign·Σ_t a[t·lda + i]·b[t·ldb + k], 0 ≤ t < depth, i < rows, k < cols. The sums over t are
/// taken in order and added to c at the end. c overlaps neither a nor b.
template <typename T>
struct Product {
  const T* a;
  std::size_t lda;
  const T* b;
  std::size_t ldb;
  std::size_t depth, rows, cols;
  T sign;
  T* c;
  std::size_t ldc;
};

/// Computes a product on up to `threads` threads (0: all cores). The bits depend neither on their number nor on
/// the instruction set.
void multiply(const Product<float>& product, int threads = 1);
void multiply(const Product<double>& product, int threads = 1);

/// The same, but the sums begin with c: c[i·ldc + k] + a·b + a·b + …, in order; `sign` is 1. So a sum over t can
/// be continued by another call, to the same bits.
void accumulate(const Product<double>& product, int threads = 1);

}  // namespace rdquant::linalg
