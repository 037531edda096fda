// Levels of 8 bits on kernels of our own: sums, tables, windows, what only moves them.
#include "runtime/native/int8/int8.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <utility>

#include "runtime/native/float32/convolution.hpp"
#include "runtime/native/int8/volume.hpp"
#include "runtime/native/loops.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {

using kernels::Index;
using kernels::Int8Kernels;
using program::kNone;
using program::Step;
using program::Value;
using program::ValueId;

const Int8Kernels& int8_kernels() { return kernels::int8_kernels(float_kernels().isa); }

Int8Layout int8_layout_of(const Builder& builder, ValueId id) {
  return int8_layout_of(builder, id, builder.layout(id));
}

Int8Layout int8_layout_of(const Builder& builder, ValueId id, Layout layout) {
  const Value& value = builder.value(id);
  if (layout != Layout::channels_last) {
    const Index count = core::element_count(value.shape);
    return {1, 1, count, count, count};
  }
  const core::Shape& s = value.shape;
  const Index pixel = builder.pixel(id), area = area_of(s);
  return {s[0], area, s[1], pixel, area * pixel};
}

kernels::Int8Sum int8_sum(const program::Int8Binary& sum, const Value& a, const Value& b) {
  return {.a_scale = sum.a_scale,
          .b_scale = sum.b_scale,
          .a_zero = sum.a_zero,
          .b_zero = sum.b_zero,
          .zero = sum.zero,
          .low = sum.low,
          .high = sum.high,
          .a_signed = a.dtype == core::DType::i8,
          .b_signed = b.dtype == core::DType::i8};
}

std::int32_t int8_at(const void* byte, bool is_signed) {
  return is_signed ? static_cast<std::int32_t>(*static_cast<const std::int8_t*>(byte))
                   : static_cast<std::int32_t>(*static_cast<const std::uint8_t*>(byte));
}

namespace {

/// Calls body(begin, end) for ranges of bytes of dense arrays, or body at each pixel of strided ones.
struct Ranges {
  bool dense;
  Index count, channels;
  int threads;

  template <typename Body>
  void run(const Body& body) const {
    if (dense) {
      share(count, kGrain, threads, [&](Index begin, Index end) { body(0, begin, end); });
    } else {
      share(count, std::max<Index>(1, kGrain / std::max<Index>(1, channels)), threads,
            [&](Index begin, Index end) {
              for (Index pixel = begin; pixel < end; ++pixel) body(pixel, 0, channels);
            });
    }
  }
};

/// The ranges of arrays of one shape: dense where no array has gaps that another lacks.
Ranges ranges_of(const Builder& builder, const std::vector<ValueId>& arrays, Layout layout) {
  const Int8Layout first = int8_layout_of(builder, arrays[0], layout);
  const bool dense = std::ranges::all_of(arrays, [&](ValueId id) {
    const Int8Layout int8_layout = int8_layout_of(builder, id, layout);
    return int8_layout.pixel == first.pixel && int8_layout.pixel < int8_layout.channels + kChannels;
  });
  const Index pixels = first.images * first.area;
  return {dense, dense ? pixels * first.pixel : pixels, first.channels, builder.threads()};
}

template <std::size_t N>
void copy_levels(const std::uint8_t* from, Index from_pixel, std::uint8_t* to, Index to_pixel, Index pixels) {
  for (Index p = 0; p < pixels; ++p) std::memcpy(to + p * to_pixel, from + p * from_pixel, N);
}

/// Tables for the first `channels` levels of pixels: what lies between few of them is looked up too, and left
/// out when they are copied to where they belong.
void look_up_pixels(const Int8Kernels& kernels, const std::uint8_t* table, const std::uint8_t* from,
                    Index from_pixel, std::uint8_t* to, Index to_pixel, Index channels, Index pixels) {
  constexpr Index kBytes = 4096;
  if ((channels != 16 && channels != 32) || from_pixel > 4 * channels) {
    for (Index p = 0; p < pixels; ++p)
      kernels.lookup(table, from + p * from_pixel, to + p * to_pixel, 0, channels);
    return;
  }
  std::array<std::uint8_t, kBytes> found;
  const Index most = kBytes / from_pixel;
  for (Index first = 0; first < pixels; first += most) {
    const Index count = std::min(most, pixels - first);
    kernels.lookup(table, from + first * from_pixel, found.data(), 0, (count - 1) * from_pixel + channels);
    (channels == 16 ? copy_levels<16> : copy_levels<32>)(found.data(), from_pixel, to + first * to_pixel,
                                                         to_pixel, count);
  }
}

bool build_lookup(Builder& builder, const Step& step) {
  const ValueId x = step.inputs[0], y = step.outputs[0];
  const Layout layout = builder.layout(y);
  const Ranges ranges = ranges_of(builder, {x, y}, layout);
  const Index from_pixel = int8_layout_of(builder, x, layout).pixel,
              to_pixel = int8_layout_of(builder, y).pixel;
  auto work = [&kernels = int8_kernels(), ranges, from_pixel, to_pixel](void* const* operand) {
    const auto *from = static_cast<const std::uint8_t*>(operand[0]),
               *table = static_cast<const std::uint8_t*>(operand[1]);
    auto* to = static_cast<std::uint8_t*>(operand[2]);
    if (ranges.dense) {
      ranges.run([&](Index, Index begin, Index end) { kernels.lookup(table, from, to, begin, end); });
    } else {
      share(ranges.count, std::max<Index>(1, kGrain / ranges.channels), ranges.threads,
            [&](Index begin, Index end) {
              look_up_pixels(kernels, table, from + begin * from_pixel, from_pixel, to + begin * to_pixel,
                             to_pixel, ranges.channels, end - begin);
            });
    }
  };
  builder.emit(
      make_native(std::string("lookup ") + int8_kernels().name, 3, std::move(work)),
      {builder.read(x, layout), builder.read(step.inputs[1], Layout::plain), builder.write(y, layout)},
      layout);
  return true;
}

bool build_int8_binary(Builder& builder, const Step& step) {
  const ValueId a = step.inputs[0], b = step.inputs[1], y = step.outputs[0];
  const Layout layout = builder.layout(y);
  if (builder.value(a).shape != builder.value(b).shape) return build_int8_gate(builder, step);
  const Ranges ranges = ranges_of(builder, {a, b, y}, layout);
  const std::array<Index, 3> pixels{int8_layout_of(builder, a, layout).pixel,
                                    int8_layout_of(builder, b, layout).pixel,
                                    int8_layout_of(builder, y, layout).pixel};
  const bool adds = std::get<program::Int8Binary>(step.operation).function == program::BinaryFunction::add;
  const auto kernel = adds ? int8_kernels().add : int8_kernels().multiply;
  auto work = [kernel, ranges, pixels,
               sum = int8_sum(std::get<program::Int8Binary>(step.operation), builder.value(a),
                              builder.value(b))](void* const* operand) {
    const auto *first = static_cast<const std::uint8_t*>(operand[0]),
               *second = static_cast<const std::uint8_t*>(operand[1]);
    auto* to = static_cast<std::uint8_t*>(operand[2]);
    ranges.run([&](Index pixel, Index begin, Index end) {
      kernel(sum, first + pixel * pixels[0], second + pixel * pixels[1], to + pixel * pixels[2], begin, end);
    });
  };
  builder.emit(
      make_native(std::string(adds ? "add " : "multiply ") + int8_kernels().name, 3, std::move(work)),
      {builder.read(a, layout), builder.read(b, layout), builder.write(y, layout)}, layout);
  return true;
}

/// Maxima and means of levels channels last.
bool build_int8_window(Builder& builder, const Step& step) {
  const ValueId x = step.inputs[0], y = step.outputs[0];
  if (builder.layout(y) != Layout::channels_last || builder.value(y).shape.size() != 4) return false;
  const auto* mean = std::get_if<program::Int8Pool>(&step.operation);
  const program::Window& window =
      mean != nullptr ? mean->window : std::get<program::Pool>(step.operation).window;
  kernels::PoolShape shape = pool_shape_of(builder, step, window);
  shape.average = mean != nullptr;
  shape.count_pad = mean != nullptr && mean->count_include_pad;
  const Int8Layout to = int8_layout_of(builder, y);
  Int8Kernels::PoolArgs fixed;
  fixed.src_pixel = builder.pixel(x);
  fixed.is_signed = builder.value(x).dtype == core::DType::i8;
  fixed.dst_image = to.image;
  fixed.dst_pixel = to.pixel;
  if (mean != nullptr) {
    fixed.scale = mean->scale;
    fixed.src_zero = mean->x_zero;
    fixed.zero = mean->requantize.zero;
    fixed.low = mean->requantize.low;
    fixed.high = mean->requantize.high;
  }
  fixed.src_image = fixed.src_pixel * shape.h * shape.w;
  auto work = [&kernels = int8_kernels(), shape, fixed, threads = builder.threads()](void* const* operand) {
    Int8Kernels::PoolArgs args = fixed;
    args.src = static_cast<const std::uint8_t*>(operand[0]);
    args.dst = static_cast<std::uint8_t*>(operand[1]);
    share(shape.n * shape.oh, 1, threads,
          [&](Index begin, Index end) { kernels.pool(shape, args, begin, end); });
  };
  builder.emit(make_native(std::string("pool ") + int8_kernels().name, 2, std::move(work)),
               {builder.read(x, Layout::channels_last), builder.write(y, Layout::channels_last)},
               Layout::channels_last);
  return true;
}

/// Channels of `part` from or to those of `whole` from channel `first` on.
void emit_channels(Builder& builder, ValueId whole, ValueId part, Index first, bool gathers) {
  const core::Shape& shape = builder.value(part).shape;
  const Index pixels = shape[0] * area_of(shape);
  const StridedCopy copy{{pixels, shape[1]},
                         {builder.pixel(gathers ? part : whole), 1},
                         {builder.pixel(gathers ? whole : part), 1},
                         1};
  Place wide =
      gathers ? builder.write(whole, Layout::channels_last) : builder.read(whole, Layout::channels_last);
  wide.offset += static_cast<std::size_t>(first);
  const Place narrow =
      gathers ? builder.read(part, Layout::channels_last) : builder.write(part, Layout::channels_last);
  builder.emit(make_copy(copy, builder.threads()), {gathers ? narrow : wide, gathers ? wide : narrow},
               Layout::channels_last);
}

/// Concatenation and splitting of channels; parts that are made or read where the whole lies cost nothing.
bool build_int8_parts(Builder& builder, const Step& step, bool gathers) {
  const ValueId whole = gathers ? step.outputs[0] : step.inputs[0];
  if (builder.layout(gathers ? whole : step.outputs[0]) != Layout::channels_last) return false;
  Index first = 0;
  bool moved = false;
  for (const ValueId part : gathers ? step.inputs : step.outputs) {
    const Index channels = builder.value(part).shape[1];
    const Placement::Spot a = builder.placement().find(part), b = builder.placement().find(whole);
    const bool there = a.root == b.root && a.offset == b.offset + static_cast<std::size_t>(first);
    if (!there && core::element_count(builder.value(part).shape) > 0) {
      emit_channels(builder, whole, part, first, gathers);
      moved = true;
    }
    first += channels;
  }
  if (!moved) builder.note_view(Layout::channels_last);
  return true;
}

/// Strides of levels channels last, by axis of their shape.
std::vector<std::int64_t> last_strides(const Builder& builder, ValueId id) {
  const core::Shape& shape = builder.value(id).shape;
  std::vector<std::int64_t> strides(shape.size(), 1);
  std::int64_t stride = builder.pixel(id);
  for (std::size_t axis = shape.size(); axis-- > 2; stride *= shape[axis]) strides[axis] = stride;
  strides[0] = stride;
  return strides;
}

/// A copy of `shape`, pixels before channels.
std::shared_ptr<const Kernel> copy_of(const core::Shape& shape, const std::vector<std::int64_t>& from,
                                      const std::vector<std::int64_t>& to, int threads) {
  const auto transposed = [](std::vector<std::int64_t> a) {
    std::rotate(a.begin() + 1, a.begin() + 2, a.end());
    return a;
  };
  return make_copy({transposed(shape), transposed(from), transposed(to), 1}, threads);
}

bool build_int8_slice(Builder& builder, const Step& step) {
  const ValueId x = step.inputs[0], y = step.outputs[0];
  if (builder.layout(y) != Layout::channels_last) return false;
  const auto& cut = std::get<program::Slice>(step.operation);
  auto from = last_strides(builder, x);
  std::int64_t first = 0;
  for (std::size_t i = 0; i < from.size(); ++i) {
    first += cut.starts[i] * from[i];
    from[i] *= cut.steps[i];
  }
  // whole pixels where the bytes behind the channels are padding
  core::Shape shape = builder.value(y).shape;
  const bool whole = cut.steps[1] == 1 && shape[1] == builder.value(x).shape[1];
  if (whole && builder.pixel(x) == builder.pixel(y) && builder.placement().find(y).root == y)
    shape[1] = builder.pixel(y);
  Place source = builder.read(x, Layout::channels_last);
  source.offset += static_cast<std::size_t>(first);
  builder.emit(copy_of(shape, from, last_strides(builder, y), builder.threads()),
               {source, builder.write(y, Layout::channels_last)}, Layout::channels_last);
  return true;
}

/// The frame is filled, then the levels copied into it.
bool build_int8_pad(Builder& builder, const Step& step) {
  const ValueId x = step.inputs[0], y = step.outputs[0];
  if (builder.layout(y) != Layout::channels_last ||
      int8_layout_of(builder, y).pixel >= int8_layout_of(builder, y).channels + kChannels)
    return false;
  const auto& frame = std::get<program::Pad>(step.operation);
  const Int8Layout int8_layout = int8_layout_of(builder, y);
  if (builder.placement().find(y).root != y) return false;
  const auto to = last_strides(builder, y);
  std::int64_t first = 0;
  for (std::size_t i = 0; i < to.size(); ++i) first += frame.begins[i] * to[i];
  Place target = builder.write(y, Layout::channels_last);
  const std::size_t bytes = static_cast<std::size_t>(int8_layout.images * int8_layout.image);
  builder.emit(make_native("fill", 2,
                           [bytes](void* const* operand) {
                             std::memset(operand[0], *static_cast<const std::uint8_t*>(operand[1]), bytes);
                           }),
               {target, builder.read(step.inputs[1], Layout::plain)}, Layout::channels_last);
  target.offset += static_cast<std::size_t>(first);
  builder.emit(copy_of(builder.value(x).shape, last_strides(builder, x), to, builder.threads()),
               {builder.read(x, Layout::channels_last), target}, Layout::channels_last);
  return true;
}

}  // namespace

bool build_int8(Builder& builder, const Step& step) {
  const auto& operation = step.operation;
  if (step.outputs.empty() || step.outputs[0] == kNone) return false;
  if (std::holds_alternative<program::Quantize>(operation)) return build_quantize(builder, step);
  if (std::holds_alternative<program::Dequantize>(operation)) return build_dequantize(builder, step);
  if (std::holds_alternative<program::DynamicQuantize>(operation))
    return build_dynamic_quantize(builder, step);
  if (build_int8_mean(builder, step) || build_int8_affine(builder, step)) return true;
  if (!is_int8(builder.value(step.outputs[0]))) return false;
  if (std::holds_alternative<program::Concat>(operation)) return build_int8_parts(builder, step, true);
  if (std::holds_alternative<program::Split>(operation)) return build_int8_parts(builder, step, false);
  if (core::element_count(builder.value(step.outputs[0]).shape) == 0) return false;
  if (std::holds_alternative<program::Lookup>(operation)) return build_lookup(builder, step);
  if (std::holds_alternative<program::Int8Binary>(operation)) return build_int8_binary(builder, step);
  if (std::holds_alternative<program::Pool>(operation) ||
      std::holds_alternative<program::Int8Pool>(operation))
    return build_int8_window(builder, step) || build_int8_volume_window(builder, step) ||
           build_int8_rows(builder, step);
  if (std::holds_alternative<program::Resize>(operation)) return build_int8_resize(builder, step);
  if (std::holds_alternative<program::Slice>(operation)) return build_int8_slice(builder, step);
  if (std::holds_alternative<program::Pad>(operation)) return build_int8_pad(builder, step);
  return false;
}

}  // namespace rdquant::runtime::native
