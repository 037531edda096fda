#pragma once

#include <cstddef>

/// The one loop in which calibration spends its time, compiled once per instruction set (kernels_*.cpp) from
/// one source without contraction: all give the same bits.
namespace rdquant::calibrate {

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

struct Kernels {
  void (*multiply_f32)(const Product<float>& product);
  void (*multiply_f64)(const Product<double>& product);
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

inline void multiply(const Product<float>& p) { selected_kernels().multiply_f32(p); }
inline void multiply(const Product<double>& p) { selected_kernels().multiply_f64(p); }

}  // namespace rdquant::calibrate
