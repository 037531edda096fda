#include "stats/optimise.hpp"

#include <Eigen/Cholesky>
#include <Eigen/Core>

namespace rdquant::stats {

template <std::size_t D>
std::optional<Point<D>> solve(const Matrix<D>& matrix, const Point<D>& right) {
  Eigen::Matrix<double, D, D> a;
  Eigen::Matrix<double, D, 1> b;
  for (std::size_t i = 0; i < D; ++i) {
    b(i) = right[i];
    for (std::size_t j = 0; j <= i; ++j) a(i, j) = a(j, i) = matrix[i][j];
  }
  if (!a.allFinite() || !b.allFinite()) return std::nullopt;
  const Eigen::LLT<Eigen::Matrix<double, D, D>> factor(a);
  if (factor.info() != Eigen::Success) return std::nullopt;
  const Eigen::Matrix<double, D, 1> x = factor.solve(b);
  Point<D> result;
  for (std::size_t i = 0; i < D; ++i) result[i] = x(i);
  return result;
}

template std::optional<Point<1>> solve(const Matrix<1>&, const Point<1>&);
template std::optional<Point<2>> solve(const Matrix<2>&, const Point<2>&);
template std::optional<Point<3>> solve(const Matrix<3>&, const Point<3>&);

}  // namespace rdquant::stats
