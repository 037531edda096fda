#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "rdquant/codec/level_rates.hpp"
#include "rdquant/codec/trellis.hpp"
#include "rdquant/core/memory.hpp"

/// Rounding with error feedback: levels q of a layer's weights w that keep its outputs, Σ over rows of
/// (w − Δq)·C·(w − Δq)ᵀ with C the covariance of its inputs, and not the weights. What rounding a column does
/// to the outputs is made up for by the columns after it (Hassibi and Stork, "Second order derivatives for
/// network pruning", 1993; Frantar et al., "GPTQ", 2023).
///
/// With C = (F + I)·diag(d)·(F + I)ᵀ, F strictly upper triangular, and e = w − Δq, the loss of a row is
/// Σ_k d_k·(e_k + Σ_{j<k} e_j·F_jk)²: level k is best where Δ·q_k is nearest to the target
/// t_k = w_k + Σ_{j<k} e_j·F_jk. No inverse is taken (Chee et al., "QuIP", 2023, show that both are the
/// same).
namespace rdquant::calibrate {

/// C factorised, for all groups of a layer.
class Feedback {
 public:
  /// `covariance`: [groups, inputs, inputs], symmetric; its diagonal is raised by 1e-4 of its mean, or to 1
  /// where it is 0, so that a factor exists.
  ///
  /// @throws InvalidArgument  another number of values; a value that is not finite.
  Feedback(std::span<const double> covariance, std::size_t groups, std::size_t inputs, int threads);

  [[nodiscard]] std::size_t groups() const noexcept { return groups_; }
  [[nodiscard]] std::size_t inputs() const noexcept { return inputs_; }
  /// F of a group, [inputs, inputs], row-major; zero on and below the diagonal.
  [[nodiscard]] std::span<const float> factor(std::size_t group) const noexcept;
  /// d of a group, [inputs], above 0.
  [[nodiscard]] std::span<const float> weights(std::size_t group) const noexcept;
  /// Mean of d over groups and inputs: a step Δ costs about Δ²/12 times this a weight.
  [[nodiscard]] double mean_weight() const noexcept;

 private:
  std::size_t groups_, inputs_;
  core::Array<float> factors_;
  std::vector<float> weights_;
};

/// Outputs of a layer that matter together, by second moments G of the gradient at them: the loss is then
/// Σ G_ir·(w_i − Δq_i)·C·(w_r − Δq_r)ᵀ over pairs of rows (a Kronecker-factored curvature: Martens and
/// Grosse, 2015; both factors are fed back as by Tseng et al., "Model-preserving adaptive rounding", 2025).
/// With G factorised as C is, by F' and d', row r of a column is best where Δ·q_r is nearest to t_r + Σ_{i<r}
/// F'_ir·m_i, with m_i = t_i − Δ·q_i.

/// One column of weights to round: rows [first_row, first_row + rows) of a layer.
struct Column {
  std::size_t index = 0;      ///< column, 0 … inputs − 1
  std::size_t first_row = 0;  ///< of the layer
  std::size_t rows = 0;
  const float* targets = nullptr;  ///< t, one a row
  float weight = 1.0F;             ///< d of this column
  /// Levels of this column, one a row; those of the column `j` before stand at levels − j·stride.
  std::int32_t* levels = nullptr;
  std::size_t stride = 0;
  /// Of its rows, where outputs matter together: F' [rows, rows] and d', their mean 1; else empty.
  codec::RowFeedback outputs{};

  [[nodiscard]] float row_weight(std::size_t row) const noexcept {
    return outputs.weights.empty() ? 1.0F : outputs.weights[row];
  }
};

/// The targets of a column's rows while levels are chosen from the first to the last.
class FedTargets {
 public:
  explicit FedTargets(const Column& column);
  FedTargets(const FedTargets&) = delete;
  FedTargets& operator=(const FedTargets&) = delete;
  [[nodiscard]] float operator[](std::size_t row) const noexcept { return targets_[row]; }
  /// Row `row` gets `value`: feeds what it misses to the rows behind it, and returns what it misses of its
  /// target.
  float settle(std::size_t row, float value) {
    const float own = targets_[row] - value;
    if (!fed_.empty()) feed(row, column_.targets[row] - value);
    return own;
  }

 private:
  void feed(std::size_t row, float missed);

  const Column& column_;
  std::vector<float> fed_;  ///< empty where outputs do not matter together
  const float* targets_;    ///< the column's, or `fed_`
};

/// How a column is rounded: the exchangeable step. Values are `step`·level.
class ColumnRounder {
 public:
  virtual ~ColumnRounder() = default;
  /// Chooses column.levels. Called from several threads for rows apart, unless `whole_columns`.
  virtual void round(const Column& column) const = 0;
  /// Whether all rows of a group must come together: for a trellis that runs along a column.
  [[nodiscard]] virtual bool whole_columns() const noexcept { return false; }
};

/// The level nearest to the target, ties to even, of those from -largest to largest.
class NearestRounder final : public ColumnRounder {
 public:
  explicit NearestRounder(double step, std::int32_t largest = 1'000'000'000)
      : step_(static_cast<float>(step)), largest_(static_cast<float>(largest)) {}
  void round(const Column& column) const override;

 private:
  float step_, largest_;
};

/// The level of least error plus λ·bits: (t/Δ − q)² + λ·(d̄/d)·bits(q), d̄ the layer's mean weight, so that a
/// bit is worth the same error of the outputs in every column. Bits are the codec's, predictions and scales
/// included. λ is without unit: 0.1155 = ln 2/6 is the slope of an entropy-coded uniform quantizer at high
/// rate.
class RateRounder final : public ColumnRounder {
 public:
  /// The rates outlive the rounder; element (row, column) of the layer is element row·row_stride +
  /// column·column_stride of its tensor.
  RateRounder(double step, double lambda, double mean_weight, const codec::LevelRates& rates,
              std::size_t row_stride, std::size_t column_stride);
  void round(const Column& column) const override;

 private:
  float step_, lambda_;
  const codec::LevelRates& rates_;
  std::size_t row_stride_, column_stride_;
};

/// Levels along the paths of a trellis that run down the columns, by least error plus λ·bits as in
/// RateRounder. For layers of one group, the weights of which are stored as [rows, inputs].
class TrellisRounder final : public ColumnRounder {
 public:
  /// `step`: between neighbouring levels, odd and even; λ in its squares. The columns outlive the rounder.
  TrellisRounder(double step, double lambda, double mean_weight, const codec::ColumnQuantizer& columns);
  void round(const Column& column) const override;
  [[nodiscard]] bool whole_columns() const noexcept override { return true; }

 private:
  float step_;
  double lambda_;
  const codec::ColumnQuantizer& columns_;
};

/// Rounds the weights [rows, inputs] of a layer column after column; row r belongs to group r·groups/rows.
/// Writes levels of the same shape and returns the loss, Σ over rows of e·C·eᵀ, or with `outputs`, G
/// factorised for each group, Σ G_ir·e_i·C·e_rᵀ over G's mean d'. Results do not depend on the number of
/// threads (0: all cores).
///
/// @throws InvalidArgument  sizes do not fit, or the step is not above 0 and finite.
double round_with_feedback(const Feedback& feedback, std::span<const float> weights, double step,
                           const ColumnRounder& rounder, std::span<std::int32_t> levels, int threads,
                           const Feedback* outputs = nullptr);

}  // namespace rdquant::calibrate
