#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "rdquant/program/step.hpp"

namespace rdquant::program {

/// Computes one step with plain loops: the definition of its answer. Accumulates float32 products in double
/// and rounds once, so that no order of summation matters. A left-out input is a view without data; so is an
/// output that nobody wants. Views are dense and do not overlap, but Reshape's, which may be the same memory.
/// `threads` (0: all cores) share the lines of what takes long: convolutions, matrix products, pooling,
/// normalizations, softmax, sorting, sums along an axis and gathering.
///
/// @throws Unsupported      a dtype that the step is not defined for
/// @throws InvalidArgument  an index out of range in Gather and its kin
void evaluate(const Step& step, std::span<const core::TensorView> inputs,
              std::span<const core::MutableTensorView> outputs, int threads = 1);

/// Scale and zero point of DynamicQuantize for numbers from `low` ≤ 0 to `high` ≥ 0.
struct DynamicGrid {
  float scale;
  std::int32_t zero;
};
[[nodiscard]] DynamicGrid dynamic_grid(float low, float high);

/// The element along `axis` that a Resize of mode nearest between these shapes takes for each one that it
/// makes.
[[nodiscard]] std::vector<std::int64_t> nearest_places(const Resize& step, std::span<const std::int64_t> from,
                                                       std::span<const std::int64_t> to, std::size_t axis);

/// The element along `axis` that a Pad between these shapes takes for each one that it makes; −1: its number.
[[nodiscard]] std::vector<std::int64_t> pad_places(const Pad& step, std::span<const std::int64_t> from,
                                                   std::span<const std::int64_t> to, std::size_t axis);

/// The elements along one axis that a Resize sums, with their weights: `taps` for each element that it makes, tap by
/// tap. Sums of fewer elements end in weights of 0.
struct ResizeTaps {
  std::int64_t taps = 1;
  std::vector<std::int32_t> places;
  std::vector<float> weights;
};
/// Of a Resize between these shapes that does not crop, along `axis`.
[[nodiscard]] ResizeTaps resize_taps(const Resize& step, std::span<const std::int64_t> from,
                                     std::span<const std::int64_t> to, std::size_t axis);

}  // namespace rdquant::program
