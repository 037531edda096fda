#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "codec/model/model.hpp"
#include "rdquant/codec/levels.hpp"

/// Choice of a model by description length. Only the encoder runs this: floating point is allowed here.
namespace rdquant::codec {

inline constexpr std::size_t kSample = 4096;  ///< levels that shape, dead zone and scales are fitted to

struct Analysis {
  Model model;
  std::vector<std::int32_t> coarse;  ///< (level − centre) >> shift
  double bits = 0.0;                 ///< estimate of the coded size, model included
};

/// `up_streams`: prediction from the row above needs at least so many columns. The levels of a trellis have
/// been checked, and those of a trellis are not predicted from above. `sample`: about so many levels
/// decide on what is fitted by trial.
[[nodiscard]] Analysis analyse(const Grid& grid, std::span<const std::int32_t> levels, std::size_t up_streams,
                               const Trellis& trellis = {}, std::size_t sample = kSample);

/// The model without prediction of levels that are cut off at ±W, as those of integer types are whose steps
/// come from the largest weight of each channel; none where the outermost levels are fewer than half the
/// rows.
[[nodiscard]] std::optional<Analysis> analyse_closed(const Grid& grid, std::span<const std::int32_t> levels);

/// The coarse levels of rows and the model of a tensor whose few distinct levels follow no smooth density;
/// false in `fits` where there are more than kMaxSymbols.
struct TableAnalysis {
  bool fits = false;
  Analysis analysis;
};
[[nodiscard]] TableAnalysis analyse_table(const Grid& grid, std::span<const std::int32_t> levels);

/// Gives a model the shares of symbols ≥ 0, at least two of them distinct, as its table; bits of them all
/// and of the model.
[[nodiscard]] double fit_table(Model& model, std::span<const std::int32_t> symbols);

/// Bits of the levels at `positions` (indices into the grid) under a model, its side information left out.
[[nodiscard]] double sample_bits(const Model& model, std::span<const std::int32_t> coarse,
                                 std::span<const std::size_t> positions);

/// How far apart scales are to be of lines of which so much is known: n magnitudes tell n, in nats⁻², and the
/// scale that is estimated from them deviates by about 11.5/√n eighths.
[[nodiscard]] int step_for(double information);

/// Row, column and tap scales from the magnitudes of the residuals, in levels; those that do not pay stay
/// even.
void fit_scales(Model& model, std::vector<float> magnitudes);

/// Predictors of all taps by weighted least squares; none where they do not pay. `weights`: one a row.
[[nodiscard]] std::vector<Predictor> fit_predictors(const Grid& grid, std::span<const std::int32_t> coarse,
                                                    std::span<const double> weights, bool up);

}  // namespace rdquant::codec
