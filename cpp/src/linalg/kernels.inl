// The loops behind kernels.hpp. Included by one file per instruction set, which sets RDQUANT_KERNELS_ISA, the
// bytes of a vector and the rows of a tile. Everything here is local to the including file, and nothing from
// the standard library is called: code built for one set must not be linked into another.
#include "linalg/kernels.hpp"

namespace rdquant::linalg {
namespace {

template <typename T>
struct Vector {
  typedef T Type __attribute__((vector_size(RDQUANT_KERNELS_BYTES)));
  static constexpr std::size_t kSize = RDQUANT_KERNELS_BYTES / sizeof(T);
};

template <typename T>
inline typename Vector<T>::Type load(const T* from) {
  typename Vector<T>::Type v;
  __builtin_memcpy(&v, from, sizeof(v));
  return v;
}
template <typename T>
inline void store(T* to, typename Vector<T>::Type v) {
  __builtin_memcpy(to, &v, sizeof(v));
}

constexpr std::size_t kRows = RDQUANT_KERNELS_ROWS;

template <typename T>
inline void tile(const T* a, const T* b, std::size_t depth, T* to) {
  constexpr std::size_t kSize = Vector<T>::kSize;
  typename Vector<T>::Type left[kRows], right[kRows];
#pragma GCC unroll 8
  for (std::size_t r = 0; r < kRows; ++r) {
    left[r] = load(to + r * 2 * kSize);
    right[r] = load(to + r * 2 * kSize + kSize);
  }
  for (std::size_t t = 0; t < depth; ++t, a += kRows, b += 2 * kSize) {
    const auto first = load(b), second = load(b + kSize);
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRows; ++r) {
      left[r] += a[r] * first;
      right[r] += a[r] * second;
    }
  }
#pragma GCC unroll 8
  for (std::size_t r = 0; r < kRows; ++r) {
    store(to + r * 2 * kSize, left[r]);
    store(to + r * 2 * kSize + kSize, right[r]);
  }
}

template <typename T>
void tiles(const T* a, std::size_t row_strips, const T* b, std::size_t col_strips, std::size_t depth,
           T* sums) {
  constexpr std::size_t kCols = 2 * Vector<T>::kSize;
  for (std::size_t j = 0; j < col_strips; ++j) {
    for (std::size_t i = 0; i < row_strips; ++i, sums += kRows * kCols) {
      tile(a + i * depth * kRows, b + j * depth * kCols, depth, sums);
    }
  }
}

template <typename T>
void thin(const Product<T>& p) {
  constexpr std::size_t kSize = Vector<T>::kSize, kTogether = 4 * kSize;
  for (std::size_t i = 0; i < p.rows; ++i) {
    std::size_t k = 0;
    for (; k + kTogether <= p.cols; k += kTogether) {
      typename Vector<T>::Type sums[4] = {};
      for (std::size_t t = 0; t < p.depth; ++t) {
#pragma GCC unroll 4
        for (std::size_t v = 0; v < 4; ++v)
          sums[v] += p.a[t * p.lda + i] * load(p.b + t * p.ldb + k + v * kSize);
      }
      T* const c = p.c + i * p.ldc + k;
      for (std::size_t v = 0; v < 4; ++v) store(c + v * kSize, load(c + v * kSize) + p.sign * sums[v]);
    }
    for (; k < p.cols; ++k) {
      T sum = 0;
      for (std::size_t t = 0; t < p.depth; ++t) sum += p.a[t * p.lda + i] * p.b[t * p.ldb + k];
      p.c[i * p.ldc + k] += p.sign * sum;
    }
  }
}

template <typename T>
constexpr TypeKernels<T> kKernels = {kRows, 2 * Vector<T>::kSize, tiles<T>, thin<T>};

}  // namespace

namespace RDQUANT_KERNELS_ISA {
const Kernels kernels = {kKernels<float>, kKernels<double>};
}

}  // namespace rdquant::linalg
