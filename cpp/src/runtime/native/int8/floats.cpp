// Levels of 8 bits from numbers and back.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "rdquant/program/evaluate.hpp"
#include "runtime/native/int8/int8.hpp"
#include "runtime/native/loops.hpp"

namespace rdquant::runtime::onednn {
namespace {

using kernels::Index;
using kernels::IntegerKernels;
using program::kNone;
using program::Step;
using program::Value;
using program::ValueId;

/// Scale and zero point of a Quantize or Dequantize, which may be known at run time only.
struct GridOf {
  bool zero_given, is_signed;
  [[nodiscard]] float scale(const void* at) const { return *static_cast<const float*>(at); }
  [[nodiscard]] std::int32_t zero(const void* at) const { return zero_given ? level_at(at, is_signed) : 0; }
};

/// Numbers and levels of one shape, with one scale for all: what both rules below need.
struct Pair {
  ValueId from, to, scale, zero;
  const Value& levels;
};

std::optional<Pair> pair_of(const Builder& builder, const Step& step, bool to_levels) {
  const Pair pair{step.inputs[0], step.outputs[0], step.inputs[1], program::input(step, 2),
                  builder.value(to_levels ? step.outputs[0] : step.inputs[0])};
  const Value& numbers = builder.value(to_levels ? pair.from : pair.to);
  const bool fits = is_level(pair.levels) && numbers.dtype == core::DType::f32 &&
                    builder.value(pair.scale).dtype == core::DType::f32 &&
                    core::element_count(builder.value(pair.scale).shape) == 1 &&
                    core::element_count(pair.levels.shape) > 0;
  if (!fits) return std::nullopt;
  return pair;
}

void emit_pair(Builder& builder, const Pair& pair, const std::string& name, Layout from, Layout to,
               Work work) {
  std::vector<Place> operands{builder.read(pair.from, from), builder.read(pair.scale, Layout::plain),
                              builder.write(pair.to, to)};
  operands.push_back(pair.zero == kNone ? operands[1] : builder.read(pair.zero, Layout::plain));
  const std::size_t count = operands.size();
  builder.emit(make_own(name + level_kernels().name, count, std::move(work)), std::move(operands), to);
}

constexpr Index kPixels = 64;  // of an item of the kernels below

}  // namespace

bool build_quantize(Builder& builder, const Step& step) {
  const auto pair = pair_of(builder, step, true);
  if (!pair) return false;
  const GridOf grid{pair->zero != kNone, pair->levels.dtype == core::DType::i8};
  const std::int32_t low = grid.is_signed ? -128 : 0, high = low + 255;
  const int threads = builder.threads();
  if (builder.layout(pair->to) != Layout::channels_last) {
    const Index count = core::element_count(pair->levels.shape);
    emit_pair(builder, *pair, "quantize ", Layout::plain, Layout::plain,
              [&kernels = level_kernels(), grid, low, high, count, threads](void* const* operand) {
                share(count, kGrain, threads, [&](Index begin, Index end) {
                  kernels.quantize(static_cast<const float*>(operand[0]),
                                   static_cast<std::uint8_t*>(operand[2]), grid.scale(operand[1]),
                                   grid.zero(operand[3]), low, high, begin, end);
                });
              });
    return true;
  }
  const Layout from = builder.layout(pair->from);
  const Lie lie = lie_of(builder, pair->to);
  const auto kernel =
      from == Layout::blocked ? level_kernels().quantize_blocked : level_kernels().quantize_plain;
  const auto image =
      static_cast<Index>(bytes_in(builder.value(pair->from), from) / sizeof(float)) / lie.images;
  emit_pair(builder, *pair, "quantize ", from, Layout::channels_last,
            [kernel, grid, low, high, lie, image, threads](void* const* operand) {
              share(lie.images * kernels::divide(lie.area, kPixels), 1, threads, [&](Index begin, Index end) {
                kernel(static_cast<const float*>(operand[0]), image, static_cast<std::uint8_t*>(operand[2]),
                       lie.image, lie.pixel, lie.channels, lie.area, grid.scale(operand[1]),
                       grid.zero(operand[3]), low, high, begin, end);
              });
            });
  return true;
}

namespace {

/// Levels with the range of the data themselves: one pass finds it, if what made the data has not, another
/// makes the levels.
struct DynamicWork {
  const IntegerKernels& kernels;
  Layout from, to;
  Lie lie;
  Index image, count;  ///< floats of an image, of all
  Index group;         ///< channels
  std::size_t known;   ///< parts in which the extremes are there; 0: they are not
  int threads;

  void operator()(void* const* operand) const {
    const auto* x = static_cast<const float*>(operand[0]);
    if (known == 0) find_range(x, static_cast<float*>(operand[4]));
    const auto [low, high] = range_of({operand + 4, std::max<std::size_t>(known, 1)}, threads);
    const program::DynamicGrid grid = program::dynamic_grid(low, high);
    *static_cast<float*>(operand[2]) = grid.scale;
    *static_cast<std::uint8_t*>(operand[3]) = static_cast<std::uint8_t>(grid.zero);
    make_levels(x, static_cast<std::uint8_t*>(operand[1]), grid);
  }

 private:
  void find_range(const float* x, float* extremes) const {
    std::fill_n(extremes, kExtremes * static_cast<std::size_t>(threads), 0.0F);
    share_ranked(count, kGrain, threads, [&](Index begin, Index end, int rank) {
      float* const own = extremes + static_cast<std::size_t>(rank) * kExtremes;
      kernels.extremes(x, begin, end, own, own + kernels.block);
    });
  }

  void make_levels(const float* x, std::uint8_t* levels, const program::DynamicGrid& grid) const {
    if (to != Layout::channels_last) {
      share(count, kGrain, threads, [&](Index begin, Index end) {
        kernels.quantize(x, levels, grid.scale, grid.zero, 0, 255, begin, end);
      });
      return;
    }
    const auto kernel = from == Layout::blocked ? kernels.quantize_blocked : kernels.quantize_plain;
    const Index ranges = kernels::divide(lie.area, kPixels), groups = kernels::divide(lie.channels, group);
    share(lie.images * groups * ranges, 1, threads, [&](Index begin, Index end) {
      for (Index item = begin, next = 0; item < end; item = next) {
        const Index first = item % ranges, n = item / ranges / groups;
        const Index channel = item / ranges % groups * group;
        next = std::min(end, item - first + ranges);
        kernel(x + channel * lie.area, image, levels + channel, lie.image, lie.pixel,
               std::min(group, lie.channels - channel), lie.area, grid.scale, grid.zero, 0, 255,
               n * ranges + first, n * ranges + first + next - item);
      }
    });
  }
};

/// Channels that one thread makes levels of at once: all, or, where there are few pixels, as many as fill a
/// line of the cache.
Index group_of(const Builder& builder, const Lie& lie) {
  constexpr Index kLine = 64;
  return lie.images * lie.area < kPixels * builder.threads() ? kLine : lie.channels;
}

/// Whether every lane of a value in blocks is a number of its own, or the zero that convolutions leave.
bool has_clean_padding(const Builder& builder, ValueId id) {
  if (builder.value(id).shape[1] % block_size() == 0) return true;
  return std::ranges::any_of(builder.program().steps, [&](const Step& step) {
    const bool convolves = std::holds_alternative<program::Convolution>(step.operation) ||
                           std::holds_alternative<program::LevelConvolution>(step.operation);
    return convolves && step.outputs[0] == id;
  });
}

}  // namespace

bool build_dynamic_quantize(Builder& builder, const Step& step) {
  const ValueId x = step.inputs[0], y = step.outputs[0];
  if (step.outputs.size() < 3 || std::ranges::find(step.outputs, kNone) != step.outputs.end()) return false;
  const Value& value = builder.value(x);
  if (value.dtype != core::DType::f32 || core::element_count(value.shape) == 0) return false;
  const Layout to = builder.layout(y);
  const bool blocked =
      to == Layout::channels_last && builder.layout(x) == Layout::blocked && has_clean_padding(builder, x);
  const Layout from = blocked ? Layout::blocked : Layout::plain;
  const Lie lie = lie_of(builder, y);
  const auto count = static_cast<Index>(bytes_in(value, from) / sizeof(float));
  const int threads = builder.threads();
  std::vector<Place> operands{builder.read(x, from)};
  for (std::size_t i = 0; i < 3; ++i)
    operands.push_back(builder.write(step.outputs[i], i == 0 ? to : Layout::plain));
  const std::vector<Place> known = find_extremes(builder, x);
  operands.insert(operands.end(), known.begin(), known.end());
  if (known.empty()) operands.push_back(builder.make_extremes(x));
  const std::string name = known.empty() ? "range and quantize " : "quantize ";
  const std::size_t all = operands.size();
  builder.emit(make_own(name + level_kernels().name, all,
                        DynamicWork{level_kernels(), from, to, lie, count / lie.images, count,
                                    group_of(builder, lie), known.size(), threads}),
               std::move(operands), to);
  return true;
}

bool build_dequantize(Builder& builder, const Step& step) {
  const auto pair = pair_of(builder, step, false);
  if (!pair) return false;
  const GridOf grid{pair->zero != kNone, pair->levels.dtype == core::DType::i8};
  const int threads = builder.threads();
  const Layout to = builder.layout(pair->to);
  if (builder.layout(pair->from) != Layout::channels_last) {
    const Index count = core::element_count(pair->levels.shape);
    emit_pair(builder, *pair, "dequantize ", Layout::plain, Layout::plain,
              [&kernels = level_kernels(), grid, count, threads](void* const* operand) {
                share(count, kGrain, threads, [&](Index begin, Index end) {
                  kernels.dequantize(static_cast<const std::uint8_t*>(operand[0]), grid.is_signed,
                                     static_cast<float*>(operand[2]), grid.scale(operand[1]),
                                     grid.zero(operand[3]), begin, end);
                });
              });
    return true;
  }
  const Lie lie = lie_of(builder, pair->from);
  const auto kernel =
      to == Layout::blocked ? level_kernels().dequantize_blocked : level_kernels().dequantize_plain;
  const auto image = static_cast<Index>(bytes_in(builder.value(pair->to), to) / sizeof(float)) / lie.images;
  emit_pair(builder, *pair, "dequantize ", Layout::channels_last, to,
            [kernel, grid, lie, image, threads](void* const* operand) {
              share(lie.images * kernels::divide(lie.area, kPixels), 1, threads, [&](Index begin, Index end) {
                kernel(static_cast<const std::uint8_t*>(operand[0]), lie.image, lie.pixel, grid.is_signed,
                       static_cast<float*>(operand[2]), image, lie.channels, lie.area, grid.scale(operand[1]),
                       grid.zero(operand[3]), begin, end);
              });
            });
  return true;
}

}  // namespace rdquant::runtime::onednn
