#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace rdquant::codec {

/// What levels of a tensor cost, by the model that the fast profile would code given levels with: its scales
/// of rows, columns and taps, and its prediction. For quantizers that weigh a level's error against its bits.
class LevelRates {
 public:
  /// @throws InvalidArgument  the shape has another number of elements, or none.
  LevelRates(std::span<const std::int32_t> levels, std::span<const std::uint64_t> shape);
  ~LevelRates();
  LevelRates(const LevelRates&) = delete;
  LevelRates& operator=(const LevelRates&) = delete;

  /// Number of levels of the tensor.
  [[nodiscard]] std::size_t size() const noexcept;
  /// How many of the levels right before element `index` its prediction uses.
  [[nodiscard]] std::size_t past(std::size_t index) const noexcept;
  /// What the model expects at an element: 1/16 level, from the levels before it, the nearest first, and
  /// where the model looks at the row above, from the given levels.
  [[nodiscard]] std::int32_t mean(std::size_t index, std::span<const std::int32_t> past) const noexcept;
  /// Bits of `level` at an element whose mean is `mean`.
  [[nodiscard]] float bits(std::size_t index, std::int32_t mean, std::int32_t level) const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rdquant::codec
