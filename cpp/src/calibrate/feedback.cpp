#include "rdquant/calibrate/feedback.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "rdquant/core/error.hpp"
#include "rdquant/core/parallel.hpp"
#include "rdquant/linalg/cholesky.hpp"
#include "rdquant/linalg/product.hpp"

namespace rdquant::calibrate {
namespace {

constexpr std::size_t kBlock = 32;       // columns that are rounded together
constexpr std::size_t kRows = 32;        // rows whose losses are summed together
constexpr std::size_t kMostRows = 128;   // rows that a thread rounds together
constexpr double kDamping = 1e-4;        // of the mean of the diagonal
constexpr std::size_t kTransposed = 32;  // rows and columns of a block that is transposed within the cache

/// The covariance with its inputs in reverse order, damped, in the upper triangle of [inputs, inputs].
core::Array<double> reversed(std::span<const double> covariance, std::size_t n) {
  double trace = 0.0;
  for (std::size_t i = 0; i < n; ++i) trace += covariance[i * n + i];
  const double damping = trace > 0.0 ? kDamping * trace / static_cast<double>(n) : 1.0;
  core::Array<double> a(n * n);
  for (std::size_t i = 0; i < n; ++i) {
    const double* const row = covariance.data() + (n - 1 - i) * n;
    std::reverse_copy(row, row + (n - i), a.data() + i * n + i);
    a[i * n + i] += damping;
  }
  return a;
}

/// F of C = (F + I)·diag(d)·(F + I)ᵀ, from U of the reversed C = Uᵀ·U: C = R·Rᵀ with R[j][k] =
/// U[n − 1 − k][n − 1 − j], j ≤ k.
void factor_of(std::span<const double> u, std::size_t n, float* factor, int threads) {
  const std::size_t blocks = (n + kTransposed - 1) / kTransposed;
  core::parallel_for(blocks, 1, threads, [&](std::size_t begin, std::size_t end) {
    for (std::size_t block = begin; block < end; ++block) {
      const std::size_t first = block * kTransposed, last = std::min(n, first + kTransposed);
      for (std::size_t columns = first; columns < n; columns += kTransposed) {
        for (std::size_t k = columns; k < std::min(n, columns + kTransposed); ++k) {
          const double* const row = u.data() + (n - 1 - k) * n;
          const double pivot = row[n - 1 - k];
          for (std::size_t j = first; j < std::min(k, last); ++j) {
            factor[j * n + k] = static_cast<float>(row[n - 1 - j] / pivot);
          }
        }
      }
    }
  });
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

  /// Adds what each `together` rows lose to `losses`, one after the other.
  void round(const float* weights, double step, const ColumnRounder& rounder, std::int32_t* levels,
             std::size_t together, std::span<double> losses) {
    transpose(weights, rows_, inputs_, targets_.data());
    for (std::size_t first = 0; first < inputs_; first += kBlock) {
      const std::size_t last = std::min(inputs_, first + kBlock);
      linalg::multiply({factor_.data() + first, inputs_, errors_.data(), rows_, first, last - first, rows_,
                        1.0F, targets_.data() + first * rows_, rows_});
      for (std::size_t k = first; k < last; ++k) {
        linalg::multiply({factor_.data() + first * inputs_ + k, inputs_, errors_.data() + first * rows_,
                          rows_, k - first, 1, rows_, 1.0F, targets_.data() + k * rows_, rows_});
        round_column(k, weights, static_cast<float>(step), rounder, together, losses);
      }
    }
    transpose(levels_.data(), inputs_, rows_, levels);
  }

 private:
  template <typename T>
  static void transpose(const T* from, std::size_t rows, std::size_t cols, T* to) {
    for (std::size_t first = 0; first < cols; first += kTransposed) {
      for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t c = first; c < std::min(cols, first + kTransposed); ++c) {
          to[c * rows + r] = from[r * cols + c];
        }
      }
    }
  }

  void round_column(std::size_t k, const float* weights, float step, const ColumnRounder& rounder,
                    std::size_t together, std::span<double> losses) {
    std::int32_t* const levels = levels_.data() + k * rows_;
    const Column column{k,           first_row_, rows_, targets_.data() + k * rows_,
                        weights_[k], levels,     rows_, outputs_};
    rounder.round(column);
    FedTargets targets(column);
    for (std::size_t first = 0; first < rows_; first += together) {
      double loss = 0.0;
      for (std::size_t r = first; r < std::min(rows_, first + together); ++r) {
        const float value = step * static_cast<float>(levels[r]);
        const auto missed = static_cast<double>(targets.settle(r, value));
        errors_[k * rows_ + r] = weights[r * inputs_ + k] - value;
        loss += static_cast<double>(column.row_weight(r)) * missed * missed;
      }
      losses[first / together] += loss * static_cast<double>(weights_[k]);
    }
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
  factors_ = core::Array<float>(covariance.size());
  weights_.resize(groups * inputs);
  const bool many = groups > 1;
  const int within = many ? 1 : threads;
  core::parallel_for(groups, 1, many ? threads : 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t g = begin; g < end; ++g) {
      const std::size_t n = inputs;
      core::Array<double> u = reversed(covariance.subspan(g * n * n, n * n), n);
      double least = 0.0;  // half the damping, above which all pivots of a positive semidefinite matrix are
      for (std::size_t i = 0; i < n; ++i) least += 0.5 * kDamping * u[i * n + i] / static_cast<double>(n);
      linalg::factorise(u, n, {.least = least, .threads = within});
      for (std::size_t k = 0; k < n; ++k) {
        const double pivot = u[(n - 1 - k) * n + (n - 1 - k)];
        weights_[g * n + k] = static_cast<float>(pivot * pivot);
      }
      factor_of(u, n, factors_.data() + g * n * n, within);
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
  // The loss is the same, to the bit, however the rows are divided among threads.
  const std::size_t together = whole ? each : std::min(each, kRows), sums = (each + together - 1) / together;
  const auto workers = static_cast<std::size_t>(core::resolve_threads(threads));
  const std::size_t shared = (sums * groups + workers - 1) / workers;  // sums of a thread
  const std::size_t chunk = whole ? each : std::clamp(shared * together, together, kMostRows);
  const std::size_t chunks = (each + chunk - 1) / chunk;
  std::vector<double> losses(groups * sums);
  core::parallel_for(groups * chunks, 1, threads, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      const std::size_t g = i / chunks, from = i % chunks * chunk, first = g * each + from;
      codec::RowFeedback fed;
      if (outputs != nullptr) fed = {outputs->factor(g), std::span(shares).subspan(first, each)};
      Chunk part(feedback, g, first, std::min(chunk, each - from), fed);
      part.round(weights.data() + first * inputs, step, rounder, levels.data() + first * inputs, together,
                 std::span(losses).subspan(g * sums + from / together));
    }
  });
  return std::accumulate(losses.begin(), losses.end(), 0.0);
}

}  // namespace rdquant::calibrate
