#pragma once

#include <array>

#include "program/evaluate/types.hpp"
#include "rdquant/program/step.hpp"

namespace rdquant::program::plain {

/// A Window and the sizes it moves over as depth, height, width; axes that are missing have size 1.
struct Spatial {
  std::array<std::int64_t, 3> in{1, 1, 1}, out{1, 1, 1}, kernel{1, 1, 1}, stride{1, 1, 1}, dilation{1, 1, 1},
      begin{0, 0, 0};
  std::size_t lead = 0;  ///< number of missing axes

  Spatial(const Window& window, Sizes input, Sizes output)
      : lead(3 - std::min<std::size_t>(3, input.size() - 2)) {
    if (input.size() > 5) {
      throw core::Unsupported("windows move over at most 3 axes, got " + std::to_string(input.size() - 2));
    }
    for (std::size_t i = lead; i < 3; ++i) {
      in[i] = input[i - lead + 2];
      out[i] = output[i - lead + 2];
      kernel[i] = window.kernel[i - lead];
      stride[i] = window.strides[i - lead];
      dilation[i] = window.dilations[i - lead];
      begin[i] = window.pads_begin[i - lead];
    }
  }

  /// Input elements from the first to the last that a window touches along an axis.
  [[nodiscard]] std::int64_t reach(std::size_t axis) const { return (kernel[axis] - 1) * dilation[axis] + 1; }
};

}  // namespace rdquant::program::plain
