#pragma once

#include "runtime/kernels/float32/kernels.hpp"

/// 3×3 convolution of stride 1 by Winograd's minimal filtering (Lavin and Gray 2016), F(m×m, 3×3) with m = 2
/// or 4: tiles of m×m outputs are products in a transformed domain of (m+2)² numbers, which takes 2.25 or 4
/// times fewer multiplications than the sum itself. Blocked layout in and out, as in kernels.hpp.
///
/// Interpolation points: 0, ±1, ∞ for m = 2; 0, ±3/4, ±3/2, ∞ for m = 4. These are the points of two sizes
/// b = 2a with the smallest error (a third of that of the usual ±1, ±2); all constants of the transforms of
/// images are exact in float32.
namespace rdquant::runtime::kernels {

/// How one convolution is run; made by plan_winograd.
struct WinogradPlan {
  ConvShape shape;
  Index tile = 4;     ///< m: rows and columns of outputs per tile
  Index block = 8;    ///< B
  Index tiles_y = 1;  ///< tiles per image
  Index tiles_x = 1;
  Index group = 1;   ///< tiles that stay in registers together
  Index groups = 1;  ///< groups per item
  Index parts = 1;   ///< parts of the filters; items count the tiles of the first part, then of the second, …
  Index items = 0;   ///< what [begin, end) of Winograd::run counts
  Index weights = 0;  ///< floats of the transformed weights
  Index scratch = 0;  ///< floats that one call of run needs
  [[nodiscard]] Index positions() const noexcept { return (tile + 2) * (tile + 2); }
  [[nodiscard]] Index tiles() const noexcept { return shape.n * tiles_y * tiles_x; }
};

/// The kernels of one instruction set.
struct Winograd {
  Index block;          ///< B
  Index filter_blocks;  ///< blocks of filters that are multiplied together
  Index most_tiles[2];  ///< tiles in a group, where one block is multiplied and where filter_blocks are

  /// Writes plan.weights floats from plain weights [k][c][3][3]; filters [begin, end) of divide(k, B) blocks.
  void (*pack)(const WinogradPlan& plan, const float* weights, float* packed, Index begin, Index end);
  /// args.weights are packed ones. `scratch`: plan.scratch floats of the caller's own, any content, aligned
  /// to 64 bytes for speed.
  void (*run)(const WinogradPlan& plan, const ConvArgs& args, float* scratch, Index begin, Index end);
};

/// The kernels for `isa`, which this processor must have (core::available_isa).
[[nodiscard]] const Winograd& winograd(core::Isa isa);

/// Divides the work of F(tile×tile, 3×3), tile = 2 or 4, among `threads` callers, of whom caller t runs items
/// [t·items/threads, (t+1)·items/threads). Throws Unsupported unless the kernel is 3×3, stride, dilation and
/// groups 1 and paddings at most 1.
[[nodiscard]] WinogradPlan plan_winograd(const ConvShape& shape, Index tile, core::Isa isa, Index threads);

/// The tile, 4 or 2, with which Winograd beats the direct sum on this shape; 0 where it does not, or cannot
/// run.
[[nodiscard]] Index winograd_pays(const ConvShape& shape) noexcept;

}  // namespace rdquant::runtime::kernels
