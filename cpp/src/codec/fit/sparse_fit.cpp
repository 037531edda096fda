#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <functional>

#include "codec/fit/analyse.hpp"
#include "codec/fit/factor_fit.hpp"
#include "codec/sparse/sparse.hpp"

// The choice of a sparse model by description length. Only the encoder runs this.
namespace rdquant::codec {
namespace {

constexpr double kSparseShare = 0.7;      // share of the common level from which this is tried
constexpr double kSparseGap = 0.02;       // the same where no other level is next to it
constexpr double kCoarseDistance = 24.0;  // mean distance from which the low bits are sent as they are
constexpr double kExcessBits = 22.0;      // of a distance beyond the window
constexpr std::size_t kStreamBits = 48;   // of signs that are worth one more stream
constexpr int kInitialShape = 3;          // Laplace
constexpr std::int32_t kInitialDead = 8;

/// Scale of every survivor before it is forced into the range.
std::vector<int> scales_at(const Model& model, const Survivors& places) {
  std::vector<int> scales(places.size());
  for (std::size_t i = 0; i < scales.size(); ++i) {
    scales[i] =
        model.row_scales[places.row[i]] + model.col_scales[places.col[i]] + model.tap_scales[places.tap[i]];
  }
  return scales;
}

/// Bits of a 0 and of a sign at each scale.
struct SignCosts {
  Costs zero{}, sign{};
};

SignCosts sign_costs(const Model& signs) {
  SignCosts costs;
  const Cells cells = cells_for(signs.shape, signs.symbols());
  for (int s = 0; s < kScales; ++s) {
    const auto i = static_cast<std::size_t>(s);
    const std::uint32_t first = symbol_start(signs, cells, 0, kMultipliers[i], 1),
                        second = symbol_start(signs, cells, 0, kMultipliers[i], 2);
    costs.zero[i] = 16.0 - std::log2(static_cast<double>(second - first));
    costs.sign[i] = 17.0 - std::log2(static_cast<double>(kTotal - (second - first)));
  }
  return costs;
}

/// Elements and survivors by the sum of their scales, kSums/2 the middle.
struct ScaleCounts {
  std::array<double, kSums> all{}, survivors{};
};

ScaleCounts count_scales(const Model& model, const Survivors& places) {
  ScaleCounts counts;
  std::array<double, kSums> slices{};
  for (const std::int32_t c : model.col_scales) {
    for (const std::int32_t t : model.tap_scales) slices[static_cast<std::size_t>(c + t + kSums / 2)] += 1.0;
  }
  std::array<double, kScales> rows{};
  for (const std::int32_t r : model.row_scales) rows[scale_index(r)] += 1.0;
  for (int k = 0; k < kSums; ++k) {
    if (slices[static_cast<std::size_t>(k)] == 0.0) continue;
    for (int r = 0; r < std::min(kScales, kSums - k); ++r) {
      counts.all[static_cast<std::size_t>(k + r)] +=
          slices[static_cast<std::size_t>(k)] * rows[static_cast<std::size_t>(r)];
    }
  }
  for (const int s : scales_at(model, places))
    counts.survivors[static_cast<std::size_t>(s + kSums / 2)] += 1.0;
  return counts;
}

/// Shape, dead zone and a common offset of the scales by trial; bits of all signs.
double refine_signs(Model& model, const Survivors& places) {
  const ScaleCounts counts = count_scales(model, places);
  const auto [low, high] = std::minmax_element(model.row_scales.begin(), model.row_scales.end());
  const int least_offset = std::max(-12, -*low), most_offset = std::min(12, kScales - 1 - *high);
  double best = 1e300;
  Model tried = model;
  int chosen = 0;
  for (tried.shape = 0; tried.shape < kShapes; ++tried.shape) {
    for (tried.dead = -8; tried.dead <= 22; tried.dead += 6) {
      const SignCosts costs = sign_costs(tried);
      for (int offset = least_offset; offset <= most_offset; ++offset) {
        double bits = 0.0;
        for (int s = 0; s < kSums; ++s) {
          const auto i = static_cast<std::size_t>(s);
          if (counts.all[i] == 0.0) continue;
          const std::size_t scale = scale_index(s - kSums / 2 + offset);
          bits += (counts.all[i] - counts.survivors[i]) * costs.zero[scale] +
                  counts.survivors[i] * costs.sign[scale];
        }
        if (bits < best) best = bits, chosen = offset, model.shape = tried.shape, model.dead = tried.dead;
      }
    }
  }
  for (std::int32_t& s : model.row_scales) s += chosen;
  return best;
}

double fit_signs(Model& signs, const Survivors& places) {
  signs.closed = true;
  signs.window = 1;
  signs.shape = kInitialShape;
  signs.dead = kInitialDead;
  const SignCosts costs = sign_costs(signs);
  FitCosts fit;
  fit.every = costs.zero;
  for (std::size_t s = 0; s < costs.zero.size(); ++s) fit.one[s] = costs.sign[s] - costs.zero[s];
  // At density p a survivor tells (ln p)² about the logarithm of the scale.
  const double p = static_cast<double>(places.size()) / static_cast<double>(signs.grid.size());
  fit_factors(signs, places, {}, fit, std::log(p) * std::log(p));
  return refine_signs(signs, places);
}

double model_bits(const Model& model) {
  Writer side;
  write_model(side, model);
  return 8.0 * static_cast<double>(side.size());
}

std::int32_t best_window(const std::vector<std::uint32_t>& symbols) {
  std::vector<double> beyond(kMaxWindow + 2, 0.0);
  for (const std::uint32_t c : symbols) beyond[std::min<std::size_t>(c, kMaxWindow + 1)] += 1.0;
  for (std::size_t r = beyond.size() - 1; r-- > 0;) beyond[r] += beyond[r + 1];
  const double each = 1.4427 * static_cast<double>(symbols.size()) / kTotal;
  std::int32_t best = kMaxWindow;
  double least = 1e300;
  for (std::int32_t w = 1; w <= kMaxWindow; ++w) {
    const double bits = each * (2 * w + 1) + kExcessBits * beyond[static_cast<std::size_t>(w)];
    if (bits < least) least = bits, best = w;
  }
  return best;
}

/// Shape and a common offset of the scales by trial; bits of all symbols.
double refine_distances(Model& model, const Survivors& places, const std::vector<std::uint32_t>& symbols) {
  const auto width = static_cast<std::size_t>(model.window) + 1;
  std::vector<double> counts(kSums * width);
  double excess = 0.0;
  const auto scales = scales_at(model, places);
  for (std::size_t i = 0; i < symbols.size(); ++i) {
    const std::size_t c = std::min<std::size_t>(symbols[i], width - 1);
    if (c == width - 1) excess += kExcessBits / 2;
    counts[static_cast<std::size_t>(scales[i] + kSums / 2) * width + c] += 1.0;
  }
  const auto [low, high] = std::minmax_element(model.row_scales.begin(), model.row_scales.end());
  const int least_offset = std::max(-6, -*low), most_offset = std::min(6, kScales - 1 - *high);
  double best = 1e300;
  int chosen = 0;
  std::vector<double> costs(kScales * width);
  Model tried = model;
  for (tried.shape = 0; tried.shape < kShapes; ++tried.shape) {
    const Cells cells = cells_for(tried.shape, tried.symbols(), true);
    for (std::size_t s = 0; s < kScales; ++s) {
      auto symbol = static_cast<std::uint32_t>(tried.window + 1);
      std::uint32_t start = symbol_start(tried, cells, 0, kMultipliers[s], symbol);
      for (std::size_t c = 1; c < width; ++c, ++symbol) {
        const std::uint32_t end = symbol_start(tried, cells, 0, kMultipliers[s], symbol + 1);
        costs[s * width + c] = 16.0 - std::log2(static_cast<double>(end - start));
        start = end;
      }
    }
    for (int offset = least_offset; offset <= most_offset; ++offset) {
      double bits = excess;
      for (int s = 0; s < kSums; ++s) {
        const double* const count = counts.data() + static_cast<std::size_t>(s) * width;
        const double* const cost = costs.data() + scale_index(s - kSums / 2 + offset) * width;
        for (std::size_t c = 1; c < width; ++c) bits += count[c] * cost[c];
      }
      if (bits < best) best = bits, chosen = offset, model.shape = tried.shape;
    }
  }
  for (std::int32_t& s : model.row_scales) s += chosen;
  return best;
}

/// Distances as a one-sided density with scales; bits with the model.
double fit_density(SparseModel& sparse, const Survivors& places) {
  Model& model = sparse.distances;
  model.one_sided = true;
  model.dead = -8;
  model.shape = kInitialShape;
  double sum = 0.0;
  std::uint32_t most = 0;
  for (const std::uint32_t b : places.beyond) sum += b, most = std::max(most, b);
  const double mean = sum / static_cast<double>(places.size());
  while ((most >> model.shift) + 1 >= static_cast<std::uint32_t>(kReach) ||
         std::ldexp(mean, -model.shift) > kCoarseDistance) {
    ++model.shift;
  }
  std::vector<std::uint32_t> symbols(places.size());
  std::vector<double> weights(places.size());
  for (std::size_t i = 0; i < symbols.size(); ++i) {
    symbols[i] = sparse.token(places.beyond[i]).symbol;
    weights[i] = symbols[i] - 1;
  }
  FitCosts fit;  // geometric distributions: −log2((1 − q)·q^w), q = exp(−1/σ)
  for (std::size_t s = 0; s < fit.one.size(); ++s) {
    const double inverse = std::exp2((31.0 - static_cast<double>(s)) / 8.0);
    fit.one[s] = -std::log2(-std::expm1(-inverse));
    fit.more[s] = inverse * 1.4427;
  }
  fit_factors(model, places, weights, fit, 1.0);
  model.window = best_window(symbols);
  return refine_distances(model, places, symbols) + model_bits(model) +
         static_cast<double>(model.shift) * static_cast<double>(places.size());
}

/// Distances by a table of tokens; bits with the table.
double fit_tokens(SparseModel& sparse, const Survivors& places) {
  sparse.distances.table = true;
  const std::uint32_t most = *std::max_element(places.beyond.begin(), places.beyond.end());
  std::vector<std::int32_t> tokens(places.size());
  double best = 1e300;
  SparseModel tried = sparse, chosen;
  const int whole = std::bit_width(most);
  for (const Layout layout : {Layout{std::min(whole, 11), 4}, Layout{8, 5}, Layout{6, 4}, Layout{4, 3},
                              Layout{3, 2}, Layout{0, 0}}) {
    if (layout.split > whole) continue;
    tried.layout = {layout.split, std::min(layout.kept, layout.split)};
    double raw = 0.0;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const Token token = tried.token(places.beyond[i]);
      tokens[i] = static_cast<std::int32_t>(token.symbol);
      raw += token.bits;
    }
    if (std::adjacent_find(tokens.begin(), tokens.end(), std::not_equal_to<>()) == tokens.end()) continue;
    const double bits = raw + fit_table(tried.distances, tokens);
    if (bits < best) best = bits, chosen = tried;
  }
  sparse = std::move(chosen);
  return best;
}

/// The commonest level, if it is that of more than half of all elements.
std::optional<std::int32_t> majority(std::span<const std::int32_t> levels) {
  std::int32_t candidate = 0;
  std::size_t lead = 0;
  for (const std::int32_t v : levels) {
    if (lead == 0) candidate = v;
    v == candidate ? ++lead : --lead;
  }
  const auto count = static_cast<std::size_t>(std::count(levels.begin(), levels.end(), candidate));
  return 2 * count > levels.size() ? std::optional(candidate) : std::nullopt;
}

/// Whether pruning left its mark: no level is next to 0.
bool gap_around_zero(std::span<const std::int32_t> levels) {
  return std::ranges::none_of(levels, [](std::int32_t v) { return v == 1 || v == -1; });
}

Survivors survivors_of(const SparseModel& model, std::span<const std::int32_t> levels) {
  Survivors out;
  const Grid& grid = model.grid;
  const std::int32_t* level = levels.data();
  for (std::size_t o = 0; o < grid.rows; ++o) {
    for (std::size_t i = 0; i < grid.cols; ++i) {
      for (std::size_t t = 0; t < grid.taps; ++t, ++level) {
        if (*level == model.common) continue;
        out.row.push_back(static_cast<std::uint32_t>(o));
        out.col.push_back(static_cast<std::uint32_t>(i));
        out.tap.push_back(static_cast<std::uint32_t>(t));
        const std::int64_t difference = static_cast<std::int64_t>(*level) - model.common;
        out.beyond.push_back(static_cast<std::uint32_t>(std::abs(difference)));
      }
    }
  }
  return out;
}

}  // namespace

std::optional<SparseAnalysis> analyse_sparse(const Grid& grid, std::span<const std::int32_t> levels) {
  auto common = majority(levels);
  if (!common && gap_around_zero(levels)) common = 0;
  if (!common || std::max(grid.rows, grid.cols) > 0xffffffffU) return {};
  SparseAnalysis out;
  SparseModel& model = out.model;
  model.grid = model.signs.grid = model.distances.grid = grid;
  model.common = *common;
  Survivors places = survivors_of(model, levels);
  if (places.size() == 0) return {};
  const auto [least, most] = std::minmax_element(places.beyond.begin(), places.beyond.end());
  model.least = *least;
  model.even = *least == *most;
  const double share = 1.0 - static_cast<double>(places.size()) / static_cast<double>(grid.size());
  if (share < (model.least > 1 ? kSparseGap : kSparseShare)) return {};
  for (std::uint32_t& b : places.beyond) b -= model.least;
  out.bits = fit_signs(model.signs, places);
  const std::size_t rows = rows_a_part(grid), parts = (grid.rows + rows - 1) / rows;
  const auto worth = static_cast<std::size_t>(out.bits / static_cast<double>(kStreamBits * parts));
  model.streams =
      std::min(streams_for(grid.size() / parts / 4), std::bit_floor(std::max<std::size_t>(worth, 1)));
  if (model.streams < 8) model.streams = 1;
  out.bits += model_bits(model.signs);
  if (model.even) return out;
  SparseModel table = model;
  const double by_density = fit_density(model, places), by_table = fit_tokens(table, places);
  if (by_table < by_density) model = std::move(table);
  out.bits += std::min(by_density, by_table);
  return out;
}

}  // namespace rdquant::codec
