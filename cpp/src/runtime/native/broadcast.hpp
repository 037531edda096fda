#pragma once

#include <array>
#include <vector>

#include "rdquant/core/tensor.hpp"

/// Walks over arrays that NumPy's broadcasting brings to one shape.
namespace rdquant::runtime::native {

/// An axis that up to three operands are walked along; a step of 0 repeats an element.
struct WalkedAxis {
  std::int64_t count = 1;
  std::array<std::int64_t, 3> step{};
};

/// The axes of `result`, without those of one element, neighbours joined where every operand steps evenly; one at
/// least.
[[nodiscard]] std::vector<WalkedAxis> walked_axes(const core::Shape& result,
                                                  const std::vector<const core::Shape*>& operands);

/// Where each operand is at entry `entry`, in their order, of the first `count` axes.
[[nodiscard]] std::array<std::int64_t, 3> places_at(const std::vector<WalkedAxis>& axes, std::size_t count,
                                                    std::int64_t entry);

}  // namespace rdquant::runtime::native
