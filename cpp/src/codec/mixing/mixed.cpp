#include "codec/mixing/mixed.hpp"

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "codec/mixing/mixer.hpp"
#include "codec/mixing/references.hpp"
#include "codec/rdo/trellis_code.hpp"

namespace rdquant::codec {
namespace {

constexpr std::uint32_t kDecisions = 24;  // is it zero, is it positive, is it more than 1, 2, … 22
constexpr std::size_t kInputs = 9;        // two densities, seven contexts
constexpr std::int32_t kSurer = 2;  // eighths of an octave that the density around a reference is narrower
constexpr std::int32_t kFarthest = 16 * 256;  // 1/16 level that its mean is from the other one
constexpr std::size_t kMostPlaces = 4096;     // rows and columns of their own statistics; others share them

/// One decision after the other about the residual of a level, each coded by `Coder`, which either knows the
/// residual (encoder) or learns it (decoder).
template <class Coder>
class Residuals {
 public:
  Residuals(const Tables& tables, std::size_t first_row, std::size_t rows, bool refers, Coder& coder)
      : model_(tables.model),
        cells_(tables.cells),
        first_row_(first_row),
        coder_(coder),
        by_scale_(kScales * 4 * kDecisions),
        by_near_(16 * 16 * kDecisions),
        by_signs_(27 * kDecisions * 4),
        by_row_(std::min(rows, kMostPlaces) * kDecisions),
        by_col_(std::min(tables.model.grid.cols, kMostPlaces) * kDecisions),
        by_values_(13 * 13 * kDecisions),
        by_reference_(64 * kDecisions),
        mixers_(kDecisions * 3),
        commonest_(tables.model.table ? commonest(tables.model)
                                      : static_cast<std::uint32_t>(tables.model.window)),
        path_slices_((refers ? std::min(rows, rows_a_part(tables.model.grid)) : rows) *
                     tables.model.grid.cols),
        chains_(tables.model, path_slices_) {
    const std::size_t length = model_.grid.cols * model_.grid.taps;
    if (refers && !model_.table && References::fit(rows, length))
      references_ = std::make_unique<References>(rows, length);
  }

  /// Codes level `index` = (slice q, tap t) of the part whose levels are at `levels`; returns it.
  std::int32_t code(std::size_t q, std::size_t t, std::int32_t* levels) {
    const std::size_t taps = model_.grid.taps, cols = model_.grid.cols;
    const std::int32_t* const slice = levels + q * taps;
    const std::int32_t* const above = q >= cols ? slice - cols * taps : nullptr;
    std::int32_t scale = 0, mean = 0;
    if (!model_.table) {
      if (!model_.predictors.empty()) mean = predict(model_.predictors[t], slice, t, above);
      scale = clamp_scale(model_.row_scales[first_row_ + q / cols] + model_.col_scales[q % cols] +
                          model_.tap_scales[t]);
    }
    centre_ = {mean, kMultipliers[static_cast<std::size_t>(scale)]};
    refer(scale);
    dead_ = model_.dead;
    const bool odd = halve(q, t, slice);
    base_ = model_.table ? static_cast<std::int32_t>(commonest_) : rounded(centre_.mean);
    choose_contexts(q, t, slice, above, scale);
    if constexpr (Coder::kEncodes) residual_ = (model_.trellis() ? slice[t] >> 1 : slice[t]) - base_;
    const std::int32_t residual = decisions();
    newest_[1] = newest_[0];
    newest_[0] = residual;
    const std::int32_t level = model_.trellis() ? 2 * (residual + base_) + (odd ? 1 : 0) : residual + base_;
    if (references_) references_->take((16 * level - mean + 2) >> 2);
    if constexpr (!Coder::kEncodes) {
      if (model_.trellis()) chains_.take(q % path_slices_, t, level);
    }
    return level;
  }

 private:
  /// Where a density is, 1/16 level, and 2048 by its scale.
  struct Centre {
    std::int32_t mean = 0, multiplier = 0;
  };
  /// What a decision's probability is under the densities: of[i] out of out_of[i].
  struct Shares {
    std::array<std::uint32_t, 2> of{}, out_of{kTotal, kTotal};
  };

  /// The density where similar rows put it. Rows are compared by quarters of levels from the mean.
  void refer(std::int32_t scale) {
    reference_ = centre_;
    if (!references_) return;
    reference_.mean += std::clamp((references_->mean() + 2) >> 2, -kFarthest, kFarthest);
    reference_.multiplier = kMultipliers[static_cast<std::size_t>(clamp_scale(scale - kSurer))];
  }

  /// Brings the means to halved levels where there is a trellis; whether odd levels are allowed. The
  /// encoder knows that from the level itself.
  bool halve(std::size_t q, std::size_t t, [[maybe_unused]] const std::int32_t* slice) {
    if (!model_.trellis()) return false;
    bool odd = false;
    if constexpr (Coder::kEncodes) {
      odd = (slice[t] & 1) != 0;
    } else {
      if (t == 0 && q > 0 && q % path_slices_ == 0) chains_ = ChainStates(model_, path_slices_);
      odd = chains_.odd(q % path_slices_, t);
    }
    centre_.mean = halved_mean(centre_.mean, odd);
    reference_.mean = halved_mean(reference_.mean, odd);
    if (odd) dead_ = 0;
    return odd;
  }

  static std::uint32_t commonest(const Model& model) {
    std::uint32_t best = 0, most = 0;
    for (std::uint32_t s = 0; s + 1 < model.cumulated.size(); ++s) {
      const std::uint32_t count = model.cumulated[s + 1] - model.cumulated[s];
      if (count > most) most = count, best = s;
    }
    return best;
  }
  static std::size_t class_of(std::int32_t magnitude) {  // 0, 1, 2, 3–4, 5–6, 7–9, …
    constexpr std::int32_t bounds[15] = {0, 1, 2, 4, 6, 9, 13, 18, 25, 35, 50, 70, 100, 140, 200};
    return static_cast<std::size_t>(std::lower_bound(bounds, bounds + 15, magnitude) - bounds);
  }
  static std::size_t sign_of(std::int32_t v) { return v < 0 ? 0U : (v == 0 ? 1U : 2U); }
  static std::size_t signed_class(std::int32_t v) {
    return static_cast<std::size_t>(std::clamp(v, -6, 6) + 6);
  }

  void choose_contexts(std::size_t q, std::size_t t, const std::int32_t* slice, const std::int32_t* above,
                       std::int32_t scale) {
    const std::size_t taps = model_.grid.taps, cols = model_.grid.cols;
    const int halve = model_.trellis() ? 1 : 0;
    const std::int32_t up = above != nullptr ? above[t] >> halve : 0;
    const std::int32_t left =
        q % cols != 0 ? slice[static_cast<std::ptrdiff_t>(t) - static_cast<std::ptrdiff_t>(taps)] >> halve
                      : 0;
    const auto fraction = static_cast<std::size_t>((centre_.mean - 16 * rounded(centre_.mean) + 8) >> 2);
    near_ = class_of(std::abs(newest_[0]) + std::abs(newest_[1]));
    const std::size_t far =
        class_of(std::abs(up - (model_.table ? base_ : 0)) + std::abs(left - (model_.table ? base_ : 0)));
    scale_at_ = (static_cast<std::size_t>(scale) * 4 + std::min<std::size_t>(fraction, 3)) * kDecisions;
    near_at_ = (near_ * 16 + far) * kDecisions;
    signs_at_ = (((sign_of(newest_[0]) * 3 + sign_of(newest_[1])) * 3 + sign_of(up)) * 4 +
                 std::min<std::size_t>(t, 3)) *
                kDecisions;
    row_at_ = (q / cols) % kMostPlaces * kDecisions;
    col_at_ = (q % cols) % kMostPlaces * kDecisions;
    values_at_ = (signed_class(up - base_) * 13 + signed_class(left - base_)) * kDecisions;
    const std::int32_t quarters = (reference_.mean - 16 * base_ + 2) >> 2;
    reference_at_ = static_cast<std::size_t>(std::clamp(quarters + 32, 0, 63)) * kDecisions;
  }

  static std::uint32_t probability(std::uint32_t of, std::uint32_t out_of) {
    const auto p = static_cast<std::uint32_t>((static_cast<std::uint64_t>(of) << 16) / std::max(1U, out_of));
    return std::clamp<std::uint32_t>(p, 1, 65535);
  }

  /// Codes decision `d`.
  bool decide(std::uint32_t d, const Shares& shares, bool yes) {
    const std::uint32_t prior = probability(shares.of[0], shares.out_of[0]);
    if (d >= kDecisions) return coder_.code(yes, prior);
    AdaptiveBit* const bits[kInputs - 2] = {&by_scale_[scale_at_ + d],
                                            &by_near_[near_at_ + d],
                                            &by_signs_[signs_at_ + d],
                                            &by_row_[row_at_ + d],
                                            &by_col_[col_at_ + d],
                                            &by_values_[values_at_ + d],
                                            &by_reference_[reference_at_ + d]};
    const std::size_t contexts = references_ ? kInputs - 2 : kInputs - 3;
    std::array<std::int32_t, kInputs> inputs{};
    inputs[0] = stretch(prior);
    for (std::size_t i = 0; i < contexts; ++i) inputs[i + 1] = stretch(bits[i]->p());
    if (references_) inputs[kInputs - 1] = stretch(probability(shares.of[1], shares.out_of[1]));
    Mixer<kInputs>& mixer = mixers_[d * 3 + std::min<std::size_t>(near_ / 2, 2)];
    const std::uint32_t p = mixer.mix(inputs);
    yes = coder_.code(yes, p);
    mixer.learn(inputs, p, yes);
    for (std::size_t i = 0; i < contexts; ++i) bits[i]->learn(yes);
    return yes;
  }

  /// Where symbol `symbol` of a density begins, out of kTotal.
  [[nodiscard]] std::uint32_t start(std::int64_t symbol, const Centre& centre) const {
    if (symbol <= 0) return 0;
    if (symbol >= model_.symbols()) return kTotal;
    if (model_.table) return model_.cumulated[static_cast<std::size_t>(symbol)];
    const std::int32_t level = base_ - model_.window + static_cast<std::int32_t>(symbol);
    return static_cast<std::uint32_t>(symbol) +
           cumulative(cells_, lower_edge(level, dead_) - centre.mean, centre.multiplier);
  }
  /// The same of both densities; without references, of the second one as of the first.
  [[nodiscard]] std::array<std::uint32_t, 2> starts(std::int64_t symbol) const {
    const std::uint32_t first = start(symbol, centre_);
    return {first, references_ ? start(symbol, reference_) : first};
  }
  static std::array<std::uint32_t, 2> remaining(const std::array<std::uint32_t, 2>& start) {
    return {kTotal - start[0], kTotal - start[1]};
  }

  std::int32_t decisions() {
    const std::int64_t c = commonest_;
    const auto low = starts(c), high = starts(c + 1);
    if (decide(0, {{high[0] - low[0], high[1] - low[1]}}, residual_ == 0)) return 0;
    const Shares sign{remaining(high), {kTotal - (high[0] - low[0]), kTotal - (high[1] - low[1])}};
    const bool positive = decide(1, sign, residual_ > 0);
    const std::int32_t magnitude = std::abs(residual_);
    const auto symbols = static_cast<std::int64_t>(model_.symbols());
    auto outside = positive ? remaining(high) : low;
    for (std::int32_t k = 1;; ++k) {
      const std::int64_t symbol = positive ? c + k : c - k;
      const bool last = positive ? symbol + 1 >= symbols : symbol <= 0;
      if (last) return signed_(positive, model_.table || model_.closed ? k : coder_.beyond(magnitude, k));
      const auto more = positive ? remaining(starts(symbol + 1)) : starts(symbol);
      if (!decide(static_cast<std::uint32_t>(k) + 1, {more, outside}, magnitude > k)) {
        return signed_(positive, k);
      }
      outside = more;
    }
  }
  static std::int32_t signed_(bool positive, std::int32_t magnitude) {
    return positive ? magnitude : -magnitude;
  }

  const Model& model_;
  const Cells& cells_;
  std::size_t first_row_;
  Coder& coder_;
  std::vector<AdaptiveBit> by_scale_, by_near_, by_signs_, by_row_, by_col_, by_values_, by_reference_;
  std::vector<Mixer<kInputs>> mixers_;
  std::uint32_t commonest_;  // symbol
  std::size_t near_ = 0, scale_at_ = 0, near_at_ = 0, signs_at_ = 0, row_at_ = 0, col_at_ = 0, values_at_ = 0,
              reference_at_ = 0;
  std::int32_t newest_[2] = {0, 0};
  std::size_t path_slices_;  // of a path of the trellis
  ChainStates chains_;
  std::unique_ptr<References> references_;
  Centre centre_, reference_;
  std::int32_t dead_ = 0, base_ = 0, residual_ = 0;
};

struct Encoding {
  static constexpr bool kEncodes = true;
  BinaryEncoder out;
  AdaptiveInteger excess;
  bool code(bool yes, std::uint32_t p) {
    out.code(yes, p);
    return yes;
  }
  /// A magnitude that is at least `window`, beyond which the model has no symbols.
  std::int32_t beyond(std::int32_t magnitude, std::int32_t window) {
    excess.encode(out, magnitude - window);
    return magnitude;
  }
};

struct Decoding {
  static constexpr bool kEncodes = false;
  BinaryDecoder in;
  const Reader& at;
  AdaptiveInteger excess{};
  bool code(bool, std::uint32_t p) { return in.code(p); }
  std::int32_t beyond(std::int32_t, std::int32_t window) {
    const std::int32_t more = excess.decode(in);
    if (more < 0 || more > 4 * kReach) at.fail("a residual beyond the window of " + std::to_string(more));
    return window + more;
  }
};

}  // namespace

std::vector<std::uint8_t> encode_mixed(const Tables& tables, std::size_t first_row, std::size_t rows,
                                       const std::int32_t* levels, bool refers) {
  const Grid& grid = tables.model.grid;
  Encoding coder;
  Residuals<Encoding> residuals(tables, first_row, rows, refers, coder);
  std::vector<std::int32_t> copy(levels, levels + rows * grid.cols * grid.taps);
  for (std::size_t q = 0; q < rows * grid.cols; ++q) {
    for (std::size_t t = 0; t < grid.taps; ++t) (void)residuals.code(q, t, copy.data());
  }
  return coder.out.finish();
}

void decode_mixed(const Tables& tables, std::size_t first_row, std::size_t rows,
                  std::span<const std::uint8_t> bytes, const Reader& at, std::int32_t* levels, bool refers) {
  const Grid& grid = tables.model.grid;
  Decoding coder{BinaryDecoder(bytes), at};
  Residuals<Decoding> residuals(tables, first_row, rows, refers, coder);
  for (std::size_t q = 0; q < rows * grid.cols; ++q) {
    for (std::size_t t = 0; t < grid.taps; ++t) {
      const std::int32_t level = residuals.code(q, t, levels);
      if (level < -2 * kReach || level > 2 * kReach) at.fail("level " + std::to_string(level));
      if (coder.in.exhausted()) at.fail("the bytes end before the levels");
      levels[q * grid.taps + t] = level;
    }
  }
  if (coder.in.unused()) at.fail("bytes left over");
}

}  // namespace rdquant::codec
