#pragma once

#include <cstdint>

#include "runtime/kernels/float32/kernels.hpp"

/// Pixels at places that a grid names, between those of an image. Like Kernels: no allocation, no threads, items
/// [begin, end).
namespace rdquant::runtime::kernels {

enum class GridMode { nearest, linear, cubic };
enum class GridEdge { zeros, border, reflection };

/// Points whose weights are computed together.
inline constexpr Index kGridPiece = 64;

/// Images of `axes` sizes, outermost first, in planes of `lanes` floats an element: 1 for plain ones, Kernels::block for
/// those in blocks.
struct GridSampleArgs {
  Index axes = 2;
  Index sizes[3] = {1, 1, 1};
  Index points = 1;  ///< of each image
  Index planes = 1;  ///< of each image
  Index lanes = 1;
  GridMode mode = GridMode::linear;
  GridEdge edge = GridEdge::zeros;
  bool align_corners = false;
  bool in_vectors = true;  ///< as simd::Gather takes it
};

/// The kernels of one instruction set.
struct GridSample {
  Index block;  ///< floats of a vector
  /// `grid`: coordinates of −1 … 1 of every point of every image, innermost axis first. Items: pieces of kGridPiece
  /// points, ⌈points / kGridPiece⌉ of each image. Elements with a weight of zero do not count, whatever they are.
  void (*sample)(const GridSampleArgs& args, const float* src, const float* grid, float* dst, Index begin,
                 Index end);
};

/// The kernels for `isa`, which this processor must have (core::available_isa).
[[nodiscard]] const GridSample& grid_sample(core::Isa isa);

}  // namespace rdquant::runtime::kernels
