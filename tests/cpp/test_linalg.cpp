#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "linalg/kernels.hpp"
#include "rdquant/core/cpu.hpp"
#include "rdquant/core/error.hpp"
#include "rdquant/linalg/cholesky.hpp"

using namespace rdquant;

namespace {

template <typename T>
std::vector<T> noise(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0F, 1.0F);
  std::vector<T> out(n);
  for (T& value : out) value = static_cast<T>(normal(random));
  return out;
}

template <typename T>
void check_product(const linalg::TypeKernels<T>& kernels, std::size_t depth, std::size_t rows,
                   std::size_t cols, int threads = 1) {
  const std::size_t lda = rows + 3, ldb = cols + 5, ldc = cols + 1;
  const auto a = noise<T>(depth * lda, 1), b = noise<T>(depth * ldb, 2);
  auto c = noise<T>(rows * ldc, 3), expected = c;
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t k = 0; k < cols; ++k) {
      T sum = 0;
      for (std::size_t t = 0; t < depth; ++t) sum += a[t * lda + i] * b[t * ldb + k];
      expected[i * ldc + k] -= sum;
    }
  }
  const linalg::Product<T> product{a.data(), lda, b.data(), ldb, depth, rows, cols, T{-1}, c.data(), ldc};
  linalg::multiply_by(kernels, product, threads);
  CAPTURE(depth);
  CAPTURE(rows);
  CAPTURE(cols);
  CHECK(c == expected);
  // A sum that is taken in two parts goes on where it was.
  std::vector<T> sums(rows * cols), parts(rows * cols);
  const std::size_t half = depth / 2;
  linalg::accumulate_by(kernels, {a.data(), lda, b.data(), ldb, depth, rows, cols, T{1}, sums.data(), cols},
                        1);
  linalg::accumulate_by(kernels, {a.data(), lda, b.data(), ldb, half, rows, cols, T{1}, parts.data(), cols},
                        1);
  linalg::accumulate_by(kernels,
                        {a.data() + half * lda, lda, b.data() + half * ldb, ldb, depth - half, rows, cols,
                         T{1}, parts.data(), cols},
                        threads);
  CHECK(parts == sums);
  for (std::size_t i = 0; i < rows; ++i) {
    T sum = 0;
    for (std::size_t t = 0; t < depth; ++t) sum += a[t * lda + i] * b[t * ldb];
    CHECK(sums[i * cols] == sum);
  }
}

/// X·Xᵀ + I/2.
std::vector<double> positive(std::size_t n, unsigned seed) {
  const auto x = noise<double>(n * n, seed);
  std::vector<double> a(n * n);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      for (std::size_t t = 0; t < n; ++t) a[i * n + j] += x[i * n + t] * x[j * n + t];
    }
    a[i * n + i] += 0.5;
  }
  return a;
}

/// The definition: what the rows of earlier panels take is summed first.
std::vector<double> plain_factor(std::vector<double> a, std::size_t n, std::size_t panel) {
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t first = i / panel * panel;
    for (std::size_t k = i; k < n; ++k) {
      double sum = 0.0;
      for (std::size_t t = 0; t < first; ++t) sum += a[t * n + i] * a[t * n + k];
      a[i * n + k] -= sum;
      for (std::size_t t = first; t < i; ++t) a[i * n + k] -= a[t * n + i] * a[t * n + k];
    }
    a[i * n + i] = std::sqrt(a[i * n + i]);
    for (std::size_t k = i + 1; k < n; ++k) a[i * n + k] /= a[i * n + i];
  }
  return a;
}

bool same_upper(const std::vector<double>& a, const std::vector<double>& b, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const auto row = static_cast<std::ptrdiff_t>(i * n), end = static_cast<std::ptrdiff_t>((i + 1) * n);
    if (!std::equal(a.begin() + row + static_cast<std::ptrdiff_t>(i), a.begin() + end,
                    b.begin() + row + static_cast<std::ptrdiff_t>(i))) {
      return false;
    }
  }
  return true;
}

}  // namespace

TEST_CASE("products are the plain sums to the bit in every instruction set") {
  std::vector<const linalg::Kernels*> sets = {&linalg::baseline::kernels};
#if defined(__x86_64__)
  if (core::available_isa() >= core::Isa::avx2) sets.push_back(&linalg::avx2::kernels);
  if (core::available_isa() >= core::Isa::avx512) sets.push_back(&linalg::avx512::kernels);
#endif
  for (const linalg::Kernels* kernels : sets) {
    for (const std::size_t rows : {1U, 3U, 4U, 7U, 9U, 130U}) {
      for (const std::size_t cols : {1U, 15U, 16U, 33U, 64U, 131U}) {
        for (const std::size_t depth : {0U, 5U, 8U, 13U, 257U}) {
          check_product<float>(kernels->f32, depth, rows, cols);
          check_product<double>(kernels->f64, depth, rows, cols);
        }
      }
    }
    check_product<float>(kernels->f32, 300, 40, 1000, 3);
    check_product<double>(kernels->f64, 300, 40, 1000, 3);
  }
}

TEST_CASE("factors are the definition's to the bit, on any number of threads") {
  for (const std::size_t n : {1U, 2U, 3U, 31U, 32U, 33U, 100U, 257U}) {
    const std::vector<double> a = positive(n, static_cast<unsigned>(n));
    for (const std::size_t panel : {std::size_t{1}, std::size_t{32}, n}) {
      const std::vector<double> expected = plain_factor(a, n, panel);
      for (const int threads : {1, 3}) {
        std::vector<double> u = a;
        CHECK(linalg::factorise(u, n, {.panel = panel, .threads = threads}) == 0);
        CAPTURE(n);
        CAPTURE(panel);
        CHECK(same_upper(u, expected, n));
      }
    }
  }
}

TEST_CASE("a factor solves its equations") {
  for (const std::size_t n : {1U, 3U, 34U, 150U}) {
    const std::vector<double> a = positive(n, 7), x = noise<double>(n, 8);
    std::vector<double> u = a, b(n);
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) b[i] += a[i * n + j] * x[j];
    }
    CHECK(linalg::factorise(u, n) == 0);
    linalg::solve(u, n, b);
    for (std::size_t i = 0; i < n; ++i) CHECK(b[i] == doctest::Approx(x[i]).epsilon(1e-6));
  }
}

TEST_CASE("rows that are lost to rounding are counted and stand alone") {
  const std::size_t n = 70, copy = 40;
  std::vector<double> a = positive(n, 9);
  for (std::size_t k = 0; k < n; ++k) a[k * n + copy] = a[k * n + 3];  // row 40 says what row 3 does
  for (std::size_t k = 0; k < n; ++k) a[copy * n + k] = a[3 * n + k];
  a[copy * n + copy] = a[3 * n + 3];
  CHECK(linalg::factorise(a, n, {.least = 1e-9}) == 1);
  CHECK(a[copy * n + copy] == doctest::Approx(std::sqrt(1e-9)));
  for (std::size_t k = copy + 1; k < n; ++k) CHECK(a[copy * n + k] == 0.0);
  std::vector<double> indefinite = {1.0, 2.0, 2.0, 1.0};
  CHECK(linalg::factorise(indefinite, 2) == 1);
  CHECK_THROWS_AS(linalg::factorise(indefinite, 3), core::InvalidArgument);
}
