#pragma once

// Special functions that the standard library lacks, to about 1e-12 unless said otherwise.

namespace rdquant::stats {

[[nodiscard]] double digamma(double x) noexcept;   // x > 0
[[nodiscard]] double trigamma(double x) noexcept;  // x > 0

/// log of the gamma function for x > 0; safe to call from several threads.
[[nodiscard]] double log_gamma(double x) noexcept;

/// Φ, the standard normal distribution function, its logarithm, and its inverse.
[[nodiscard]] double normal_cdf(double x) noexcept;
[[nodiscard]] double log_normal_cdf(double x) noexcept;
[[nodiscard]] double normal_quantile(double p) noexcept;

/// P(a, x): the regularized lower incomplete gamma function, a > 0, x >= 0 (to 1e-9 for a > 2000).
[[nodiscard]] double gamma_p(double a, double x) noexcept;

/// I_x(a, b): the regularized incomplete beta function.
[[nodiscard]] double beta_i(double a, double b, double x) noexcept;

}  // namespace rdquant::stats
