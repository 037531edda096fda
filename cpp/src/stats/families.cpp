#include "rdquant/stats/families.hpp"

#include <cmath>
#include <string>

#include "rdquant/core/error.hpp"
#include "stats/family_structs.hpp"

namespace rdquant::stats {
namespace {

constexpr std::array<FamilyInfo, kFamilies> kInfo = {{
    {Family::gaussian, "gaussian", ""},
    {Family::uniform, "uniform", ""},
    {Family::cauchy, "cauchy", ""},
    {Family::exponential, "exponential", ""},
    {Family::gamma, "gamma", "a"},
    {Family::laplace, "laplace", ""},
    {Family::alpha, "alpha", "a"},
    {Family::logistic, "logistic", ""},
    {Family::generalized_gaussian, "generalized_gaussian", "beta"},
    {Family::student_t, "student_t", "df"},
    {Family::spike_laplace, "spike_laplace", "zero"},
    {Family::spike_gaussian, "spike_gaussian", "zero"},
}};

template <typename Distribution>
double value(const Distribution& d, Function function, double x) {
  switch (function) {
    case Function::pdf:
      return d.pdf(x);
    case Function::logpdf:
      return d.logpdf(x);
    case Function::cdf:
      return d.cdf(x);
    case Function::quantile:
      break;
  }
  return x >= 0.0 && x <= 1.0 ? d.quantile(x) : std::nan("");
}

}  // namespace

const FamilyInfo& info(Family family) noexcept { return kInfo[static_cast<std::size_t>(family)]; }

Family family_of(std::string_view name) {
  std::string known;
  for (const FamilyInfo& entry : kInfo) {
    if (entry.name == name) return entry.family;
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw core::InvalidArgument("family '" + std::string(name) + "': expected one of " + known);
}

void check(Family family, const Parameters& p) {
  const FamilyInfo& entry = info(family);
  const std::string name(entry.name);
  if (!std::isfinite(p.loc)) throw core::InvalidArgument(name + ": loc must be finite");
  if (!(p.scale > 0.0) || !std::isfinite(p.scale)) {
    throw core::InvalidArgument(name + ": scale = " + std::to_string(p.scale) +
                                ", expected a finite number > 0");
  }
  if (entry.shape.empty()) return;
  const bool good = entry.spike() ? p.shape >= 0.0 && p.shape < 1.0 : p.shape > 0.0 && std::isfinite(p.shape);
  if (!good) {
    throw core::InvalidArgument(
        name + ": " + std::string(entry.shape) + " = " + std::to_string(p.shape) +
        (entry.spike() ? ", expected 0 <= zero < 1" : ", expected a finite number > 0"));
  }
}

void evaluate(Family family, const Parameters& p, Function function, std::span<const double> x,
              std::span<double> out) {
  check(family, p);
  core::require(x.size() == out.size(), "evaluate: input and output differ in size");
  with_family(family, p, [&](const auto& distribution) {
    for (std::size_t i = 0; i < x.size(); ++i) out[i] = value(distribution, function, x[i]);
  });
}

}  // namespace rdquant::stats
