#pragma once

#include <array>
#include <cstdint>

#include "codec/mixing/binary_coder.hpp"

/// Mixing of predictions in the logistic domain (Mahoney, PAQ, 2005), integers only.
namespace rdquant::codec {

/// ln(p/(1 − p))·256 of p/65536, in −2047 … 2047, and its inverse.
[[nodiscard]] std::int32_t stretch(std::uint32_t p) noexcept;
[[nodiscard]] std::uint32_t squash(std::int32_t x) noexcept;

/// Weighs `kInputs` stretched predictions; the first input starts with weight one, the others with zero, so
/// that an untaught mixer repeats the first.
template <std::size_t kInputs>
class Mixer {
 public:
  Mixer() { weights_[0] = 65536; }

  [[nodiscard]] std::uint32_t mix(const std::array<std::int32_t, kInputs>& inputs) noexcept {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < kInputs; ++i) sum += static_cast<std::int64_t>(weights_[i]) * inputs[i];
    sum >>= 16;
    return squash(static_cast<std::int32_t>(sum < -2047 ? -2047 : (sum > 2047 ? 2047 : sum)));
  }
  /// Moves the weights down the gradient of the cost of the decision; `p` is what `mix` gave.
  void learn(const std::array<std::int32_t, kInputs>& inputs, std::uint32_t p, bool yes) noexcept {
    const std::int32_t error = (yes ? 65535 : 0) - static_cast<std::int32_t>(p);
    const int speed = seen_ < 256 ? 15 : (seen_ < 4096 ? 16 : 17);
    if (seen_ < 4096) ++seen_;
    for (std::size_t i = 0; i < kInputs; ++i) {
      const std::int32_t step = (inputs[i] * error + (1 << (speed - 1))) >> speed;
      const std::int32_t moved = weights_[i] + step;
      weights_[i] = moved < -kMost ? -kMost : (moved > kMost ? kMost : moved);
    }
  }

 private:
  static constexpr std::int32_t kMost = 1 << 20;
  std::array<std::int32_t, kInputs> weights_{};
  std::int32_t seen_ = 0;
};

}  // namespace rdquant::codec
