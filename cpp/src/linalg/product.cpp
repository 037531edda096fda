#include "rdquant/linalg/product.hpp"

#include <algorithm>
#include <vector>

#include "linalg/kernels.hpp"
#include "rdquant/core/parallel.hpp"

namespace rdquant::linalg {
namespace {

constexpr std::size_t kDepth = 256;     // of packed strips: one of a and one of b stay in the first cache
constexpr std::size_t kMostRows = 128;  // whose packed strips stay in the second cache
constexpr std::size_t kStrips = 4;      // of b that are packed together
constexpr std::size_t kThinRows = 4, kThinDepth = 8;  // less is not worth a packed copy

/// Copies `count` columns of rows [0, depth) of `from` into strips of `width` columns, the last one filled up
/// with zeros.
template <typename T>
void pack(const T* from, std::size_t stride, std::size_t depth, std::size_t count, std::size_t width, T* to) {
  for (std::size_t first = 0; first < count; first += width, to += depth * width) {
    const std::size_t some = std::min(width, count - first);
    for (std::size_t t = 0; t < depth; ++t) {
      const T* const row = from + t * stride + first;
      std::copy(row, row + some, to + t * width);
      std::fill(to + t * width + some, to + (t + 1) * width, T{0});
    }
  }
}

/// Rows of a product, at most kMostRows, whose left factor has been packed.
template <typename T>
class PackedRows {
 public:
  PackedRows(const TypeKernels<T>& kernels, const Product<T>& p)
      : kernels_(kernels), p_(p), strips_((p.rows + kernels.rows - 1) / kernels.rows) {
    const std::size_t padded = strips_ * kernels.rows;
    packed_.resize(p.depth * padded);
    for (std::size_t t = 0; t < p.depth; t += kDepth) {
      pack(p.a + t * p.lda, p.lda, std::min(kDepth, p.depth - t), p.rows, kernels.rows,
           packed_.data() + t * padded);
    }
  }

  /// Columns [first, last).
  void multiply(std::size_t first, std::size_t last) const {
    const std::size_t wide = kStrips * kernels_.cols, tile = kernels_.rows * kernels_.cols;
    std::vector<T> strips(kDepth * wide), sums(strips_ * kStrips * tile);
    for (std::size_t k = first; k < last; k += wide) {
      const std::size_t cols = std::min(wide, last - k), count = (cols + kernels_.cols - 1) / kernels_.cols;
      std::fill(sums.begin(), sums.end(), T{0});
      for (std::size_t t = 0; t < p_.depth; t += kDepth) {
        const std::size_t depth = std::min(kDepth, p_.depth - t);
        pack(p_.b + t * p_.ldb + k, p_.ldb, depth, cols, kernels_.cols, strips.data());
        kernels_.tiles(packed_.data() + t * strips_ * kernels_.rows, strips_, strips.data(), count, depth,
                       sums.data());
      }
      for (std::size_t i = 0; i < p_.rows; ++i) {
        for (std::size_t j = 0; j < count; ++j)
          add(i, k + j * kernels_.cols, last, sums.data() + j * strips_ * tile);
      }
    }
  }

 private:
  /// Adds the sums of row `i` and the columns of one strip, from `first` on, to c.
  void add(std::size_t i, std::size_t first, std::size_t last, const T* sums) const {
    const T* const from =
        sums + i / kernels_.rows * kernels_.rows * kernels_.cols + i % kernels_.rows * kernels_.cols;
    T* const c = p_.c + i * p_.ldc + first;
    const std::size_t count = std::min(kernels_.cols, last - first);
    for (std::size_t k = 0; k < count; ++k) c[k] += p_.sign * from[k];
  }

  const TypeKernels<T>& kernels_;
  const Product<T>& p_;
  std::size_t strips_;
  std::vector<T> packed_;
};

}  // namespace

template <typename T>
void multiply_by(const TypeKernels<T>& kernels, const Product<T>& product, int threads) {
  if (product.rows < kThinRows || product.depth < kThinDepth) {
    kernels.thin(product);
    return;
  }
  const std::size_t grain = kStrips * kernels.cols;
  for (std::size_t first = 0; first < product.rows; first += kMostRows) {
    Product<T> some = product;
    some.a += first;
    some.c += first * product.ldc;
    some.rows = std::min(kMostRows, product.rows - first);
    const PackedRows<T> packed(kernels, some);
    core::parallel_for(product.cols, grain, threads,
                       [&](std::size_t begin, std::size_t end) { packed.multiply(begin, end); });
  }
}

template void multiply_by(const TypeKernels<float>&, const Product<float>&, int);
template void multiply_by(const TypeKernels<double>&, const Product<double>&, int);

void multiply(const Product<float>& product, int threads) {
  multiply_by(selected_kernels().f32, product, threads);
}
void multiply(const Product<double>& product, int threads) {
  multiply_by(selected_kernels().f64, product, threads);
}

}  // namespace rdquant::linalg
