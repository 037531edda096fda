#include <algorithm>
#include <cmath>

#include "stats/fitters.hpp"

namespace rdquant::stats {
namespace {

constexpr double kLeastShape = 1e-3;
constexpr double kGreatestAlpha = 1e4;
constexpr double kGreatestShape = 1e6;
constexpr double kGreatestPower = 1e2;  // of the generalized Gaussian, nearly uniform by then

struct Limits {
  double low, high;
};

Limits limits(Family family) {
  if (family == Family::alpha) return {kLeastShape, kGreatestAlpha};
  if (family == Family::generalized_gaussian) return {0.05, kGreatestPower};
  if (family == Family::student_t) return {0.05, kGreatestShape};
  return {kLeastShape, kGreatestShape};
}

double centred(double shape) { return std::sqrt(1.0 + shape * shape); }

// How far a shape is from its normal limit, in which the families are near quadratic: gamma's skewness is 2 /
// sqrt(a), alpha's goes with 1 / a, Student's tail with 1 / df. Logarithmic for small shapes.
double from_shape(Family family, double shape) {
  if (family == Family::generalized_gaussian) return std::log(shape);
  return std::log1p(family == Family::gamma ? 1.0 / std::sqrt(shape) : 1.0 / shape);
}

double to_shape(Family family, double c, Limits limit) {
  if (family == Family::generalized_gaussian) return std::clamp(std::exp(c), limit.low, limit.high);
  const double inverse = std::expm1(std::max(c, 0.0));
  const double root = inverse > 0.0 ? 1.0 / inverse : limit.high;
  return std::clamp(family == Family::gamma ? root * root : root, limit.low, limit.high);
}

}  // namespace

// (location, log of spread, shape). For gamma and alpha, location and spread are nearly the mean and the
// standard deviation instead of loc and scale: along the way to the normal limit (shape to infinity) these
// stay put. The probability of a spike goes by its log odds.
std::array<double, 3> Coordinates::from(const Parameters& p) const {
  const Limits limit = limits(family);
  if (info(family).spike()) {
    const double zero = std::clamp(p.shape, 1e-12, 1.0 - 1e-12);
    return {p.loc / unit, std::log(p.scale), std::log(zero / (1.0 - zero))};
  }
  const double shape = info(family).shape.empty() ? 1.0 : std::clamp(p.shape, limit.low, limit.high);
  if (family == Family::gamma) {
    return {(p.loc + p.scale * shape) / unit, std::log(p.scale * std::sqrt(shape)),
            from_shape(family, shape)};
  }
  if (family == Family::alpha) {
    const double a = centred(shape);
    return {(p.loc + p.scale / a) / unit, std::log(p.scale / (a * a)), from_shape(family, shape)};
  }
  return {p.loc / unit, std::log(p.scale), from_shape(family, shape)};
}

Parameters Coordinates::to(const std::array<double, 3>& c) const {
  const Limits limit = limits(family);
  const double spread = std::clamp(std::exp(c[1]), floor, 1e12 * floor);
  const double middle = c[0] * unit;
  if (info(family).spike()) return {1.0 / (1.0 + std::exp(-c[2])), middle, spread};
  if (info(family).shape.empty()) return {0.0, middle, spread};
  const double shape = to_shape(family, c[2], limit);
  if (family == Family::gamma) {
    const double root = std::sqrt(shape);
    return {shape, middle - spread * root, spread / root};
  }
  if (family == Family::alpha) {
    const double a = centred(shape);
    return {shape, middle - spread * a, spread * a * a};
  }
  return {shape, middle, spread};
}

std::array<double, 3> Coordinates::step(const std::array<double, 3>& c) const {
  const double shape = info(family).spike() ? 0.5 : 0.02 + 0.2 * std::abs(c[2]);
  return {0.3 * std::exp(c[1]) / unit, 0.2, shape};
}

}  // namespace rdquant::stats
