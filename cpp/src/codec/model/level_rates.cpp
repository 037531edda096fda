#include "rdquant/codec/level_rates.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "codec/fit/analyse.hpp"
#include "codec/rans/streams.hpp"
#include "rdquant/core/error.hpp"

namespace rdquant::codec {
namespace {

constexpr std::int32_t kPhases = 16;    // of a mean within a level
constexpr std::size_t kUpColumns = 32;  // from which every number of streams may look at the row above
constexpr float kExcessBits = 10.0F;    // of a residual at the window's edge, as analyse.cpp counts it
constexpr float kExcessSlope = 0.25F;   // and of every level beyond it, so that nearer ones are cheaper
constexpr float kUnseenBits = 20.0F;    // of a level that a table of counts does not have

}  // namespace

struct LevelRates::Impl {
  Model model;
  std::vector<std::int32_t> coarse;
  /// [scale][phase][symbol]; of a table model [symbol]. Empty where no element has the scale.
  std::array<std::vector<float>, kScales> bits;

  [[nodiscard]] std::int32_t coarsened(std::int32_t level) const noexcept {
    return (level - model.centre) >> model.shift;
  }
  [[nodiscard]] std::size_t scale_at(std::size_t index) const noexcept {
    if (model.table) return 0;
    const std::size_t q = index / model.grid.taps;
    return static_cast<std::size_t>(clamp_scale(model.row_scales[q / model.grid.cols] +
                                                model.col_scales[q % model.grid.cols] +
                                                model.tap_scales[index % model.grid.taps]));
  }

  void tabulate() {
    const Cells cells = cells_for(model.table ? 0 : model.shape, model.symbols());
    for (std::size_t i = 0; i < coarse.size(); ++i) {
      const std::size_t s = scale_at(i);
      std::vector<float>& to = bits[s];
      if (!to.empty()) continue;
      const std::uint32_t symbols = model.symbols();
      for (std::int32_t phase = -kPhases / 2; phase < (model.table ? 1 - kPhases / 2 : kPhases / 2);
           ++phase) {
        std::uint32_t start = 0;
        for (std::uint32_t symbol = 0; symbol < symbols; ++symbol) {
          const std::uint32_t end = symbol_start(model, cells, phase, kMultipliers[s], symbol + 1);
          const float share = static_cast<float>(end - start) / static_cast<float>(kTotal);
          to.push_back(static_cast<float>(model.shift) + (end > start ? -std::log2(share) : kUnseenBits));
          start = end;
        }
      }
    }
  }
};

LevelRates::LevelRates(std::span<const std::int32_t> levels, std::span<const std::uint64_t> shape)
    : impl_(std::make_unique<Impl>()) {
  std::uint64_t size = 1;
  for (const std::uint64_t d : shape) size *= d;
  core::require(size == levels.size() && size > 0,
                "the shape has another number of elements than the levels");
  const Grid grid = grid_of(shape);
  Analysis chosen = analyse(grid, levels, kUpColumns);
  TableAnalysis table = analyse_table(grid, levels);
  if (table.fits && table.analysis.bits < chosen.bits) chosen = std::move(table.analysis);
  impl_->model = std::move(chosen.model);
  impl_->coarse = std::move(chosen.coarse);
  impl_->tabulate();
}

LevelRates::~LevelRates() = default;

std::size_t LevelRates::size() const noexcept { return impl_->coarse.size(); }

std::size_t LevelRates::past(std::size_t index) const noexcept {
  const Model& model = impl_->model;
  return model.predictors.empty() ? 0 : model.predictors[index % model.grid.taps].past.size();
}

std::int32_t LevelRates::mean(std::size_t index, std::span<const std::int32_t> past) const noexcept {
  const Model& model = impl_->model;
  if (model.predictors.empty()) return 0;
  const Predictor& p = model.predictors[index % model.grid.taps];
  const std::size_t row = model.grid.cols * model.grid.taps;
  std::int32_t sum = 4 * p.bias;
  if (p.up != 0 && index >= row) sum += p.up * impl_->coarse[index - row];
  for (std::size_t j = 0; j < std::min(past.size(), p.past.size()); ++j) {
    sum += p.past[j] * impl_->coarsened(past[j]);
  }
  return mean_of(sum);
}

float LevelRates::bits(std::size_t index, std::int32_t mean, std::int32_t level) const noexcept {
  const Model& model = impl_->model;
  const std::vector<float>& table = impl_->bits[impl_->scale_at(index)];
  const std::int32_t c = impl_->coarsened(level);
  if (model.table) {
    const bool known = c >= 0 && c < static_cast<std::int32_t>(table.size());
    return known ? table[static_cast<std::size_t>(c)] : kUnseenBits;
  }
  const std::int32_t base = rounded(mean), residual = c - base;
  const auto phase = static_cast<std::size_t>(mean - 16 * base + kPhases / 2);
  const std::int32_t within = std::clamp(residual, -model.window, model.window);
  const float bits = table[phase * model.symbols() + static_cast<std::size_t>(within + model.window)];
  const std::int32_t beyond = std::abs(residual) - model.window;
  return beyond < 0 ? bits : bits + kExcessBits + kExcessSlope * static_cast<float>(beyond);
}

}  // namespace rdquant::codec
