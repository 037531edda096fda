#pragma once

// One struct per family: made from parameters, answers pdf, logpdf, cdf and quantile. Constants of the
// parameters are computed once, so that loops over many x stay short.

#include <cmath>
#include <limits>
#include <numbers>
#include <utility>

#include "rdquant/stats/families.hpp"
#include "stats/special.hpp"

namespace rdquant::stats {

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();
inline constexpr double kLogSqrt2Pi = 0.91893853320467274178;

/// Inverse of an increasing `cdf` by bisection, for families without a formula: to the last bits of x.
template <typename Cdf>
[[nodiscard]] double invert(const Cdf& cdf, double p, double low, double high) {
  for (int i = 0; i < 200; ++i) {
    const double middle = 0.5 * (low + high);
    if (middle <= low || middle >= high) break;
    (cdf(middle) < p ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

/// A positive z with cdf(z) >= p, for `invert`.
template <typename Cdf>
[[nodiscard]] double upper_bound(const Cdf& cdf, double p) {
  double high = 1.0;
  while (cdf(high) < p && high < 1e300) high *= 2.0;
  return high;
}

struct Gaussian {
  double loc, scale, rate, log_top;
  explicit Gaussian(const Parameters& p)
      : loc(p.loc), scale(p.scale), rate(1.0 / p.scale), log_top(-kLogSqrt2Pi - std::log(p.scale)) {}
  double logpdf(double x) const {
    const double z = (x - loc) * rate;
    return log_top - 0.5 * z * z;
  }
  double pdf(double x) const { return std::exp(logpdf(x)); }
  double cdf(double x) const { return normal_cdf((x - loc) * rate); }
  double quantile(double p) const { return loc + scale * normal_quantile(p); }
};

struct Uniform {
  double loc, scale, top;
  explicit Uniform(const Parameters& p) : loc(p.loc), scale(p.scale), top(1.0 / p.scale) {}
  double pdf(double x) const { return x >= loc && x <= loc + scale ? top : 0.0; }
  double logpdf(double x) const { return std::log(pdf(x)); }
  double cdf(double x) const { return std::fmin(1.0, std::fmax(0.0, (x - loc) * top)); }
  double quantile(double p) const { return loc + scale * p; }
};

struct Cauchy {
  double loc, scale, rate, top;
  explicit Cauchy(const Parameters& p)
      : loc(p.loc), scale(p.scale), rate(1.0 / p.scale), top(1.0 / (std::numbers::pi * p.scale)) {}
  double pdf(double x) const {
    const double z = (x - loc) * rate;
    return top / (1.0 + z * z);
  }
  double logpdf(double x) const { return std::log(pdf(x)); }
  double cdf(double x) const {
    const double z = (x - loc) * rate;
    return z < 0.0 ? std::atan2(1.0, -z) / std::numbers::pi : 0.5 + std::atan(z) / std::numbers::pi;
  }
  double quantile(double p) const {
    if (p == 0.0 || p == 1.0) return p == 0.0 ? -kInfinity : kInfinity;
    return loc - scale / std::tan(std::numbers::pi * p);
  }
};

struct Exponential {
  double loc, scale, rate;
  explicit Exponential(const Parameters& p) : loc(p.loc), scale(p.scale), rate(1.0 / p.scale) {}
  double pdf(double x) const { return x < loc ? 0.0 : rate * std::exp((loc - x) * rate); }
  double logpdf(double x) const { return x < loc ? -kInfinity : (loc - x) * rate + std::log(rate); }
  double cdf(double x) const { return x < loc ? 0.0 : -std::expm1((loc - x) * rate); }
  double quantile(double p) const { return loc - scale * std::log1p(-p); }
};

struct Gamma {
  double shape, loc, scale, log_top;
  explicit Gamma(const Parameters& p)
      : shape(p.shape), loc(p.loc), scale(p.scale), log_top(-log_gamma(p.shape) - std::log(p.scale)) {}
  double logpdf(double x) const {
    const double z = (x - loc) / scale;
    if (z < 0.0) return -kInfinity;
    if (shape == 1.0) return log_top - z;
    // For large shapes the terms cancel: log z^(a-1) - z is taken about its top at z = a - 1.
    if (shape > 1e4) {
      const double a = shape - 1.0;
      const double u = z / a - 1.0;
      const double excess =
          std::abs(u) < 1e-3 ? -u * u * (0.5 - u * (1.0 / 3.0 - u * (0.25 - 0.2 * u))) : std::log1p(u) - u;
      // log Γ(a + 1) = a log a - a + log sqrt(2πa) + 1/(12a) (Stirling)
      return a * excess - kLogSqrt2Pi - 0.5 * std::log(a) - 1.0 / (12.0 * a) - std::log(scale);
    }
    return log_top + (shape - 1.0) * std::log(z) - z;
  }
  double pdf(double x) const { return std::exp(logpdf(x)); }
  double cdf(double x) const { return gamma_p(shape, (x - loc) / scale); }
  double quantile(double p) const {
    if (p == 1.0) return kInfinity;
    const auto standard = [this](double z) { return gamma_p(shape, z); };
    return loc + scale * invert(standard, p, 0.0, upper_bound(standard, p));
  }
};

struct Laplace {
  double loc, scale, rate, log_top;
  explicit Laplace(const Parameters& p)
      : loc(p.loc), scale(p.scale), rate(1.0 / p.scale), log_top(-std::log(2.0 * p.scale)) {}
  double logpdf(double x) const { return log_top - std::abs(x - loc) * rate; }
  double pdf(double x) const { return std::exp(logpdf(x)); }
  double cdf(double x) const {
    const double half = 0.5 * std::exp(-std::abs(x - loc) * rate);
    return x < loc ? half : 1.0 - half;
  }
  double quantile(double p) const {
    return p < 0.5 ? loc + scale * std::log(2.0 * p) : loc - scale * std::log(2.0 * (1.0 - p));
  }
};

/// SciPy's alpha: with z = (x - loc) / scale > 0, exp(-(a - 1/z)^2 / 2) / (z^2 Φ(a) sqrt(2π)) / scale.
struct Alpha {
  double a, loc, scale, log_top;
  explicit Alpha(const Parameters& p)
      : a(p.shape),
        loc(p.loc),
        scale(p.scale),
        log_top(-kLogSqrt2Pi - log_normal_cdf(a) - std::log(p.scale)) {}
  double logpdf(double x) const {
    if (x <= loc) return -kInfinity;
    const double r = scale / (x - loc);
    return log_top + 2.0 * std::log(r) - 0.5 * (a - r) * (a - r);
  }
  double pdf(double x) const {
    if (x <= loc) return 0.0;
    const double r = scale / (x - loc);
    const double value = r * r * std::exp(log_top - 0.5 * (a - r) * (a - r));
    return std::isfinite(r * r) ? value : 0.0;
  }
  double cdf(double x) const { return x <= loc ? 0.0 : normal_cdf(a - scale / (x - loc)) / normal_cdf(a); }
  double quantile(double p) const {
    if (p == 0.0) return loc;
    return loc + scale / (a - normal_quantile(p * normal_cdf(a)));
  }
};

struct Logistic {
  double loc, scale, rate, log_top;
  explicit Logistic(const Parameters& p)
      : loc(p.loc), scale(p.scale), rate(1.0 / p.scale), log_top(-std::log(p.scale)) {}
  double pdf(double x) const {
    const double e = std::exp(-std::abs(x - loc) * rate);
    return rate * e / ((1.0 + e) * (1.0 + e));
  }
  double logpdf(double x) const {
    const double z = std::abs(x - loc) * rate;
    return log_top - z - 2.0 * std::log1p(std::exp(-z));
  }
  double cdf(double x) const {
    const double e = std::exp(-std::abs(x - loc) * rate);
    return (x < loc ? e : 1.0) / (1.0 + e);
  }
  double quantile(double p) const { return loc + scale * (std::log(p) - std::log1p(-p)); }
};

/// SciPy's gennorm: beta / (2 Γ(1/beta)) exp(-|z|^beta).
struct GeneralizedGaussian {
  double beta, loc, scale, rate, log_top;
  explicit GeneralizedGaussian(const Parameters& p)
      : beta(p.shape),
        loc(p.loc),
        scale(p.scale),
        rate(1.0 / p.scale),
        log_top(std::log(0.5 * p.shape / p.scale) - log_gamma(1.0 / p.shape)) {}
  double logpdf(double x) const { return log_top - std::pow(std::abs(x - loc) * rate, beta); }
  double pdf(double x) const { return std::exp(logpdf(x)); }
  double cdf(double x) const {
    const double half = 0.5 * gamma_p(1.0 / beta, std::pow(std::abs(x - loc) * rate, beta));
    return x < loc ? 0.5 - half : 0.5 + half;
  }
  double quantile(double p) const {
    const double centred = 2.0 * std::abs(p - 0.5);
    if (centred == 0.0) return loc;
    if (centred >= 1.0) return p < 0.5 ? -kInfinity : kInfinity;
    const auto standard = [this](double y) { return gamma_p(1.0 / beta, y); };
    const double y = invert(standard, centred, 0.0, upper_bound(standard, centred));
    return loc + std::copysign(scale * std::pow(y, 1.0 / beta), p - 0.5);
  }
};

struct StudentT {
  double df, loc, scale, rate, log_top, power;
  explicit StudentT(const Parameters& p)
      : df(p.shape),
        loc(p.loc),
        scale(p.scale),
        rate(1.0 / p.scale),
        log_top(top(p.shape) - std::log(p.scale)),
        power(-0.5 * (p.shape + 1.0)) {}
  /// log(Γ((v + 1) / 2) / (Γ(v / 2) sqrt(πv))), by its series where the two would cancel.
  static double top(double v) {
    if (v > 1e6) return -kLogSqrt2Pi - 0.25 / v;
    return log_gamma(0.5 * (v + 1.0)) - log_gamma(0.5 * v) - 0.5 * std::log(std::numbers::pi * v);
  }
  double logpdf(double x) const {
    const double z = (x - loc) * rate;
    return log_top + power * std::log1p(z * z / df);
  }
  double pdf(double x) const { return std::exp(logpdf(x)); }
  double cdf(double x) const {
    const double z = (x - loc) * rate;
    if (df > 1e6) return normal_cdf(z);
    const double tail = 0.5 * beta_i(0.5 * df, 0.5, df / (df + z * z));
    return z < 0.0 ? tail : 1.0 - tail;
  }
  double quantile(double p) const {
    const double tail = std::fmin(p, 1.0 - p);
    if (tail <= 0.0) return p < 0.5 ? -kInfinity : kInfinity;
    if (df > 1e6) return loc + scale * normal_quantile(p);
    const auto upper = [this](double z) { return -0.5 * beta_i(0.5 * df, 0.5, df / (df + z * z)); };
    double high = 1.0;
    while (-upper(high) > tail && high < 1e150) high *= 2.0;
    return loc + std::copysign(scale * invert(upper, -tail, 0.0, high), p - 0.5);
  }
};

/// Probability `zero` at 0; the rest spread by Base.
template <typename Base>
struct Spike {
  double zero;
  Base base;
  explicit Spike(const Parameters& p) : zero(p.shape), base(p) {}
  double pdf(double x) const { return (1.0 - zero) * base.pdf(x); }
  double logpdf(double x) const { return std::log1p(-zero) + base.logpdf(x); }
  double cdf(double x) const { return (1.0 - zero) * base.cdf(x) + (x >= 0.0 ? zero : 0.0); }
  double quantile(double p) const {
    const double below = (1.0 - zero) * base.cdf(0.0);
    if (p >= below && p <= below + zero) return 0.0;
    return base.quantile((p < below ? p : p - zero) / (1.0 - zero));
  }
};

/// Calls body(struct) with the family's struct.
template <typename Body>
decltype(auto) with_family(Family family, const Parameters& p, Body&& body) {
  switch (family) {
    case Family::gaussian:
      return body(Gaussian(p));
    case Family::uniform:
      return body(Uniform(p));
    case Family::cauchy:
      return body(Cauchy(p));
    case Family::exponential:
      return body(Exponential(p));
    case Family::gamma:
      return body(Gamma(p));
    case Family::laplace:
      return body(Laplace(p));
    case Family::alpha:
      return body(Alpha(p));
    case Family::logistic:
      return body(Logistic(p));
    case Family::generalized_gaussian:
      return body(GeneralizedGaussian(p));
    case Family::student_t:
      return body(StudentT(p));
    case Family::spike_laplace:
      return body(Spike<Laplace>(p));
    case Family::spike_gaussian:
      break;
  }
  return body(Spike<Gaussian>(p));
}

}  // namespace rdquant::stats
