#include "stats/special.hpp"

#include <math.h>  // lgamma_r

#include <cmath>
#include <limits>
#include <numbers>

namespace rdquant::stats {
namespace {

constexpr double kTiny = 1e-300;
constexpr double kEpsilon = std::numeric_limits<double>::epsilon();

// Temme's uniform expansion of Q(a, x), leading terms (DLMF 8.12.4, 8.12.7).
double gamma_p_large(double a, double x) noexcept {
  const double mu = x / a - 1.0;
  const double half = std::abs(mu) < 1e-3 ? mu * mu * (0.5 - mu * (1.0 / 3.0 - mu * (0.25 - 0.2 * mu)))
                                          : mu - std::log1p(mu);  // eta^2 / 2
  const double eta = std::copysign(std::sqrt(2.0 * half), mu);
  const double c0 =
      std::abs(eta) < 1e-2 ? -1.0 / 3.0 + eta * (1.0 / 12.0 - eta * 2.0 / 135.0) : 1.0 / mu - 1.0 / eta;
  const double rest = std::exp(-a * half) / std::sqrt(2.0 * std::numbers::pi * a) * (c0 - 1.0 / (540.0 * a));
  return 0.5 * std::erfc(-eta * std::sqrt(0.5 * a)) - rest;
}

double gamma_p_series(double a, double x) noexcept {
  double term = 1.0 / a;
  double sum = term;
  for (double k = a + 1.0; term > sum * kEpsilon; k += 1.0) {
    term *= x / k;
    sum += term;
  }
  return sum * std::exp(a * std::log(x) - x - log_gamma(a));
}

// Continued fraction of Q(a, x), evaluated by Lentz's method.
double gamma_q_fraction(double a, double x) noexcept {
  double b = x + 1.0 - a;
  double c = 1.0 / kTiny;
  double d = 1.0 / b;
  double h = d;
  for (int i = 1; i < 10000; ++i) {
    const double an = -i * (i - a);
    b += 2.0;
    d = an * d + b;
    d = 1.0 / (std::abs(d) < kTiny ? kTiny : d);
    c = b + an / c;
    c = std::abs(c) < kTiny ? kTiny : c;
    h *= d * c;
    if (std::abs(d * c - 1.0) < kEpsilon) break;
  }
  return h * std::exp(a * std::log(x) - x - log_gamma(a));
}

// Continued fraction of I_x(a, b) (DLMF 8.17.22), Lentz's method.
double beta_fraction(double a, double b, double x) noexcept {
  const auto guard = [](double v) { return std::abs(v) < kTiny ? kTiny : v; };
  double c = 1.0;
  double d = 1.0 / guard(1.0 - (a + b) * x / (a + 1.0));
  double h = d;
  for (int m = 1; m < 10000; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1.0 / guard(1.0 + even * d);
    c = guard(1.0 + even / c);
    h *= d * c;
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1.0 / guard(1.0 + odd * d);
    c = guard(1.0 + odd / c);
    h *= d * c;
    if (std::abs(d * c - 1.0) < kEpsilon) break;
  }
  return h;
}

}  // namespace

double log_gamma(double x) noexcept {
  int sign = 0;
  return ::lgamma_r(x, &sign);  // std::lgamma writes a global
}

double digamma(double x) noexcept {
  double result = 0.0;
  while (x < 10.0) {
    result -= 1.0 / x;
    x += 1.0;
  }
  const double r = 1.0 / (x * x);
  return result + std::log(x) - 0.5 / x -
         r * (1.0 / 12 -
              r * (1.0 / 120 - r * (1.0 / 252 - r * (1.0 / 240 - r * (1.0 / 132 - r * 691.0 / 32760)))));
}

double trigamma(double x) noexcept {
  double result = 0.0;
  while (x < 10.0) {
    result += 1.0 / (x * x);
    x += 1.0;
  }
  const double r = 1.0 / (x * x);
  return result + 1.0 / x + 0.5 * r +
         r / x *
             (1.0 / 6 - r * (1.0 / 30 - r * (1.0 / 42 - r * (1.0 / 30 - r * (5.0 / 66 - r * 691.0 / 2730)))));
}

double normal_cdf(double x) noexcept { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }

double log_normal_cdf(double x) noexcept {
  if (x > -30.0) return std::log(normal_cdf(x));
  const double r = 1.0 / (x * x);  // asymptotic series of Mills' ratio
  return -0.5 * x * x - std::log(-x) - 0.5 * std::log(2.0 * std::numbers::pi) +
         std::log1p(-r * (1.0 - 3.0 * r));
}

double normal_quantile(double p) noexcept {
  if (!(p > 0.0 && p < 1.0)) {
    return p == 0.0 ? -HUGE_VAL : p == 1.0 ? HUGE_VAL : std::numeric_limits<double>::quiet_NaN();
  }
  // Start: Hastings' rational approximation (4.5e-4, Abramowitz and Stegun 26.2.23), then Newton on log Φ of
  // the smaller tail, where relative precision holds.
  const double tail = std::min(p, 1.0 - p);
  const double t = std::sqrt(-2.0 * std::log(tail));
  double x = -(t - (2.515517 + t * (0.802853 + t * 0.010328)) /
                       (1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308))));
  for (int i = 0; i < 4; ++i) {
    const double value = log_normal_cdf(x);
    const double slope = std::exp(-0.5 * x * x - value) / std::sqrt(2.0 * std::numbers::pi);
    x -= (value - std::log(tail)) / slope;
  }
  return p < 0.5 ? x : -x;
}

double gamma_p(double a, double x) noexcept {
  if (x <= 0.0) return 0.0;
  if (std::isinf(x)) return 1.0;
  if (a > 2000.0) return gamma_p_large(a, x);
  return x < a + 1.0 ? gamma_p_series(a, x) : 1.0 - gamma_q_fraction(a, x);
}

double beta_i(double a, double b, double x) noexcept {
  if (x <= 0.0) return 0.0;
  if (x >= 1.0) return 1.0;
  const double front =
      std::exp(log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * std::log(x) + b * std::log1p(-x));
  if (x < (a + 1.0) / (a + b + 2.0)) return front * beta_fraction(a, b, x) / a;
  return 1.0 - front * beta_fraction(b, a, 1.0 - x) / b;
}

}  // namespace rdquant::stats
