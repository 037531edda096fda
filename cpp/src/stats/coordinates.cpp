#include <algorithm>
#include <cmath>

#include "fitters.hpp"

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

}  // namespace

// (location, log of spread, log of shape). For gamma and alpha, location and spread are nearly the mean and the standard
// deviation instead of loc and scale: along the way to the normal limit (shape to infinity) these stay put.
// The probability of a spike goes by its log odds.
std::array<double, 3> Coordinates::from(const Parameters& p) const {
  const Limits limit = limits(family);
  if (info(family).spike()) {
    const double zero = std::clamp(p.shape, 1e-12, 1.0 - 1e-12);
    return {p.loc / unit, std::log(p.scale), std::log(zero / (1.0 - zero))};
  }
  const double shape = info(family).shape.empty() ? 1.0 : std::clamp(p.shape, limit.low, limit.high);
  if (family == Family::gamma) {
    return {(p.loc + p.scale * shape) / unit, std::log(p.scale * std::sqrt(shape)), std::log(shape)};
  }
  if (family == Family::alpha) {
    const double a = centred(shape);
    return {(p.loc + p.scale / a) / unit, std::log(p.scale / (a * a)), std::log(shape)};
  }
  return {p.loc / unit, std::log(p.scale), std::log(shape)};
}

Parameters Coordinates::to(const std::array<double, 3>& c) const {
  const Limits limit = limits(family);
  const double spread = std::clamp(std::exp(c[1]), floor, 1e12 * floor);
  const double middle = c[0] * unit;
  if (info(family).spike()) return {1.0 / (1.0 + std::exp(-c[2])), middle, spread};
  if (info(family).shape.empty()) return {0.0, middle, spread};
  const double shape = std::clamp(std::exp(c[2]), limit.low, limit.high);
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

}  // namespace rdquant::stats
