#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "rdquant/codec/levels.hpp"
#include "rdquant/quant/quantizer.hpp"

/// Rate–distortion optimisation of levels with the rates of the codec's own model: Σ weight·(x − x̂)² + λ·bits
/// is made small, level by level, or over the paths of a trellis (entropy-coded trellis-coded quantization:
/// Marcellin and Fischer, 1990; Fischer and Wang, 1992; Ungerboeck's codes). At the same rate a trellis of 8
/// (32) states has about 1.05 (1.2) dB less error than the best scalar quantizer.
///
/// x̂ = sign(v)·step·(|v| + δ − ½), 0 for v = 0, of levels v as in quant::Uniform. With a trellis, half of all
/// levels is allowed at a time, so that `step` is half of that of a scalar quantizer of the same rate.
namespace rdquant::codec {

struct RdoOptions {
  int states = 8;       ///< of the trellis: 8 or 32; 0: level by level
  double step = 1.0;    ///< between neighbouring levels
  double lambda = 0.0;  ///< weighted squared error that a bit is worth, ≥ 0
  int rounds = 1;       ///< of choosing levels and fitting the model to them, ≥ 1
  bool refine = true;   ///< fit step and δ to the levels in the end, by least squares
  int threads = 1;      ///< 0: all cores
};

struct RdoResult {
  std::vector<std::int32_t> levels;
  quant::Uniform quantizer;  ///< with which they are dequantized
  Trellis trellis;           ///< for encode_levels
};

/// Levels of x, of the given shape in row-major order, as the fast profile will code them. Where some |x|
/// exceeds 8183 steps, plain midtread levels: of that step, or of twice that where a trellis is requested,
/// and on no trellis. `weights`: one ≥ 0 an element, or none (all 1).
///
/// @throws InvalidArgument  options out of range, sizes that differ, values that are not finite.
[[nodiscard]] RdoResult quantize_rdo(std::span<const float> x, std::span<const std::uint64_t> shape,
                                     const RdoOptions& options, std::span<const float> weights = {});

/// Errors fed down a column, from row to row, where outputs of a layer matter together: what row i misses of
/// its target, times factor[i·rows + r], is added to the target of every later row r.
struct RowFeedback {
  std::span<const float> factor;   ///< [rows, rows], used above the diagonal; empty: nothing is fed
  std::span<const float> weights;  ///< of the squared errors, one a row
};

/// Rates fitted to levels of a tensor, for quantizing it column by column where each column's targets depend
/// on the errors of those before it (error feedback). A column is one (input channel, tap): element `column`
/// of every row of shape[0] × the rest.
class ColumnQuantizer {
 public:
  /// `levels`: of a first quantization of the same tensor with the same step; they need to follow no trellis.
  /// `states` as in RdoOptions. `fed`: errors are fed down the columns, which then have one chain each.
  ///
  /// @throws InvalidArgument  the sizes differ, states are none of those, or levels beyond ±8183; without a
  /// trellis also levels so large, or so far from zero, that their rates do not matter.
  ColumnQuantizer(std::span<const std::int32_t> levels, std::span<const std::uint64_t> shape, int states,
                  bool fed = false);
  ~ColumnQuantizer();
  ColumnQuantizer(ColumnQuantizer&&) noexcept;
  ColumnQuantizer& operator=(ColumnQuantizer&&) noexcept;

  [[nodiscard]] std::size_t rows() const noexcept;
  [[nodiscard]] std::size_t columns() const noexcept;
  /// For encode_levels: its chains are the columns.
  [[nodiscard]] Trellis trellis() const noexcept;

  /// Chooses the levels of a column from targets in steps, one a row, to levels[row·row_stride +
  /// column·column_stride]. The columns that belong to the same input channel are taken in order: those
  /// before are predicted from. `lambda`: error in steps², times `weight`, that a bit is worth; level v
  /// stands for v − sign(v)·(½ − δ). `rows`: on a trellis, of quantizers made to be fed.
  ///
  /// @throws InvalidArgument  sizes that differ, no such column, a target that is not finite or beyond ±8183.
  void quantize(std::size_t column, std::span<const float> targets, double delta, double weight,
                double lambda, std::span<std::int32_t> levels, std::size_t row_stride,
                std::size_t column_stride, const RowFeedback& rows = {}) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rdquant::codec
