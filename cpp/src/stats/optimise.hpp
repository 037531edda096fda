#pragma once

// Minimisers without derivatives for one to three parameters; infinity marks points that are not allowed.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <optional>

namespace rdquant::stats {

template <std::size_t D>
using Point = std::array<double, D>;

template <std::size_t D>
using Matrix = std::array<Point<D>, D>;

/// a + t * b
template <std::size_t D>
[[nodiscard]] Point<D> along(Point<D> a, double t, const Point<D>& b) {
  for (std::size_t i = 0; i < D; ++i) a[i] += t * b[i];
  return a;
}

/// The x of `matrix` x = `right` for one to three rows, by Cholesky's factors of the lower triangle; nothing
/// where the matrix is not positive definite or a number not finite.
template <std::size_t D>
[[nodiscard]] std::optional<Point<D>> solve(const Matrix<D>& matrix, const Point<D>& right);

template <std::size_t D>
struct Minimum {
  Point<D> at;
  double value;
};

/// Nelder and Mead's simplex, from a start and a first step in every direction, until its values agree to
/// `tolerance` (relative to 1 + |value|) or `evaluations` are spent. Never ends above the start.
template <std::size_t D, typename F>
[[nodiscard]] Minimum<D> simplex(const F& f, const Point<D>& start, const Point<D>& step, int evaluations,
                                 double tolerance) {
  std::array<Minimum<D>, D + 1> s;
  s[0] = {start, f(start)};
  for (std::size_t i = 0; i < D; ++i) {
    s[i + 1].at = start;
    s[i + 1].at[i] += step[i];
    s[i + 1].value = f(s[i + 1].at);
  }
  const auto lower = [](const Minimum<D>& a, const Minimum<D>& b) { return a.value < b.value; };
  for (int used = static_cast<int>(D) + 1; used < evaluations;) {
    std::sort(s.begin(), s.end(), lower);
    if (s[D].value - s[0].value <= tolerance * (1.0 + std::abs(s[0].value))) break;
    Point<D> centre{};
    for (std::size_t i = 0; i < D; ++i) centre = along(centre, 1.0 / D, s[i].at);
    const auto trial = [&](double t) {
      const Point<D> at = along(centre, t, along(s[D].at, -1.0, centre));
      ++used;
      return Minimum<D>{at, f(at)};
    };
    const Minimum<D> reflected = trial(-1.0);
    if (reflected.value < s[0].value) {
      const Minimum<D> expanded = trial(-2.0);
      s[D] = expanded.value < reflected.value ? expanded : reflected;
      continue;
    }
    if (reflected.value < s[D - 1].value) {
      s[D] = reflected;
      continue;
    }
    const Minimum<D> contracted = trial(reflected.value < s[D].value ? -0.5 : 0.5);
    if (contracted.value < std::min(reflected.value, s[D].value)) {
      s[D] = contracted;
      continue;
    }
    for (std::size_t i = 1; i <= D; ++i) {
      s[i].at = along(s[0].at, 0.5, along(s[i].at, -1.0, s[0].at));
      s[i].value = f(s[i].at);
      ++used;
    }
  }
  return *std::min_element(s.begin(), s.end(), lower);
}

/// Newton's method with central differences at distance `h` and halved steps, from a point near a smooth
/// minimum. Never ends above the start; leaves it where the curvature is not positive.
template <std::size_t D, typename F>
[[nodiscard]] Minimum<D> newton(const F& f, Minimum<D> start, double h, int iterations) {
  for (int round = 0; round < iterations; ++round) {
    const auto shifted = [&](std::size_t i, double a, std::size_t j, double b) {
      Point<D> at = start.at;
      at[i] += a;
      at[j] += b;
      return f(at);
    };
    Point<D> gradient{};
    Matrix<D> hessian{};
    Point<D> up{};
    for (std::size_t i = 0; i < D; ++i) {
      up[i] = shifted(i, h, i, 0.0);
      const double down = shifted(i, -h, i, 0.0);
      gradient[i] = (up[i] - down) / (2.0 * h);
      hessian[i][i] = (up[i] - 2.0 * start.value + down) / (h * h);
    }
    for (std::size_t i = 0; i < D; ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        hessian[i][j] = (shifted(i, h, j, h) - up[i] - up[j] + start.value) / (h * h);
      }
    }
    const std::optional<Point<D>> descent = solve(hessian, gradient);
    if (!descent) return start;
    const auto moved = [&](double t) {
      const Point<D> at = along(start.at, -t, *descent);
      return Minimum<D>{at, f(at)};
    };
    Minimum<D> next = moved(1.0);
    for (double t = 0.5; t > 0.05 && !(next.value < start.value); t *= 0.5) next = moved(t);
    if (!(next.value < start.value)) return start;
    const bool done = start.value - next.value <= 1e-13 * (1.0 + std::abs(next.value));
    start = next;
    if (done) break;
  }
  return start;
}

/// Golden section with parabolic steps (Brent) in [low, high] around a point `middle` that is below both
/// ends.
template <typename F>
[[nodiscard]] Minimum<1> brent(const F& f, double low, double middle, double high, int evaluations) {
  constexpr double kGolden = 0.3819660112501051;
  double x = middle, w = x, v = x;
  double fx = f(x), fw = fx, fv = fx;
  double step = 0.0, before = 0.0;
  for (int i = 1; i < evaluations; ++i) {
    const double centre = 0.5 * (low + high);
    const double tolerance = 1e-9 * (1.0 + std::abs(x));
    if (std::abs(x - centre) <= 2.0 * tolerance - 0.5 * (high - low)) break;
    const double r = (x - w) * (fx - fv);
    double q = (x - v) * (fx - fw);
    double p = (x - v) * q - (x - w) * r;
    q = 2.0 * (q - r);
    if (q > 0.0) p = -p;
    q = std::abs(q);
    const double last = before;
    before = step;
    if (std::abs(p) < std::abs(0.5 * q * last) && p > q * (low - x) && p < q * (high - x)) {
      step = p / q;
    } else {
      before = x < centre ? high - x : low - x;
      step = kGolden * before;
    }
    const double u = x + (std::abs(step) >= tolerance ? step : std::copysign(tolerance, step));
    const double fu = f(u);
    if (fu <= fx) {
      (u < x ? high : low) = x;
      v = w, fv = fw, w = x, fw = fx, x = u, fx = fu;
    } else {
      (u < x ? low : high) = u;
      if (fu <= fw || w == x) {
        v = w, fv = fw, w = u, fw = fu;
      } else if (fu <= fv || v == x || v == w) {
        v = u, fv = fu;
      }
    }
  }
  return {{x}, fx};
}

}  // namespace rdquant::stats
