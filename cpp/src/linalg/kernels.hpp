#pragma once

#include <cstddef>

#include "rdquant/linalg/product.hpp"

/// The loops in which products of matrices spend their time, compiled once per instruction set (kernels_*.cpp)
/// from one source without contraction: all give the same bits.
namespace rdquant::linalg {

/// The kernels of one element type. A tile is `rows` × `cols` results whose sums stay in registers.
template <typename T>
struct TypeKernels {
  std::size_t rows, cols;
  /// sums[row·cols + col] += Σ_t a[t·rows + row]·b[t·cols + col] for 0 ≤ t < depth, in order, for every pair of
  /// `row_strips` strips of a and `col_strips` strips of b. A strip of a takes depth·rows elements, one of b
  /// depth·cols; the sums of strips (i, j) begin at (j·row_strips + i)·rows·cols.
  void (*tiles)(const T* a, std::size_t row_strips, const T* b, std::size_t col_strips, std::size_t depth,
                T* sums);
  /// The whole product without packed copies, for few rows or little depth.
  void (*thin)(const Product<T>& product);
};

struct Kernels {
  TypeKernels<float> f32;
  TypeKernels<double> f64;
};

namespace baseline {
extern const Kernels kernels;
}
namespace avx2 {
extern const Kernels kernels;
}
namespace avx512 {
extern const Kernels kernels;
}

/// Those of the selected instruction set.
[[nodiscard]] const Kernels& selected_kernels();

/// `multiply` and `accumulate` by given kernels.
template <typename T>
void multiply_by(const TypeKernels<T>& kernels, const Product<T>& product, int threads);
template <typename T>
void accumulate_by(const TypeKernels<T>& kernels, const Product<T>& product, int threads);
extern template void multiply_by(const TypeKernels<float>&, const Product<float>&, int);
extern template void multiply_by(const TypeKernels<double>&, const Product<double>&, int);
extern template void accumulate_by(const TypeKernels<float>&, const Product<float>&, int);
extern template void accumulate_by(const TypeKernels<double>&, const Product<double>&, int);

}  // namespace rdquant::linalg
