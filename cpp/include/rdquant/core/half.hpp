#pragma once

#include <bit>
#include <cstdint>

/// IEEE 754 binary16 and bfloat16 as bits, converted from and to float32. Rounds half to even.
namespace rdquant::core {

// Without branches, so that compilers make vectors of loops over them.

[[nodiscard]] constexpr float half_to_float(std::uint16_t bits) noexcept {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16U;
  const std::uint32_t rest = bits & 0x7FFFU;
  const std::uint32_t normal = (rest << 13U) + 0x38000000U;  // exponents count from 127, not 15
  const auto tiny = static_cast<float>(static_cast<std::int32_t>(rest)) * 0x1p-24F;
  const std::uint32_t finite = rest < 0x400U ? std::bit_cast<std::uint32_t>(tiny) : normal;
  return std::bit_cast<float>(sign | (rest >= 0x7C00U ? (rest << 13U) | 0x7F800000U : finite));
}

[[nodiscard]] constexpr std::uint16_t float_to_half(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16U) & 0x8000U, magnitude = bits & 0x7FFFFFFFU;
  // Adding 1/2 leaves the subnormal's mantissa, rounded by the addition, in the lowest bits.
  const float shifted = std::bit_cast<float>(magnitude < 0x38800000U ? magnitude : 0U) + 0.5F;
  const std::uint32_t tiny = std::bit_cast<std::uint32_t>(shifted) - 0x3F000000U;
  const std::uint32_t normal = (magnitude - 0x38000000U + 0xFFFU + ((magnitude >> 13U) & 1U)) >> 13U;
  const std::uint32_t finite = magnitude < 0x38800000U ? tiny : normal;
  const std::uint32_t large = magnitude > 0x7F800000U ? 0x7E00U : 0x7C00U;  // NaN; what rounds to infinity
  return static_cast<std::uint16_t>(sign | (magnitude >= 0x477FF000U ? large : finite));
}

[[nodiscard]] constexpr float bfloat_to_float(std::uint16_t bits) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16U);
}

[[nodiscard]] constexpr std::uint16_t float_to_bfloat(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16U) & 1U)) >> 16U;
  return static_cast<std::uint16_t>((bits & 0x7FFFFFFFU) > 0x7F800000U ? (bits >> 16U) | 0x40U : rounded);
}

}  // namespace rdquant::core
