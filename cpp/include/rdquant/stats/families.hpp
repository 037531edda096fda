#pragma once

#include <array>
#include <span>
#include <string_view>
#include <vector>

namespace rdquant::stats {

/// The families of densities: the eight of the thesis (equations 2.32 to 2.40) and four more. Parameters are
/// SciPy's, under SciPy's names; the two families with a spike have probability `zero` at exactly 0 and
/// spread the rest by a Laplace or normal density.
enum class Family {
  gaussian,
  uniform,
  cauchy,
  exponential,
  gamma,
  laplace,
  alpha,
  logistic,
  generalized_gaussian,
  student_t,
  spike_laplace,
  spike_gaussian
};

inline constexpr int kFamilies = 12;

/// Parameters in the order (shape or zero, loc, scale); `shape` is unused where the family has none.
struct Parameters {
  double shape = 0.0;
  double loc = 0.0;
  double scale = 1.0;
};

struct FamilyInfo {
  Family family;
  std::string_view name;
  std::string_view shape;  ///< name of the first parameter; empty: loc and scale only
  [[nodiscard]] int parameters() const noexcept { return shape.empty() ? 2 : 3; }
  [[nodiscard]] bool spike() const noexcept { return shape == "zero"; }
};

[[nodiscard]] const FamilyInfo& info(Family family) noexcept;

/// @throws InvalidArgument  no family of this name; the message lists all.
[[nodiscard]] Family family_of(std::string_view name);

/// Throws InvalidArgument unless scale > 0, loc is finite and the shape is in its range (zero: 0..1; others >
/// 0).
void check(Family family, const Parameters& p);

enum class Function { pdf, logpdf, cdf, quantile };

/// Evaluates a family's function at every x (quantile: at every probability in 0..1, NaN outside). Where a
/// family has a spike, pdf and logpdf are those of its continuous part and cdf and quantile include the jump
/// at 0.
///
/// @throws InvalidArgument  parameters out of range, or sizes that differ.
void evaluate(Family family, const Parameters& p, Function function, std::span<const double> x,
              std::span<double> out);

}  // namespace rdquant::stats
