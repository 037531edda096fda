// 8-bit levels from floats and back.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "rdquant/core/error.hpp"
#include "rdquant/program/evaluate.hpp"
#include "runtime/native/float32/convolution.hpp"
#include "runtime/native/int8/int8.hpp"
#include "runtime/native/loops.hpp"

namespace rdquant::runtime::native {
namespace {

using kernels::Index;
using kernels::Int8Kernels;
using program::kNone;
using program::Step;
using program::Value;
using program::ValueId;

/// Scale and zero point of a Quantize or Dequantize, which may be known at run time only.
struct GridOf {
  bool zero_given, is_signed;
  [[nodiscard]] float scale(const void* at) const { return *static_cast<const float*>(at); }
  [[nodiscard]] std::int32_t zero(const void* at) const { return zero_given ? int8_at(at, is_signed) : 0; }
};

/// Floats and levels of one shape, with one scale for all: what both rules below need.
struct Pair {
  ValueId from, to, scale, zero;
  const Value& levels;
};

std::optional<Pair> pair_of(const Builder& builder, const Step& step, bool to_levels) {
  const Pair pair{step.inputs[0], step.outputs[0], step.inputs[1], program::input(step, 2),
                  builder.value(to_levels ? step.outputs[0] : step.inputs[0])};
  const Value& floats = builder.value(to_levels ? pair.from : pair.to);
  const bool fits = is_int8(pair.levels) && floats.dtype == core::DType::f32 &&
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
  builder.emit(make_native(name + int8_kernels().name, count, std::move(work)), std::move(operands), to);
}

/// Refuses NaN in an input of the model that becomes levels, which have none.
class NanCheck {
 public:
  NanCheck(const Builder& builder, ValueId id) {
    if (builder.value(id).role == program::Role::input) name_ = builder.value(id).name;
  }
  /// @throws InvalidArgument  NaN was met in the input
  void operator()(bool met) const {
    if (!met || !name_) return;
    throw core::InvalidArgument("input '" + *name_ +
                                "' contains NaN, which the 8-bit integers that the model makes of it cannot "
                                "represent");
  }

 private:
  std::optional<std::string> name_;
};

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
              [&kernels = int8_kernels(), grid, low, high, count, threads,
               check = NanCheck(builder, pair->from)](void* const* operand) {
                share(count, kGrain, threads, [&](Index begin, Index end) {
                  check(kernels.quantize(static_cast<const float*>(operand[0]),
                                         static_cast<std::uint8_t*>(operand[2]), grid.scale(operand[1]),
                                         grid.zero(operand[3]), low, high, begin, end));
                });
              });
    return true;
  }
  const Layout from = builder.layout(pair->from);
  const Int8Layout int8_layout = int8_layout_of(builder, pair->to);
  const auto kernel =
      from == Layout::blocked ? int8_kernels().quantize_blocked : int8_kernels().quantize_plain;
  const auto image =
      static_cast<Index>(bytes_in(builder.value(pair->from), from) / sizeof(float)) / int8_layout.images;
  emit_pair(builder, *pair, "quantize ", from, Layout::channels_last,
            [kernel, grid, low, high, int8_layout, image, threads,
             check = NanCheck(builder, pair->from)](void* const* operand) {
              share(int8_layout.images * kernels::divide(int8_layout.area, kItemPixels), 1, threads,
                    [&](Index begin, Index end) {
                      check(kernel(static_cast<const float*>(operand[0]), image,
                                   static_cast<std::uint8_t*>(operand[2]), int8_layout.image,
                                   int8_layout.pixel, int8_layout.channels, int8_layout.area,
                                   grid.scale(operand[1]), grid.zero(operand[3]), low, high, begin, end));
                    });
            });
  return true;
}

namespace {

/// Levels with the range of the data themselves: one pass finds it, if what made the data has not, another
/// makes the levels.
struct DynamicWork {
  const Int8Kernels& kernels;
  Layout from, to;
  Int8Layout int8_layout;
  Index image, count;  ///< floats of an image, of all
  Index group;         ///< channels
  std::size_t known;   ///< parts in which the min_max are there; 0: they are not
  int threads;
  NanCheck check;

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
  void find_range(const float* x, float* min_max) const {
    std::fill_n(min_max, kMinMaxFloats * static_cast<std::size_t>(threads), 0.0F);
    share_ranked(count, kGrain, threads, [&](Index begin, Index end, int rank) {
      float* const own = min_max + static_cast<std::size_t>(rank) * kMinMaxFloats;
      kernels.min_max(x, begin, end, own, own + kernels.block);
    });
  }

  void make_levels(const float* x, std::uint8_t* levels, const program::DynamicGrid& grid) const {
    if (to != Layout::channels_last) {
      share(count, kGrain, threads, [&](Index begin, Index end) {
        check(kernels.quantize(x, levels, grid.scale, grid.zero, 0, 255, begin, end));
      });
      return;
    }
    const auto kernel = from == Layout::blocked ? kernels.quantize_blocked : kernels.quantize_plain;
    const Index ranges = kernels::divide(int8_layout.area, kItemPixels),
                groups = kernels::divide(int8_layout.channels, group);
    share(int8_layout.images * groups * ranges, 1, threads, [&](Index begin, Index end) {
      for (Index item = begin, next = 0; item < end; item = next) {
        const Index first = item % ranges, n = item / ranges / groups;
        const Index channel = item / ranges % groups * group;
        next = std::min(end, item - first + ranges);
        check(kernel(x + channel * int8_layout.area, image, levels + channel, int8_layout.image,
                     int8_layout.pixel, std::min(group, int8_layout.channels - channel), int8_layout.area,
                     grid.scale, grid.zero, 0, 255, n * ranges + first, n * ranges + first + next - item));
      }
    });
  }
};

/// Channels that one thread makes levels of at once: all, or, where there are few pixels, as many as fill a
/// line of the cache.
Index group_of(const Builder& builder, const Int8Layout& int8_layout) {
  constexpr Index kLine = 64;
  return int8_layout.images * int8_layout.area < kItemPixels * builder.threads() ? kLine
                                                                                 : int8_layout.channels;
}

/// Whether every lane of a value in blocks is a number of its own, or the zero that convolutions leave.
bool has_clean_padding(const Builder& builder, ValueId id) {
  if (builder.value(id).shape[1] % block_size() == 0) return true;
  return std::ranges::any_of(builder.program().steps, [&](const Step& step) {
    const bool convolves = std::holds_alternative<program::Convolution>(step.operation) ||
                           std::holds_alternative<program::Int8Convolution>(step.operation);
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
  const Int8Layout int8_layout = int8_layout_of(builder, y);
  const auto count = static_cast<Index>(bytes_in(value, from) / sizeof(float));
  const int threads = builder.threads();
  std::vector<Place> operands{builder.read(x, from)};
  for (std::size_t i = 0; i < 3; ++i)
    operands.push_back(builder.write(step.outputs[i], i == 0 ? to : Layout::plain));
  const std::vector<Place> known = find_min_max(builder, x);
  operands.insert(operands.end(), known.begin(), known.end());
  if (known.empty()) operands.push_back(builder.make_min_max(x));
  const std::string name = known.empty() ? "range and quantize " : "quantize ";
  const std::size_t all = operands.size();
  builder.emit(
      make_native(name + int8_kernels().name, all,
                  DynamicWork{int8_kernels(), from, to, int8_layout, count / int8_layout.images, count,
                              group_of(builder, int8_layout), known.size(), threads, NanCheck(builder, x)}),
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
              [&kernels = int8_kernels(), grid, count, threads](void* const* operand) {
                share(count, kGrain, threads, [&](Index begin, Index end) {
                  kernels.dequantize(static_cast<const std::uint8_t*>(operand[0]), grid.is_signed,
                                     static_cast<float*>(operand[2]), grid.scale(operand[1]),
                                     grid.zero(operand[3]), begin, end);
                });
              });
    return true;
  }
  const Int8Layout int8_layout = int8_layout_of(builder, pair->from);
  const auto kernel =
      to == Layout::blocked ? int8_kernels().dequantize_blocked : int8_kernels().dequantize_plain;
  const auto image =
      static_cast<Index>(bytes_in(builder.value(pair->to), to) / sizeof(float)) / int8_layout.images;
  emit_pair(builder, *pair, "dequantize ", Layout::channels_last, to,
            [kernel, grid, int8_layout, image, threads](void* const* operand) {
              share(int8_layout.images * kernels::divide(int8_layout.area, kItemPixels), 1, threads,
                    [&](Index begin, Index end) {
                      kernel(static_cast<const std::uint8_t*>(operand[0]), int8_layout.image,
                             int8_layout.pixel, grid.is_signed, static_cast<float*>(operand[2]), image,
                             int8_layout.channels, int8_layout.area, grid.scale(operand[1]),
                             grid.zero(operand[3]), begin, end);
                    });
            });
  return true;
}

}  // namespace rdquant::runtime::native
