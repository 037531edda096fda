#pragma once

#include <cstdint>

#include "runtime/kernels/float32/kernels.hpp"

/// Images of another size, each pixel a weighted sum of some of the source. Like Kernels: no allocation, no threads,
/// items [begin, end).
namespace rdquant::runtime::kernels {

/// Which elements of the source an axis takes, `taps` for each of its own: tap by tap, all elements of one after all
/// of the other.
struct ResampleAxis {
  Index taps = 1;
  const std::int32_t* places = nullptr;
  const float* weights = nullptr;
};

/// Planes of h·w pixels of `lanes` floats to oh·ow: 1 for plain images, Kernels::block for those in blocks.
struct ResampleArgs {
  Index h = 1, w = 1, oh = 1, ow = 1, lanes = 1;
  ResampleAxis rows, columns;
};

/// The kernels of one instruction set.
struct Resample {
  Index block;  ///< floats of a vector
  /// `scratch`: w·lanes floats of the caller's own. Items: rows of all planes' results.
  void (*image)(const ResampleArgs& args, const float* src, float* dst, float* scratch, Index begin,
                Index end);
};

/// The kernels for `isa`, which this processor must have (core::available_isa).
[[nodiscard]] const Resample& resample(core::Isa isa);

}  // namespace rdquant::runtime::kernels
