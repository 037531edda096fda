#include "rdquant/quant/quantizer.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>

#include "quant/kernels.hpp"
#include "rdquant/core/error.hpp"
#include "simd/dispatch.hpp"

namespace rdquant::quant {
namespace {

using core::InvalidArgument;
using core::require;

constexpr double kNoLimit = 2147483647.0;
constexpr double kSmallest = std::numeric_limits<float>::min();
constexpr double kLargest = std::numeric_limits<float>::max();

std::string shown(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.6g", value);
  return text.data();
}

void check_step(double step, std::int32_t limit) {
  if (!(step >= kSmallest && step <= kLargest)) {
    throw InvalidArgument("step must be between 1.2e-38 and 3.4e38, got " + shown(step));
  }
  require(limit >= 0, "limit must not be negative");
}

void check(const Uniform& q) {
  check_step(q.step, q.limit);
  if (!(q.delta >= 0.0 && q.delta < 1.0)) {
    throw InvalidArgument("delta must be in [0, 1), got " + shown(q.delta));
  }
}

void check(const MuLaw& q) {
  check_step(q.step, q.limit);
  if (!(q.mu > 0.0 && q.mu <= kLargest)) {
    throw InvalidArgument("mu must be positive and finite, got " + shown(q.mu));
  }
  if (!(q.range >= kSmallest && q.range <= kLargest)) {
    throw InvalidArgument("range must be positive and finite, got " + shown(q.range));
  }
}

void check(const Minifloat& q) {
  if (q.exponent < (q.ieee ? 2 : 0) || q.exponent > 8) {
    throw InvalidArgument("exponent must have 0 to 8 bits (2 to 8 with subnormals), got " +
                          std::to_string(q.exponent));
  }
  if (q.mantissa < 0 || q.mantissa > 22) {
    throw InvalidArgument("mantissa must have 0 to 22 bits, got " + std::to_string(q.mantissa));
  }
  const int most = (1 << q.exponent) - (q.ieee ? 2 : 1);
  if (q.bias > 126 + (q.ieee ? 1 : 0) || q.bias < most - 127) {
    throw InvalidArgument("bias must be between " + std::to_string(most - 127) + " and 126 for " +
                          std::to_string(q.exponent) + " exponent bits, got " + std::to_string(q.bias));
  }
}

void check(const Codebook& q) {
  if (q.values.empty() || q.values.size() > 65536) {
    throw InvalidArgument("a codebook has 1 to 65536 values, got " + std::to_string(q.values.size()));
  }
  for (std::size_t i = 0; i < q.values.size(); ++i) {
    if (!std::isfinite(q.values[i]) || (i > 0 && !(q.values[i] > q.values[i - 1]))) {
      throw InvalidArgument("codebook values must be finite and strictly increasing; value " +
                            std::to_string(i) + " is not");
    }
  }
}

UniformArgs arguments(const Uniform& q) {
  return {.step = q.step,
          .inverse = 1.0 / q.step,
          .delta = q.delta,
          .limit = q.limit > 0 ? static_cast<double>(q.limit) : kNoLimit};
}

// Names the first value that made a kernel refuse.
[[noreturn]] void refuse(std::span<const float> x, double greatest, std::size_t offset) {
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::string where = "value at index " + std::to_string(offset + i);
    if (std::isnan(x[i])) throw InvalidArgument(where + " is NaN; quantizers take finite numbers");
    if (std::isinf(x[i])) throw InvalidArgument(where + " is infinite; quantizers take finite numbers");
    if (!(std::fabs(static_cast<double>(x[i])) < greatest)) {
      throw InvalidArgument(where + " is " + shown(x[i]) +
                            ": its level does not fit 32 bits; the step is too small");
    }
  }
  throw core::Error("a quantizer's kernel refused valid values");
}

void apply(const Uniform& q, std::span<const float> x, std::int32_t* levels, std::size_t offset) {
  // The corrected reciprocal is proven for all steps but those whose significand is all ones.
  const bool all_ones = (~std::bit_cast<std::uint64_t>(q.step) & 0xfffffffffffffULL) == 0;
  const Kernels& k = all_ones ? baseline::kernels : selected_kernels();
  if (!k.uniform(x.data(), levels, x.size(), arguments(q))) refuse(x, (kNoLimit + q.delta) * q.step, offset);
}

void apply(const MuLaw& q, std::span<const float> x, std::int32_t* levels, std::size_t offset) {
  const MuLawArgs args = {.mu_over_range = q.mu / q.range,
                          .scale = q.range / (q.step * std::log1p(q.mu)),
                          .limit = q.limit > 0 ? static_cast<double>(q.limit) : kNoLimit};
  if (!selected_kernels().mulaw(x.data(), levels, x.size(), args)) {
    refuse(x, std::expm1((kNoLimit + 0.5) / args.scale) / args.mu_over_range, offset);
  }
}

// A format with subnormals is that of the normalized ones above its smallest normal number and uniform below
// it.
std::int32_t ieee_code(const Minifloat& q, float x) {
  const double unit = std::ldexp(1.0, 1 - q.bias - q.mantissa);
  const int shift = 23 - q.mantissa;
  const std::int32_t most = (((1 << q.exponent) - 1) << q.mantissa) - 1;
  const double magnitude = std::fabs(static_cast<double>(x));
  std::int32_t code = 0;
  if (magnitude < std::ldexp(1.0, 1 - q.bias)) {
    code = static_cast<std::int32_t>(std::nearbyint(magnitude / unit));
  } else {
    const std::int32_t bits = std::bit_cast<std::int32_t>(x) & 0x7fffffff;
    const std::int32_t wide = bits + ((1 << shift) >> 1) - 1 + ((bits >> shift) & 1);
    code = std::min((wide >> shift) - ((127 - q.bias) * (1 << q.mantissa)), most);
  }
  return x < 0.0f ? -code : code;
}

void apply(const Minifloat& q, std::span<const float> x, std::int32_t* levels, std::size_t offset) {
  bool finite = true;
  if (q.ieee) {
    for (std::size_t i = 0; i < x.size(); ++i) {
      finite &= std::isfinite(x[i]);
      levels[i] = finite ? ieee_code(q, x[i]) : 0;
    }
  } else {
    const MinifloatArgs args = {.shift = 23 - q.mantissa,
                                .offset = (127 - q.bias) * (1 << q.mantissa),
                                .most = (1 << (q.exponent + q.mantissa)) - 1};
    finite = selected_kernels().minifloat(x.data(), levels, x.size(), args);
  }
  if (!finite) refuse(x, std::numeric_limits<double>::infinity(), offset);
}

// Largest x that still belongs to the lower of two neighbours: a tie goes down.
std::vector<float> thresholds(const Codebook& q) {
  std::vector<float> middle(q.values.size() - 1);
  for (std::size_t i = 0; i < middle.size(); ++i) {
    const double exact = 0.5 * (static_cast<double>(q.values[i]) + static_cast<double>(q.values[i + 1]));
    const auto rounded = static_cast<float>(exact);
    middle[i] = static_cast<double>(rounded) > exact
                    ? std::nextafter(rounded, -std::numeric_limits<float>::infinity())
                    : rounded;
  }
  return middle;
}

void apply(const Codebook& q, std::span<const float> x, std::int32_t* levels, std::size_t offset) {
  const std::vector<float> middle = thresholds(q);
  bool finite = true;
  for (std::size_t i = 0; i < x.size(); ++i) {
    finite &= std::isfinite(x[i]);
    // Branchless lower bound: the number of thresholds below x[i].
    const float* base = middle.data();
    std::size_t length = middle.size();
    while (length > 0) {
      const std::size_t half = (length + 1) / 2;
      base = base[half - 1] < x[i] ? base + half : base;
      length -= half;
    }
    levels[i] = static_cast<std::int32_t>(base - middle.data());
  }
  if (!finite) refuse(x, std::numeric_limits<double>::infinity(), offset);
}

void expand(const Uniform& q, std::span<const std::int32_t> levels, float* x, std::size_t /*offset*/) {
  selected_kernels().uniform_dequantize(levels.data(), x, levels.size(), arguments(q));
}

[[noreturn]] void refuse_level(std::size_t index, std::int32_t level, std::int64_t low, std::int64_t high) {
  throw InvalidArgument("level at index " + std::to_string(index) + " is " + std::to_string(level) +
                        "; this quantizer has levels " + std::to_string(low) + ".." + std::to_string(high));
}

float value_of(const MuLaw& q, std::int32_t level) {
  const double y = std::fabs(static_cast<double>(level)) * q.step;
  const double magnitude = q.range / q.mu * std::expm1(y / q.range * std::log1p(q.mu));
  return static_cast<float>(level < 0 ? -magnitude : magnitude);
}

float value_of(const Minifloat& q, std::int32_t level) {
  const std::int32_t code = std::abs(level) - (q.ieee ? 0 : 1);
  const int e = code >> q.mantissa;
  const double m = static_cast<double>(code & ((1 << q.mantissa) - 1)) / (1 << q.mantissa);
  const bool subnormal = q.ieee && e == 0;
  const double magnitude = subnormal ? std::ldexp(m, 1 - q.bias) : std::ldexp(1.0 + m, e - q.bias);
  return static_cast<float>(level < 0 ? -magnitude : magnitude);
}

// Values of all levels between the extremes are worked out once where that is less work than once a level.
template <typename Q>
void expand_by_table(const Q& q, std::span<const std::int32_t> levels, float* x) {
  if (levels.empty()) return;
  const auto [low, high] = std::minmax_element(levels.begin(), levels.end());
  const std::int64_t first = *low;
  const std::int64_t count = *high - first + 1;
  if (count > static_cast<std::int64_t>(levels.size())) {
    std::transform(levels.begin(), levels.end(), x, [&](std::int32_t level) { return value_of(q, level); });
    return;
  }
  std::vector<float> table(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    table[static_cast<std::size_t>(i)] = value_of(q, static_cast<std::int32_t>(first + i));
  }
  for (std::size_t i = 0; i < levels.size(); ++i) x[i] = table[static_cast<std::size_t>(levels[i] - first)];
}

void expand(const MuLaw& q, std::span<const std::int32_t> levels, float* x, std::size_t /*offset*/) {
  expand_by_table(q, levels, x);
}

void expand(const Minifloat& q, std::span<const std::int32_t> levels, float* x, std::size_t offset) {
  const std::int32_t most =
      q.ieee ? (((1 << q.exponent) - 1) << q.mantissa) - 1 : 1 << (q.exponent + q.mantissa);
  for (std::size_t i = 0; i < levels.size(); ++i) {
    if (levels[i] < -most || levels[i] > most || (!q.ieee && levels[i] == 0)) {
      refuse_level(offset + i, levels[i], -most, most);
    }
  }
  expand_by_table(q, levels, x);
}

void expand(const Codebook& q, std::span<const std::int32_t> levels, float* x, std::size_t offset) {
  const auto count = static_cast<std::int32_t>(q.values.size());
  for (std::size_t i = 0; i < levels.size(); ++i) {
    if (levels[i] < 0 || levels[i] >= count) refuse_level(offset + i, levels[i], 0, count - 1);
    x[i] = q.values[static_cast<std::size_t>(levels[i])];
  }
}

}  // namespace

const Kernels& selected_kernels() { return simd::selected(RDQUANT_VARIANTS(kernels)); }

void validate(const Quantizer& quantizer) {
  std::visit([](const auto& q) { check(q); }, quantizer);
}

void quantize(const Quantizer& quantizer, std::span<const float> x, std::span<std::int32_t> levels,
              std::size_t offset) {
  require(levels.size() == x.size(), "levels must have as many elements as x");
  std::visit([&](const auto& q) { apply(q, x, levels.data(), offset); }, quantizer);
}

void dequantize(const Quantizer& quantizer, std::span<const std::int32_t> levels, std::span<float> x,
                std::size_t offset) {
  require(levels.size() == x.size(), "x must have as many elements as levels");
  std::visit([&](const auto& q) { expand(q, levels, x.data(), offset); }, quantizer);
}

}  // namespace rdquant::quant
