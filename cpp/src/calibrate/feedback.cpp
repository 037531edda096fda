#include "rdquant/calibrate/feedback.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "calibrate/kernels.hpp"
#include "rdquant/core/error.hpp"
#include "rdquant/core/parallel.hpp"

namespace rdquant::calibrate {
namespace {

constexpr std::size_t kBlock = 32;    // columns that are factorised or rounded together
constexpr std::size_t kRows = 32;     // rows that a thread rounds together
constexpr double kDamping = 1e-4;     // of the mean of the diagonal
constexpr std::size_t kPieces = 128;  // columns of a factor that a thread takes at least

/// The covariance turned around, damped, in the upper triangle of [inputs, inputs].
std::vector<double> turned(std::span<const double> covariance, std::size_t n) {
  double trace = 0.0;
  for (std::size_t i = 0; i < n; ++i) trace += covariance[i * n + i];
  const double damping = trace > 0.0 ? kDamping * trace / static_cast<double>(n) : 1.0;
  std::vector<double> a(n * n);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = i; j < n; ++j) a[i * n + j] = covariance[(n - 1 - i) * n + (n - 1 - j)];
    a[i * n + i] += damping;
  }
  return a;
}

/// Rows [first, last) of U in A = Uᵀ·U, after what the rows above take from them has been taken.
void factorise_panel(std::vector<double>& a, std::size_t n, std::size_t first, std::size_t last,
                     double floor) {
  for (std::size_t i = first; i < last; ++i) {
    double* const row = a.data() + i * n;
    for (std::size_t t = first; t < i; ++t) {
      const double* const above = a.data() + t * n;
      const double times = above[i];
      for (std::size_t k = i; k < n; ++k) row[k] -= times * above[k];
    }
    const bool lost = row[i] < floor;  // to rounding of the covariance: such an input stands alone
    const double pivot = std::sqrt(lost ? floor : row[i]);
    row[i] = pivot;
    for (std::size_t k = i + 1; k < n; ++k) row[k] = lost ? 0.0 : row[k] / pivot;
  }
}

/// Cholesky's decomposition A = Uᵀ·U of the upper triangle, in place, by panels.
void factorise(std::vector<double>& a, std::size_t n, int threads) {
  double floor = 0.0;  // half the damping, above which all pivots of a positive semidefinite matrix are
  for (std::size_t i = 0; i < n; ++i) floor += 0.5 * kDamping * a[i * n + i] / static_cast<double>(n);
  for (std::size_t first = 0; first < n; first += kBlock) {
    const std::size_t last = std::min(n, first + kBlock);
    core::parallel_for(n - first, kPieces, first == 0 ? 1 : threads, [&](std::size_t begin, std::size_t end) {
      multiply({a.data() + first, n, a.data() + first + begin, n, first, last - first, end - begin, -1.0,
                a.data() + first * n + first + begin, n});
    });
    factorise_panel(a, n, first, last, floor);
  }
}

/// Weights of all groups over their mean.
std::vector<float> relative_weights(const Feedback& outputs) {
  std::vector<float> all;
  const auto mean = static_cast<float>(outputs.mean_weight());
  for (std::size_t g = 0; g < outputs.groups(); ++g) {
    for (const float weight : outputs.weights(g)) all.push_back(weight / mean);
  }
  return all;
}

/// Rows of a group that are rounded together: their weights, errors and levels, columns first.
class Chunk {
 public:
  Chunk(const Feedback& feedback, std::size_t group, std::size_t first_row, std::size_t rows,
        const codec::RowFeedback& outputs)
      : outputs_(outputs),
        factor_(feedback.factor(group)),
        weights_(feedback.weights(group)),
        inputs_(feedback.inputs()),
        first_row_(first_row),
        rows_(rows),
        targets_(inputs_ * rows),
        errors_(inputs_ * rows),
        levels_(inputs_ * rows) {}

  /// Returns the loss.
  double round(const float* weights, double step, const ColumnRounder& rounder, std::int32_t* levels) {
    for (std::size_t k = 0; k < inputs_; ++k) {
      for (std::size_t r = 0; r < rows_; ++r) targets_[k * rows_ + r] = weights[r * inputs_ + k];
    }
    double loss = 0.0;
    for (std::size_t first = 0; first < inputs_; first += kBlock) {
      const std::size_t last = std::min(inputs_, first + kBlock);
      multiply({factor_.data() + first, inputs_, errors_.data(), rows_, first, last - first, rows_, 1.0F,
                targets_.data() + first * rows_, rows_});
      for (std::size_t k = first; k < last; ++k) {
        multiply({factor_.data() + first * inputs_ + k, inputs_, errors_.data() + first * rows_, rows_,
                  k - first, 1, rows_, 1.0F, targets_.data() + k * rows_, rows_});
        loss += column(k, weights, static_cast<float>(step), rounder);
      }
    }
    for (std::size_t r = 0; r < rows_; ++r) {
      for (std::size_t k = 0; k < inputs_; ++k) levels[r * inputs_ + k] = levels_[k * rows_ + r];
    }
    return loss;
  }

 private:
  double column(std::size_t k, const float* weights, float step, const ColumnRounder& rounder) {
    std::int32_t* const levels = levels_.data() + k * rows_;
    const Column column{k,           first_row_, rows_, targets_.data() + k * rows_,
                        weights_[k], levels,     rows_, outputs_};
    rounder.round(column);
    FedTargets targets(column);
    double loss = 0.0;
    for (std::size_t r = 0; r < rows_; ++r) {
      const float value = step * static_cast<float>(levels[r]);
      const auto missed = static_cast<double>(targets.settle(r, value));
      errors_[k * rows_ + r] = weights[r * inputs_ + k] - value;
      loss += static_cast<double>(column.row_weight(r)) * missed * missed;
    }
    return loss * static_cast<double>(weights_[k]);
  }

  const codec::RowFeedback& outputs_;
  std::span<const float> factor_, weights_;
  std::size_t inputs_, first_row_, rows_;
  std::vector<float> targets_, errors_;
  std::vector<std::int32_t> levels_;
};

}  // namespace

Feedback::Feedback(std::span<const double> covariance, std::size_t groups, std::size_t inputs, int threads)
    : groups_(groups), inputs_(inputs) {
  if (groups == 0 || inputs == 0 || covariance.size() != groups * inputs * inputs) {
    throw core::InvalidArgument("covariance: expected " + std::to_string(groups) + " × " +
                                std::to_string(inputs) + " × " + std::to_string(inputs) + " values, got " +
                                std::to_string(covariance.size()));
  }
  if (!std::ranges::all_of(covariance, [](double value) { return std::isfinite(value); })) {
    throw core::InvalidArgument("covariance: a value is NaN or infinite");
  }
  factors_.resize(covariance.size());
  weights_.resize(groups * inputs);
  const bool many = groups > 1;
  core::parallel_for(groups, 1, many ? threads : 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t g = begin; g < end; ++g) {
      const std::size_t n = inputs;
      std::vector<double> u = turned(covariance.subspan(g * n * n, n * n), n);
      factorise(u, n, many ? 1 : threads);
      // C = R·Rᵀ with R[j][k] = U[n − 1 − k][n − 1 − j], j ≤ k.
      for (std::size_t k = 0; k < n; ++k) {
        const double pivot = u[(n - 1 - k) * n + (n - 1 - k)];
        weights_[g * n + k] = static_cast<float>(pivot * pivot);
        for (std::size_t j = 0; j < k; ++j) {
          factors_[(g * n + j) * n + k] = static_cast<float>(u[(n - 1 - k) * n + (n - 1 - j)] / pivot);
        }
      }
    }
  });
}

std::span<const float> Feedback::factor(std::size_t group) const noexcept {
  return std::span(factors_).subspan(group * inputs_ * inputs_, inputs_ * inputs_);
}

std::span<const float> Feedback::weights(std::size_t group) const noexcept {
  return std::span(weights_).subspan(group * inputs_, inputs_);
}

double Feedback::mean_weight() const noexcept {
  return std::accumulate(weights_.begin(), weights_.end(), 0.0) / static_cast<double>(weights_.size());
}

double round_with_feedback(const Feedback& feedback, std::span<const float> weights, double step,
                           const ColumnRounder& rounder, std::span<std::int32_t> levels, int threads,
                           const Feedback* outputs) {
  const std::size_t inputs = feedback.inputs(), rows = weights.size() / inputs, groups = feedback.groups();
  if (weights.size() != rows * inputs || rows == 0 || rows % groups != 0 || levels.size() != weights.size()) {
    throw core::InvalidArgument("weights and levels: expected rows of " + std::to_string(inputs) +
                                ", as many in each of " + std::to_string(groups) + " groups, got " +
                                std::to_string(weights.size()) + " and " + std::to_string(levels.size()));
  }
  if (!(step > 0.0) || !std::isfinite(step)) {
    throw core::InvalidArgument("step: expected a finite number above 0, got " + std::to_string(step));
  }
  const std::size_t each = rows / groups;
  if (outputs != nullptr && (outputs->groups() != groups || outputs->inputs() != each)) {
    throw core::InvalidArgument("outputs: expected moments of " + std::to_string(groups) + " × " +
                                std::to_string(each) + " rows, got " + std::to_string(outputs->groups()) +
                                " × " + std::to_string(outputs->inputs()));
  }
  const std::vector<float> shares = outputs != nullptr ? relative_weights(*outputs) : std::vector<float>();
  const bool whole = rounder.whole_columns() || outputs != nullptr;
  const std::size_t chunk = whole ? each : std::min(each, kRows);
  const std::size_t chunks = (each + chunk - 1) / chunk;
  std::vector<double> losses(groups * chunks);
  core::parallel_for(losses.size(), 1, threads, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      const std::size_t g = i / chunks, from = i % chunks * chunk, first = g * each + from;
      codec::RowFeedback fed;
      if (outputs != nullptr) fed = {outputs->factor(g), std::span(shares).subspan(first, each)};
      Chunk part(feedback, g, first, std::min(chunk, each - from), fed);
      losses[i] = part.round(weights.data() + first * inputs, step, rounder, levels.data() + first * inputs);
    }
  });
  return std::accumulate(losses.begin(), losses.end(), 0.0);
}

}  // namespace rdquant::calibrate
