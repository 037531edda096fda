#include "rdquant/linalg/product.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "linalg/kernels.hpp"
#include "rdquant/core/error.hpp"
#include "rdquant/core/parallel.hpp"

namespace rdquant::linalg {
namespace {

constexpr std::size_t kDepth = 256;     // of packed strips: one of a and one of b stay in the first cache
constexpr std::size_t kMostRows = 128;  // whose packed strips stay in the second cache
constexpr std::size_t kStrips = 8;      // of b that are packed together
constexpr std::size_t kThinRows = 4, kThinDepth = 8;  // below these a packed copy does not pay

/// Copies `count` columns of rows [0, depth) of `from` into strips of kWidth columns, the last one filled up
/// with zeros.
template <std::size_t kWidth, typename T>
void pack_strips(const T* from, std::size_t stride, std::size_t depth, std::size_t count, T* to) {
  const std::size_t whole = count / kWidth * kWidth, rest = count - whole;
  for (std::size_t t = 0; t < depth; ++t, from += stride, to += kWidth) {
    for (std::size_t first = 0; first < whole; first += kWidth) {
      std::memcpy(to + first * depth, from + first, kWidth * sizeof(T));
    }
    if (rest > 0) {
      std::copy(from + whole, from + count, to + whole * depth);
      std::fill(to + whole * depth + rest, to + whole * depth + kWidth, T{0});
    }
  }
}

/// The same for the widths that kernels have.
template <typename T>
void pack(const T* from, std::size_t stride, std::size_t depth, std::size_t count, std::size_t width, T* to) {
  switch (width) {
    case 4:
      return pack_strips<4>(from, stride, depth, count, to);
    case 8:
      return pack_strips<8>(from, stride, depth, count, to);
    case 16:
      return pack_strips<16>(from, stride, depth, count, to);
    case 32:
      return pack_strips<32>(from, stride, depth, count, to);
    default:
      throw core::InvalidArgument("no kernel has tiles of " + std::to_string(width) + " elements");
  }
}

/// What becomes of the sums: they are added to c, or they begin with c.
enum class Sums { added, continued };

/// Rows of a product, at most kMostRows, whose left factor has been packed.
template <typename T, Sums kSums>
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
      if constexpr (kSums == Sums::continued) {
        each_row(k, cols, sums.data(), [](T* sum, const T* c, std::size_t n) { std::copy(c, c + n, sum); });
      }
      for (std::size_t t = 0; t < p_.depth; t += kDepth) {
        const std::size_t depth = std::min(kDepth, p_.depth - t);
        pack(p_.b + t * p_.ldb + k, p_.ldb, depth, cols, kernels_.cols, strips.data());
        kernels_.tiles(packed_.data() + t * strips_ * kernels_.rows, strips_, strips.data(), count, depth,
                       sums.data());
      }
      each_row(k, cols, sums.data(), [&](const T* sum, T* c, std::size_t n) {
        for (std::size_t i = 0; i < n; ++i) c[i] = kSums == Sums::added ? c[i] + p_.sign * sum[i] : sum[i];
      });
    }
  }

 private:
  /// Calls `body(sums, c, n)` for the n sums of every row and strip of columns [first, first + cols).
  template <typename Body>
  void each_row(std::size_t first, std::size_t cols, T* sums, Body&& body) const {
    const std::size_t tile = kernels_.rows * kernels_.cols;
    for (std::size_t i = 0; i < p_.rows; ++i) {
      T* const row = sums + i / kernels_.rows * tile + i % kernels_.rows * kernels_.cols;
      for (std::size_t k = 0; k < cols; k += kernels_.cols) {
        body(row + k / kernels_.cols * strips_ * tile, p_.c + i * p_.ldc + first + k,
             std::min(kernels_.cols, cols - k));
      }
    }
  }

  const TypeKernels<T>& kernels_;
  const Product<T>& p_;
  std::size_t strips_;
  std::vector<T> packed_;
};

template <Sums kSums, typename T>
void multiply_packed(const TypeKernels<T>& kernels, const Product<T>& product, int threads) {
  for (std::size_t first = 0; first < product.rows; first += kMostRows) {
    Product<T> some = product;
    some.a += first;
    some.c += first * product.ldc;
    some.rows = std::min(kMostRows, product.rows - first);
    const PackedRows<T, kSums> packed(kernels, some);
    core::parallel_for(product.cols, kStrips * kernels.cols, threads,
                       [&](std::size_t begin, std::size_t end) { packed.multiply(begin, end); });
  }
}

}  // namespace

template <typename T>
void multiply_by(const TypeKernels<T>& kernels, const Product<T>& product, int threads) {
  if (product.rows < kThinRows || product.depth < kThinDepth) {
    kernels.thin(product);
  } else {
    multiply_packed<Sums::added>(kernels, product, threads);
  }
}

template <typename T>
void accumulate_by(const TypeKernels<T>& kernels, const Product<T>& product, int threads) {
  multiply_packed<Sums::continued>(kernels, product, threads);
}

template void multiply_by(const TypeKernels<float>&, const Product<float>&, int);
template void multiply_by(const TypeKernels<double>&, const Product<double>&, int);
template void accumulate_by(const TypeKernels<float>&, const Product<float>&, int);
template void accumulate_by(const TypeKernels<double>&, const Product<double>&, int);

void multiply(const Product<float>& product, int threads) {
  multiply_by(selected_kernels().f32, product, threads);
}
void multiply(const Product<double>& product, int threads) {
  multiply_by(selected_kernels().f64, product, threads);
}
void accumulate(const Product<double>& product, int threads) {
  accumulate_by(selected_kernels().f64, product, threads);
}

}  // namespace rdquant::linalg
