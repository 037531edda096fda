#pragma once

#include <cstdint>

#include "runtime/kernels/float32/kernels.hpp"

/// Windows over up to three axes of plain arrays, whose innermost axis vectors go along. Like Kernels: no allocation,
/// no threads, items [begin, end).
namespace rdquant::runtime::kernels {

/// max_of_numbers: where nothing is NaN; PlainPool::pool chooses it itself.
enum class Pooled { max, max_of_numbers, average, l1, l2 };

/// How windows lie along one axis. Padding up to `counted` elements behind the last counts as zeros where
/// PlainPoolArgs::count_pad.
struct PoolAxis {
  Index in = 1, out = 1, kernel = 1, stride = 1, dilation = 1, before = 0, counted = 0;
};

/// Planes of depth · height · width elements.
struct PlainPoolArgs {
  PoolAxis axes[3];
  Pooled function = Pooled::max;
  bool count_pad = false;     ///< average: padding counts in the divisor
  bool column_major = false;  ///< places are counted along columns first
};

/// Rows of results that are made together.
inline constexpr Index kPlainPoolRows = 8;

/// The kernels of one instruction set.
struct PlainPool {
  Index block;  ///< floats of a vector
  /// Items: rows of all planes' results. `scratch`: plain_pool_scratch floats of the caller's own. Windows without
  /// any element give −∞ as maxima, else 0.
  void (*pool)(const PlainPoolArgs& args, const float* src, float* dst, float* scratch, Index begin,
               Index end);
  /// Maxima, and where in all planes each lies: the first of equal ones, or of those that are not a number; place 0
  /// of the plane where a window has no element. Planes have fewer than 2^31 − 1 elements.
  void (*places)(const PlainPoolArgs& args, const float* src, float* dst, std::int64_t* places,
                 float* scratch, Index begin, Index end);
};

/// Floats of one row under all windows, with what vectors read behind it.
[[nodiscard]] Index padded_row(const PoolAxis& columns, Index block);
/// Floats of scratch that PlainPool asks for.
[[nodiscard]] Index plain_pool_scratch(const PoolAxis& columns, Index block);

/// The kernels for `isa`, which this processor must have (core::available_isa).
[[nodiscard]] const PlainPool& plain_pool(core::Isa isa);

}  // namespace rdquant::runtime::kernels
