#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "codec/model/model.hpp"

/// The codes of trellis-coded quantization: Ungerboeck's for amplitude modulation (IEEE Trans. Information
/// Theory 28, 1982, table I), as systematic encoders with feedback. The parity check polynomials h0 and h1
/// give what a state of ν bits becomes when level v has been taken in it:
///
///     next = (state >> 1) ⊕ (h0 >> 1 if v is odd) ⊕ (h1 >> 1 if ⌊v/2⌋ is odd)
///
/// A state allows even levels if its lowest bit is 0 and odd ones if it is 1: unions D0 ∪ D2 and D1 ∪ D3 of
/// the subsets Dj = {v: v mod 4 = j} (Fischer and Wang, 1992; Marcellin and Fischer, 1990).
namespace rdquant::codec {

struct TrellisCode {
  std::uint32_t odd = 0;    ///< h0 >> 1
  std::uint32_t input = 0;  ///< h1 >> 1
  [[nodiscard]] constexpr std::uint32_t next(std::uint32_t state, std::int32_t level) const noexcept {
    return (state >> 1) ^ ((level & 1) != 0 ? odd : 0U) ^ ((level & 2) != 0 ? input : 0U);
  }
};

/// Of 8 states, h0 and h1 are 13 and 4; of 32 states, 45 and 10 (octal).
[[nodiscard]] constexpr TrellisCode trellis_code(int log_states) noexcept {
  return log_states == 3 ? TrellisCode{013 >> 1, 04 >> 1} : TrellisCode{045 >> 1, 010 >> 1};
}
[[nodiscard]] constexpr bool is_trellis(int log_states) noexcept {
  return log_states == 3 || log_states == 5;
}

/// What a mean (1/16 level) and a dead zone are for the halved levels ⌊v/2⌋ that are coded where `odd` ones
/// or even ones are allowed. The dead zone belongs to level 0, which is even.
[[nodiscard]] inline std::int32_t halved_mean(std::int32_t mean, bool odd) noexcept {
  return (mean >> 1) - (odd ? 8 : 0);
}

/// The states of all chains of a part. Slice q and tap t follow slice q − chains at the same tap; the first
/// ones are in state 0.
class ChainStates {
 public:
  ChainStates(const Model& model, std::size_t slices)
      : code_(model.trellis() ? trellis_code(model.log_states) : TrellisCode{}),
        chains_(model.chains),
        slices_(slices),
        states_(model.trellis() ? slices * model.grid.taps : 0) {}

  /// Whether odd levels are those allowed at (slice q, tap t).
  [[nodiscard]] bool odd(std::size_t q, std::size_t t) const noexcept {
    return (states_[t * slices_ + q] & 1) != 0;
  }
  void take(std::size_t q, std::size_t t, std::int32_t level) noexcept {
    if (chains_ >= slices_ - q) return;
    states_[t * slices_ + q + chains_] =
        static_cast<std::uint8_t>(code_.next(states_[t * slices_ + q], level));
  }

 private:
  TrellisCode code_;
  std::size_t chains_, slices_;
  std::vector<std::uint8_t> states_;
};

}  // namespace rdquant::codec
