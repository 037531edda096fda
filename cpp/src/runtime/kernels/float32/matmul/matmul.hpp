#pragma once

#include "runtime/kernels/float32/kernels.hpp"

/// Products of float32 matrices on packed operands: y = activation(alpha·a·b + bias + addends) + addend.
///
/// A register tile is a few rows of y by a panel of columns, whose sums stay in registers while the depth k is
/// walked through. b is packed panel by panel; rows of a are packed as they are used, for one range of k at a
/// time, so that a panel's range stays in the first cache and the rows' in the second.
namespace rdquant::runtime::kernels {

/// How a product of [m][k] by [k][n] is run; made by Matmul::plan.
struct MatmulPlan {
  Index m = 1, n = 1, k = 1;
  Index blocks = 1;        ///< blocks of B columns in a panel
  Index panels = 1;        ///< in all
  Index rows = 1;          ///< of a register tile, at most
  Index tiles = 1;         ///< register tiles of rows, in all
  Index group_tiles = 1;   ///< of an item
  Index group_panels = 1;  ///< likewise
  Index items = 0;         ///< what [begin, end) of Matmul::run counts
  Index packed = 0;        ///< floats of the packed b
  Index scratch = 0;       ///< floats that one call of run needs
};

/// Something added to y: element (i, j) is data[i·row + j·column]; column is 0 or 1. Absent where null.
struct MatmulAddend {
  const float* data = nullptr;
  Index row = 0, column = 1;
};

struct MatmulArgs {
  const float* a = nullptr;  ///< element (i, j) at a[i·a_row + j·a_column]
  Index a_row = 0, a_column = 1;
  const float* b = nullptr;  ///< packed
  float* y = nullptr;        ///< element (i, j) at y[i·y_row + j]
  Index y_row = 0;
  float alpha = 1;
  float beta = 1;               ///< factor of `sum`
  const float* bias = nullptr;  ///< one per column; or null
  MatmulAddend sum;             ///< before the activation, times beta
  MatmulAddend residual;        ///< before the activation, or after it where `residual_last`
  bool residual_last = false;
  Activation activation;  ///< all but prelu
};

/// The kernels of one instruction set.
struct Matmul {
  /// Divides the work among `threads` callers.
  MatmulPlan (*plan)(Index m, Index n, Index k, Index threads);
  /// Writes plan.packed floats; element (i, j) of b is b[i·row + j·column]. Items: plan.panels.
  void (*pack)(const MatmulPlan& plan, const float* b, Index row, Index column, float* packed, Index begin,
               Index end);
  /// `scratch`: plan.scratch floats of the caller's own, any content.
  void (*run)(const MatmulPlan& plan, const MatmulArgs& args, float* scratch, Index begin, Index end);
};

/// `plan` for the first `rows` rows alone, of 1 … plan.m, with the same packed b.
[[nodiscard]] MatmulPlan first_rows(MatmulPlan plan, Index rows);

/// The kernels for `isa`, which this processor must have (core::available_isa).
[[nodiscard]] const Matmul& matmul(core::Isa isa);

}  // namespace rdquant::runtime::kernels
