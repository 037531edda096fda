#include "stats/optimise.hpp"

#include "rdquant/linalg/cholesky.hpp"

namespace rdquant::stats {

template <std::size_t D>
std::optional<Point<D>> solve(const Matrix<D>& matrix, const Point<D>& right) {
  std::array<double, D * D> a;
  Point<D> x = right;
  bool finite = true;
  for (std::size_t i = 0; i < D; ++i) {
    finite = finite && std::isfinite(right[i]);
    for (std::size_t j = 0; j <= i; ++j) {
      a[j * D + i] = matrix[i][j];
      finite = finite && std::isfinite(matrix[i][j]);
    }
  }
  if (!finite || linalg::factorise(a, D) > 0) return std::nullopt;
  linalg::solve(a, D, x);
  return x;
}

template std::optional<Point<1>> solve(const Matrix<1>&, const Point<1>&);
template std::optional<Point<2>> solve(const Matrix<2>&, const Point<2>&);
template std::optional<Point<3>> solve(const Matrix<3>&, const Point<3>&);

}  // namespace rdquant::stats
