// Intervals of all symbols, made before levels are decoded, for vectors of streams.
//
// Where a tensor has few scales and symbols next to its levels, to look an interval up takes a half of what
// it takes to compute both of its ends.
#include <algorithm>
#include <memory>

#include "codec/rans/density.inl"

namespace rdquant::codec {
namespace {

/// Which intervals the levels of a task can have: for every scale, and for every sixteenth of a level that
/// their mean may lie beside a level, a row.
struct Extent {
  explicit Extent(const StreamTask& task) {
    const Model& model = *task.model;
    std::int16_t low = kScales, high = -kScales;
    for (std::size_t q = task.first; q < task.last; ++q) {
      low = std::min(low, task.slice_scales[q]);
      high = std::max(high, task.slice_scales[q]);
    }
    const auto [low_tap, high_tap] = std::minmax_element(model.tap_scales.begin(), model.tap_scales.end());
    least = clamp_scale(low + *low_tap);
    most = clamp_scale(high + *high_tap);
    phases = has_one_mean(model) ? 1 : 16;
    width = row_width(model);
  }
  [[nodiscard]] std::size_t size() const {
    return static_cast<std::size_t>((most - least + 1) * phases * width);
  }

  std::int32_t least = 0, most = 0;  ///< scale
  std::int32_t phases = 1;
  std::int32_t width = 1;  ///< elements of a row
};

/// Whether a task's intervals are few enough for making them to pay.
inline bool are_few(const StreamTask& task) {
  constexpr std::size_t kMost = std::size_t{1} << 15;
  const Model& model = *task.model;
  if (model.table) return false;
  if (model.dead != 0 && !has_one_mean(model)) return false;  // the dead zone would lie anywhere
  return Extent(task).size() <= std::min(kMost, (task.last - task.first) * model.grid.taps);
}

class Intervals {
 public:
  Intervals(const StreamTask& task, const Density& density)
      : extent_(task), packed_(std::make_unique_for_overwrite<Packed[]>(extent_.size() + 2 * kWidth)) {
    Packed* row = packed_.get();
    for (std::int32_t s = extent_.least; s <= extent_.most; ++s) {
      for (std::int32_t phase = 0; phase < extent_.phases; ++phase, row += extent_.width) {
        make_starts(density, s, phase, row);
      }
    }
    *row = 0;
    if (extent_.width > 1) add_widths(row);
  }

  /// Rows of the slices from q on at a tap whose scale is `tap`, for means that are levels or all the same.
  /// Streams that nobody uses have scales of other tasks.
  [[nodiscard, gnu::always_inline]] I32 rows(const std::int16_t* slice_scales, std::size_t q,
                                             std::int32_t tap) const {
    const I32 s = simd::load_shorts(slice_scales + q) + tap;
    const I32 within = min(max(s, splat(extent_.least)), splat(extent_.most));
    return (within - extent_.least) * (extent_.phases * extent_.width);
  }

  /// Of symbols of rows, an interval each; of rows of three symbols, where the second and the third start.
  [[nodiscard, gnu::always_inline]] I32 at(const Density& density, I32 place) const {
    return density.gather(packed_.get(), place);
  }

 private:
  /// Where the symbols of a row start; of three, the second and the third in one element.
  static void make_starts(const Density& density, std::int32_t scale, std::int32_t phase, Packed* row) {
    const Model& model = density.model;
    const std::int32_t mean = has_one_mean(model) ? one_mean(model) : phase - 8;
    const std::int32_t offset = rounded(mean) - model.window;
    const I32 multiplier = splat(kMultipliers[static_cast<std::size_t>(scale)]);
    const Place place{{}, splat(-offset), {multiplier, {}}, {}};
    const I32 edge0 = splat(16 * offset - mean - 8 - model.dead);
    for (std::int32_t first = 0; first < density.symbol_count; first += static_cast<std::int32_t>(kWidth)) {
      const I32 symbol = simd::load(kCount) + first;
      const I32 edge = edge0 + (symbol << 4);
      store_as(row + first, density.start_at(place, symbol, edge));
    }
    row[0] = density.symbol_count == 3 ? (row[1] << 16) | row[2] : 0;
  }

  /// Starts to intervals. Where the next row starts, 0, is where this one ends, modulo 2^16.
  void add_widths(const Packed* end) {
    for (Packed* to = packed_.get(); to < end; to += kWidth) {
      const I32 start = simd::load_as<I32>(to), width = simd::load_as<I32>(to + 1) - start;
      store_as(to, (start << 16) | (width & 0xffff));
    }
  }

  Extent extent_;
  std::unique_ptr<Packed[]> packed_;
};

}  // namespace
}  // namespace rdquant::codec
