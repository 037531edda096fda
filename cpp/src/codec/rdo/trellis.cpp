#include "rdquant/codec/trellis.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "codec/fit/analyse.hpp"
#include "codec/rdo/viterbi.hpp"
#include "rdquant/core/error.hpp"
#include "rdquant/core/parallel.hpp"

namespace rdquant::codec {
namespace {

constexpr std::size_t kShortChain = 256;   // slices: shorter ones lose more than streams gain
constexpr std::size_t kRateSample = 1024;  // levels: rates need not be exact
constexpr std::size_t kNeverUp = std::numeric_limits<std::size_t>::max();

void check_states(int states) {
  if (states == 0 || states == 8 || states == 32) return;
  throw core::InvalidArgument("states: expected 0, 8 or 32, got " + std::to_string(states));
}

/// @throws InvalidArgument  names the value.
void check_finite(float value, std::size_t index, const char* what) {
  if (!std::isfinite(value)) {
    throw core::InvalidArgument(std::string(what) + "[" + std::to_string(index) + "] is not finite");
  }
}

/// @throws InvalidArgument  a level, or a target in levels, that is too far from zero to be coded.
void check_near(const char* what, float value, std::size_t index) {
  check_finite(value, index, what);
  if (std::abs(value) <= kMostTarget) return;
  throw core::InvalidArgument(std::string(what) + "[" + std::to_string(index) + "]: expected at most ±" +
                              std::to_string(static_cast<int>(kMostTarget)) + ", got " +
                              std::to_string(value));
}

/// As many chains as streams, unless they would be short.
Trellis trellis_for(const Grid& grid, int states) {
  if (states == 0) return {};
  const std::size_t part = std::min(grid.rows, rows_a_part(grid)) * grid.cols;
  const std::size_t most = std::bit_floor(std::max<std::size_t>(1, part / kShortChain));
  return {states, std::min(streams_for(grid.size()), most)};
}

/// The columns as chains; where they are few and long, several a column, but one where errors are fed down.
Trellis column_trellis(const Grid& grid, int states, bool fed) {
  if (states == 0) return {};
  if (fed) return {states, grid.cols};
  const std::size_t rows = std::min(grid.rows, rows_a_part(grid));
  const std::size_t wanted = streams_for(grid.size()) / std::max<std::size_t>(1, grid.cols);
  const std::size_t most = rows / kShortChain;
  return {states, grid.cols * std::bit_floor(std::max<std::size_t>(1, std::min(wanted, most)))};
}

/// Levels to which a first model is fitted; those of a trellis are even, their halves are what is coded.
std::int32_t first_level(float target, int states) {
  const float scale = states == 0 ? 1.0F : 2.0F;
  return static_cast<std::int32_t>(scale) * static_cast<std::int32_t>(std::lrint(target / scale));
}

template <typename T>
std::unique_ptr<T[]> raw(std::size_t size) {
  return std::make_unique_for_overwrite<T[]>(size);
}

/// A task's arrays, for up to `slices` slices; means are 0 and weights 1 until they are written.
struct Arrays {
  Arrays(std::size_t slices, bool trellis, bool fed = false)
      : targets(raw<float>(slices + kWide)),
        weights(raw<float>(slices + kWide)),
        means(raw<std::int32_t>(slices + kWide)),
        multipliers(raw<std::int32_t>(slices + kWide)),
        levels(raw<std::int32_t>(slices)),
        second(raw<std::uint32_t>(trellis ? slices + kWide : 0)),
        costs(raw<float>(trellis ? 4 * (slices + kWide) : 0)),
        taken(raw<std::int16_t>(trellis ? 4 * (slices + kWide) : 0)),
        own(raw<float>(fed ? kPlaces * slices : 0)),
        path(raw<std::int16_t>(fed ? 2 * kPlaces * slices : 0)) {
    std::fill_n(weights.get(), slices + kWide, 1.0F);
    std::fill_n(means.get(), slices + kWide, 0);
  }
  /// What is read behind the last slice.
  void pad(std::size_t slices) {
    std::fill_n(targets.get() + slices, kWide, 0.0F);
    std::fill_n(multipliers.get() + slices, kWide, 0);
  }
  std::unique_ptr<float[]> targets, weights;
  std::unique_ptr<std::int32_t[]> means, multipliers, levels;
  std::unique_ptr<std::uint32_t[]> second;
  std::unique_ptr<float[]> costs;
  std::unique_ptr<std::int16_t[]> taken;
  std::unique_ptr<float[]> own;
  std::unique_ptr<std::int16_t[]> path;
};

TapTask task_for(const Model& model, const Cells& cells, std::size_t slices, std::size_t chains, Arrays& a) {
  a.pad(slices);
  TapTask task;
  task.log_states = model.log_states;
  task.chains = chains;
  task.slices = slices;
  task.cells = cells.data();
  task.symbols = static_cast<std::int32_t>(model.symbols());
  task.window = model.window;
  task.dead = model.dead;
  task.means = a.means.get();
  task.multipliers = a.multipliers.get();
  task.targets = a.targets.get();
  task.weights = a.weights.get();
  task.levels = a.levels.get();
  task.second = a.second.get();
  task.costs = a.costs.get();
  task.taken = a.taken.get();
  task.own = a.own.get();
  task.path = a.path.get();
  return task;
}

std::int32_t multiplier_at(const Model& model, std::size_t row, std::size_t col, std::size_t tap) {
  const std::int32_t scale = model.row_scales[row] + model.col_scales[col] + model.tap_scales[tap];
  return kMultipliers[static_cast<std::size_t>(clamp_scale(scale))];
}

/// What is quantized: targets in levels, the whole tensor's.
struct Problem {
  Grid grid;
  std::span<const float> targets;
  std::span<const float> weights;
  float lambda = 0.0F;
  float inward = 0.0F;
};

/// The levels of rows [first, first + rows), tap by tap: what a tap is predicted from is settled before.
void choose_part(const Problem& problem, const Model& model, const Cells& cells, std::size_t first,
                 std::size_t rows, Arrays& a, std::span<std::int32_t> levels) {
  const std::size_t taps = problem.grid.taps, cols = problem.grid.cols, slices = rows * cols;
  const std::size_t from = first * cols * taps;
  const std::size_t chains = model.trellis() ? std::min(model.chains, slices) : 1;
  TapTask task = task_for(model, cells, slices, chains, a);
  task.lambda = problem.lambda;
  task.inward = problem.inward;
  for (std::size_t t = 0; t < taps; ++t) {
    for (std::size_t q = 0; q < slices; ++q) a.targets[q] = problem.targets[from + q * taps + t];
    if (!problem.weights.empty()) {
      for (std::size_t q = 0; q < slices; ++q) a.weights[q] = problem.weights[from + q * taps + t];
    }
    for (std::size_t o = 0, q = 0; o < rows; ++o) {
      for (std::size_t i = 0; i < cols; ++i, ++q) a.multipliers[q] = multiplier_at(model, first + o, i, t);
    }
    if (!model.predictors.empty()) {
      for (std::size_t q = 0; q < slices; ++q) {
        a.means[q] = predict(model.predictors[t], levels.data() + from + q * taps, t, nullptr);
      }
    }
    choose_levels(task);
    for (std::size_t q = 0; q < slices; ++q) levels[from + q * taps + t] = a.levels[q];
  }
}

void choose_all(const Problem& problem, const Model& model, int threads, std::span<std::int32_t> levels) {
  const Cells cells = cells_for(model.shape, model.symbols());
  const std::size_t rows = rows_a_part(problem.grid), parts = (problem.grid.rows + rows - 1) / rows;
  core::parallel_for(parts, 1, threads, [&](std::size_t begin, std::size_t end) {
    Arrays arrays(std::min(rows, problem.grid.rows) * problem.grid.cols, model.trellis());
    for (std::size_t p = begin; p < end; ++p) {
      const std::size_t first = p * rows;
      choose_part(problem, model, cells, first, std::min(rows, problem.grid.rows - first), arrays, levels);
    }
  });
}

/// Sums over the levels that are not 0, with s = sign(level) and the weights: of 1, |v|, v², s·target,
/// v·target.
struct Moments {
  double n = 0.0, v = 0.0, vv = 0.0, y = 0.0, vy = 0.0;
};

/// Blocks are summed in float32, eight sums at a time: exact to 1e-4, and without branches.
template <bool kWeighted>
Moments moments_of(const float* targets, const float* weights, std::span<const std::int32_t> levels) {
  constexpr std::size_t kLanes = 8, kBlock = 128 * kLanes;
  Moments m;
  for (std::size_t begin = 0; begin < levels.size(); begin += kBlock) {
    float n[kLanes] = {}, v[kLanes] = {}, vv[kLanes] = {}, y[kLanes] = {}, vy[kLanes] = {};
    const std::size_t end = std::min(levels.size(), begin + kBlock);
    const auto add = [&](std::size_t i, std::size_t lane) {
      const std::int32_t level = levels[i];
      const float given = kWeighted ? weights[i] : 1.0F;
      const float w = level == 0 ? 0.0F : given;
      const auto magnitude = static_cast<float>(level < 0 ? -level : level);
      const float target = level < 0 ? -targets[i] : targets[i];
      n[lane] += w;
      v[lane] += w * magnitude;
      vv[lane] += w * magnitude * magnitude;
      y[lane] += w * target;
      vy[lane] += w * magnitude * target;
    };
    std::size_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) add(i + lane, lane);
    }
    for (; i < end; ++i) add(i, 0);
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      m.n += n[lane];
      m.v += v[lane];
      m.vv += vv[lane];
      m.y += y[lane];
      m.vy += vy[lane];
    }
  }
  return m;
}

Moments moments_of(const Problem& problem, std::span<const std::int32_t> levels) {
  const float* const targets = problem.targets.data();
  return problem.weights.empty() ? moments_of<false>(targets, nullptr, levels)
                                 : moments_of<true>(targets, problem.weights.data(), levels);
}

/// The shift of all levels towards zero that has the least error.
float inward_of(const Moments& m) {
  return m.n > 0.0 ? static_cast<float>(std::clamp((m.v - m.y) / m.n, -0.45, 0.45)) : 0.0F;
}

/// Step and δ with the least error; `step` and the shift alone where the levels do not determine both.
quant::Uniform refined(const Moments& m, double step, double inward) {
  const double determinant = m.vv * m.n - m.v * m.v;
  if (determinant > 1e-6 * m.vv * m.n) {
    const double a = (m.vy * m.n - m.y * m.v) / determinant, b = (m.y * m.vv - m.vy * m.v) / determinant;
    if (a > 0.5 && a < 2.0 && std::abs(b / a) < 0.45) return {.step = step * a, .delta = 0.5 + b / a};
  }
  return {.step = step, .delta = 0.5 - inward};
}

std::vector<float> in_steps(std::span<const float> x, double step) {
  std::vector<float> targets(x.size());
  const double inverse = 1.0 / step;
  for (std::size_t i = 0; i < x.size(); ++i) {
    check_finite(x[i], i, "x");
    targets[i] = std::clamp(static_cast<float>(x[i] * inverse), -kMostTarget, kMostTarget);
  }
  return targets;
}

/// Levels too large for models of rates, and for trellises: those of a scalar quantizer of the same rate.
RdoResult plain(std::span<const float> x, const RdoOptions& options) {
  RdoResult out;
  out.quantizer = {.step = options.states == 0 ? options.step : 2.0 * options.step, .delta = 0.5};
  out.levels.resize(x.size());
  quant::quantize(out.quantizer, x, out.levels);
  return out;
}

bool too_fine(std::span<const float> x, double step) {
  const double most = static_cast<double>(kMostTarget) * step;
  return std::any_of(x.begin(), x.end(), [&](float v) { return std::abs(static_cast<double>(v)) > most; });
}

std::size_t product(std::span<const std::uint64_t> shape) {
  std::size_t size = 1;
  for (const std::uint64_t d : shape) size *= static_cast<std::size_t>(d);
  return size;
}

}  // namespace

RdoResult quantize_rdo(std::span<const float> x, std::span<const std::uint64_t> shape,
                       const RdoOptions& options, std::span<const float> weights) {
  core::require(product(shape) == x.size(), "the shape has another number of elements than x");
  core::require(weights.empty() || weights.size() == x.size(), "weights must have as many elements as x");
  core::require(std::isfinite(options.lambda) && options.lambda >= 0.0,
                "lambda must be finite and at least 0");
  core::require(options.rounds >= 1, "rounds must be at least 1");
  check_states(options.states);
  RdoResult out;
  out.quantizer = {.step = options.step, .delta = 0.5};
  quant::validate(out.quantizer);
  if (x.empty()) return out;
  const std::vector<float> targets = in_steps(x, options.step);
  if (too_fine(x, options.step)) return plain(x, options);
  Problem problem{grid_of(shape), targets, weights,
                  static_cast<float>(options.lambda / (options.step * options.step)), 0.0F};
  out.trellis = trellis_for(problem.grid, options.states);
  out.levels.resize(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) out.levels[i] = first_level(targets[i], options.states);
  Moments moments;
  for (int round = 0; round < options.rounds; ++round) {
    const Analysis a = analyse(problem.grid, out.levels, kNeverUp, out.trellis, kRateSample);
    if (a.model.shift != 0 || a.model.centre != 0) break;  // too fine for the rates to matter
    choose_all(problem, a.model, options.threads, out.levels);
    if (options.refine) {
      moments = moments_of(problem, out.levels);
      problem.inward = inward_of(moments);
    }
  }
  if (options.refine) out.quantizer = refined(moments, options.step, problem.inward);
  return out;
}

struct ColumnQuantizer::State {
  Model model;
  Cells cells;
  Trellis trellis;
};

ColumnQuantizer::ColumnQuantizer(std::span<const std::int32_t> levels, std::span<const std::uint64_t> shape,
                                 int states, bool fed)
    : state_(std::make_unique<State>()) {
  core::require(product(shape) == levels.size() && !levels.empty(),
                "the shape has another number of elements than the levels, or none");
  check_states(states);
  const Grid grid = grid_of(shape);
  std::vector<std::int32_t> first(levels.begin(), levels.end());
  for (std::size_t i = 0; i < first.size(); ++i) {
    std::int32_t& v = first[i];
    check_near("levels", static_cast<float>(v), i);
    if (states != 0) v = 2 * ((v + (v > 0 ? 1 : 0)) >> 1);
  }
  state_->trellis = column_trellis(grid, states, fed);
  state_->model = analyse(grid, first, kNeverUp, state_->trellis).model;
  core::require(state_->model.shift == 0 && state_->model.centre == 0,
                "levels: expected some whose rates matter, got too large ones, or too far from zero");
  state_->cells = cells_for(state_->model.shape, state_->model.symbols());
}

ColumnQuantizer::~ColumnQuantizer() = default;
ColumnQuantizer::ColumnQuantizer(ColumnQuantizer&&) noexcept = default;
ColumnQuantizer& ColumnQuantizer::operator=(ColumnQuantizer&&) noexcept = default;

std::size_t ColumnQuantizer::rows() const noexcept { return state_->model.grid.rows; }
std::size_t ColumnQuantizer::columns() const noexcept {
  return state_->model.grid.cols * state_->model.grid.taps;
}
Trellis ColumnQuantizer::trellis() const noexcept { return state_->trellis; }

void ColumnQuantizer::quantize(std::size_t column, std::span<const float> targets, double delta,
                               double weight, double lambda, std::span<std::int32_t> levels,
                               std::size_t row_stride, std::size_t column_stride,
                               const RowFeedback& rows) const {
  const Model& model = state_->model;
  const Grid& grid = model.grid;
  core::require(column < columns(), "no such column");
  core::require(targets.size() == grid.rows &&
                    (grid.rows - 1) * row_stride + (columns() - 1) * column_stride < levels.size(),
                "targets and levels must fit the shape");
  const std::size_t chains = model.trellis() ? model.chains / grid.cols : 1;
  const bool fed = !rows.factor.empty();
  core::require(!fed || (model.trellis() && chains == 1 && rows.factor.size() == grid.rows * grid.rows &&
                         rows.weights.size() == grid.rows),
                "row feedback: expected factors and weights of the rows, and a trellis made to be fed");
  for (std::size_t r = 0; r < grid.rows; ++r) check_near("targets", targets[r], r);
  const std::size_t i = column / grid.taps, t = column % grid.taps;
  const std::size_t part = rows_a_part(grid);
  std::vector<float> starts(targets.begin(), targets.end());
  Arrays a(std::min(part, grid.rows), model.trellis(), fed);
  for (std::size_t first = 0; first < grid.rows; first += part) {
    const std::size_t count = std::min(part, grid.rows - first);
    for (std::size_t o = 0; o < count; ++o) {
      a.targets[o] = targets[first + o];
      a.weights[o] = static_cast<float>(weight) * (fed ? rows.weights[first + o] : 1.0F);
      a.multipliers[o] = multiplier_at(model, first + o, i, t);
      if (fed) std::fill_n(a.own.get() + o * kPlaces, kPlaces, starts[first + o]);
      if (model.predictors.empty()) continue;
      std::array<std::int32_t, kMaxTaps> slice{};
      const std::size_t from = (first + o) * row_stride + (column - t) * column_stride;
      for (std::size_t j = 0; j < t; ++j) slice[j] = levels[from + j * column_stride];
      a.means[o] = predict(model.predictors[t], slice.data(), t, nullptr);
    }
    TapTask task = task_for(model, state_->cells, count, std::min(chains, count), a);
    task.lambda = static_cast<float>(lambda);
    task.inward = static_cast<float>(0.5 - delta);
    if (fed) {
      task.above = rows.factor.data() + first * grid.rows + first;
      task.above_stride = grid.rows;
    }
    choose_levels(task);
    for (std::size_t o = 0; o < count; ++o) {
      const std::int32_t level = a.levels[o];
      levels[(first + o) * row_stride + column * column_stride] = level;
      if (!fed) continue;
      const float inward = level > 0 ? task.inward : (level < 0 ? -task.inward : 0.0F);
      const float missed = a.targets[o] - (static_cast<float>(level) - inward);
      const float* const factor = rows.factor.data() + (first + o) * grid.rows;
      for (std::size_t r = first + count; r < grid.rows; ++r) starts[r] += factor[r] * missed;
    }
  }
}

}  // namespace rdquant::codec
