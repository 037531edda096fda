#include "rdquant/linalg/cholesky.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <vector>

#include "rdquant/core/error.hpp"
#include "rdquant/core/parallel.hpp"
#include "rdquant/linalg/product.hpp"

namespace rdquant::linalg {
namespace {

constexpr std::size_t kTogether = 128;  // rows for which the rows above are read once
constexpr std::size_t kColumns =
    128;  // of a panel that a thread takes at least; they stay in the first cache

/// Rows of a panel, after what the rows above it take from them has been taken.
class Panel {
 public:
  Panel(double* a, std::size_t n, std::size_t first, std::size_t last)
      : a_(a), n_(n), first_(first), last_(last) {}

  /// The square on the diagonal. Returns the number of lost rows.
  std::size_t factorise_square(double least) {
    std::size_t lost = 0;
    for (std::size_t i = first_; i < last_; ++i) {
      take_rows_above(i, i, last_);
      double* const row = a_ + i * n_;
      if (row[i] > least) {
        row[i] = std::sqrt(row[i]);
        for (std::size_t k = i + 1; k < last_; ++k) row[k] /= row[i];
      } else {
        ++lost;
        lost_.resize(last_ - first_);
        lost_[i - first_] = 1;
        row[i] = least > 0.0 ? std::sqrt(least) : 1.0;
        std::fill(row + i + 1, row + last_, 0.0);
      }
    }
    return lost;
  }

  /// Columns [begin, end) behind that square.
  void factorise_columns(std::size_t begin, std::size_t end) const {
    for (std::size_t some = begin; some < end; some += kColumns) {
      const std::size_t stop = std::min(end, some + kColumns);
      for (std::size_t i = first_; i < last_; ++i) {
        take_rows_above(i, some, stop);
        double* const row = a_ + i * n_;
        if (!lost_.empty() && lost_[i - first_] != 0) {
          std::fill(row + some, row + stop, 0.0);
        } else {
          const double pivot = row[i];
          for (std::size_t k = some; k < stop; ++k) row[k] /= pivot;
        }
      }
    }
  }

 private:
  void take_rows_above(std::size_t i, std::size_t begin, std::size_t end) const {
    double* const row = a_ + i * n_;
    for (std::size_t t = first_; t < i; ++t) {
      const double* const above = a_ + t * n_;
      const double times = above[i];
      for (std::size_t k = begin; k < end; ++k) row[k] -= times * above[k];
    }
  }

  double* a_;
  std::size_t n_, first_, last_;
  std::vector<std::uint8_t> lost_;  // of the rows; empty where none is
};

/// What rows above take from some rows of a matrix: sums over t < some row of u[t][i]·u[t][k]. Each sum is taken in
/// the order of t, in as many steps as there are panels: what all of the rows have in common is taken at once, which
/// reads the rows above once for several panels.
class Taken {
 public:
  Taken(double* a, std::size_t n, std::size_t first, std::size_t last, int threads)
      : a_(a), n_(n), first_(first), width_(n - first), threads_(threads), sums_((last - first) * width_) {
    add(first, last, 0, first);
  }

  /// Completes the sums of rows [first, last) and subtracts them.
  void subtract(std::size_t first, std::size_t last) {
    add(first, last, first_, first);
    for (std::size_t i = first; i < last; ++i) {
      double* const row = a_ + i * n_;
      const double* const sums = sums_.data() + (i - first_) * width_;
      for (std::size_t k = first; k < n_; ++k) row[k] -= sums[k - first_];
    }
  }

 private:
  /// To the sums of rows [first, last), for t in [from, to).
  void add(std::size_t first, std::size_t last, std::size_t from, std::size_t to) {
    if (from == to) return;
    const double* const above = a_ + from * n_ + first;
    accumulate({above, n_, above, n_, to - from, last - first, n_ - first, 1.0,
                sums_.data() + (first - first_) * width_ + (first - first_), width_},
               threads_);
  }

  double* a_;
  std::size_t n_, first_, width_;
  int threads_;
  std::vector<double> sums_;
};

}  // namespace

std::size_t factorise(std::span<double> a, std::size_t n, const CholeskyOptions& options) {
  core::require(a.size() == n * n && options.panel > 0, "a matrix to factorise is square");
  std::size_t lost = 0;
  const std::size_t together = std::max(kTogether / options.panel, std::size_t{1}) * options.panel;
  for (std::size_t begin = 0; begin < n; begin += together) {
    const std::size_t end = std::min(n, begin + together);
    std::optional<Taken> taken;
    if (n > options.panel) taken.emplace(a.data(), n, begin, end, options.threads);
    for (std::size_t first = begin; first < end; first += options.panel) {
      const std::size_t last = std::min(n, first + options.panel);
      if (first > 0) taken->subtract(first, last);
      Panel panel(a.data(), n, first, last);
      lost += panel.factorise_square(options.least);
      if (last == n) break;
      core::parallel_for(n - last, kColumns, options.threads, [&](std::size_t from, std::size_t to) {
        panel.factorise_columns(last + from, last + to);
      });
    }
  }
  return lost;
}

void solve(std::span<const double> u, std::size_t n, std::span<double> b) {
  core::require(u.size() == n * n && b.size() == n, "a factor and a right side of one size");
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t k = 0; k < i; ++k) b[i] -= u[k * n + i] * b[k];
    b[i] /= u[i * n + i];
  }
  for (std::size_t i = n; i-- > 0;) {
    for (std::size_t k = i + 1; k < n; ++k) b[i] -= u[i * n + k] * b[k];
    b[i] /= u[i * n + i];
  }
}

}  // namespace rdquant::linalg
