#include "runtime/native/int8/volume.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "rdquant/core/memory.hpp"
#include "runtime/native/int8/int8.hpp"
#include "runtime/native/loops.hpp"

namespace rdquant::runtime::native {

using core::Shape;
using kernels::ConvShape;
using kernels::Index;
using program::Step;
using program::ValueId;
using program::Window;

namespace {

constexpr Index kGathered = 512 * 1024;  // bytes that the cache of a thread holds beside weights

/// Whether windows along an axis are single elements, all one after the other.
bool is_still(const Window& window, std::size_t axis) {
  return window.kernel[axis] == 1 && window.strides[axis] == 1 && window.pads_begin[axis] == 0 &&
         window.pads_end[axis] == 0;
}

/// Whether there is one window along an axis, over all of it.
bool is_whole(const Window& window, std::size_t axis, const Shape& x) {
  return window.kernel[axis] == x[axis + 2] && window.dilations[axis] == 1 && window.pads_begin[axis] == 0 &&
         window.pads_end[axis] == 0;
}

/// Windows along the depth alone, or over whole planes: rows of the image are planes.
Int8Volume columns_of(const Shape& x, const Window& window, bool whole) {
  const Index area = x[3] * x[4];
  Int8Volume volume;
  volume.planes = volume.together = x[0];
  volume.step = x[2] * area;
  volume.shape = {.n = x[0],
                  .h = x[2],
                  .w = area,
                  .kh = window.kernel[0],
                  .kw = whole ? area : 1,
                  .sh = window.strides[0],
                  .dh = window.dilations[0],
                  .top = window.pads_begin[0],
                  .bottom = window.pads_end[0]};
  return volume;
}

/// Windows over planes as they lie.
Int8Volume planes_of(const Shape& x, const Shape& y, const Window& window) {
  const Index area = x[3] * x[4];
  Int8Volume volume;
  const bool all = window.strides[0] == 1;
  volume.images = all ? 1 : x[0];
  volume.planes = volume.together = all ? x[0] * y[2] : y[2];
  volume.image = x[2] * area;
  volume.step = window.strides[0] * area;
  volume.shape = {.n = volume.planes,
                  .h = x[3],
                  .w = x[4],
                  .kh = window.kernel[1],
                  .kw = window.kernel[2],
                  .sh = window.strides[1],
                  .sw = window.strides[2],
                  .dh = window.dilations[1],
                  .dw = window.dilations[2],
                  .top = window.pads_begin[1],
                  .left = window.pads_begin[2],
                  .bottom = window.pads_end[1],
                  .right = window.pads_end[2]};
  return volume;
}

Int8Volume gathered(const Shape& x, const Shape& y, const Window& window, int threads) {
  const Index taps = window.kernel[0];
  Int8Volume volume{.images = x[0],
                    .planes = y[2],
                    .together = y[2],
                    .shape = {},
                    .gathers = true,
                    .depth = x[2],
                    .rows = x[3],
                    .row = x[4],
                    .taps = taps,
                    .stride = window.strides[0],
                    .dilation = window.dilations[0],
                    .front = window.pads_begin[0],
                    .left = window.pads_begin[2],
                    .right = window.pads_end[2],
                    .channels = x[1],
                    .threads = threads};
  // rows between those of a dilated kernel are taps, too, whose weights are zeros
  volume.shape = {.n = y[2],
                  .h = x[3] * taps,
                  .w = volume.left + x[4] + volume.right,
                  .kh = ((window.kernel[1] - 1) * window.dilations[1] + 1) * taps,
                  .kw = window.kernel[2],
                  .sh = window.strides[1] * taps,
                  .sw = window.strides[2],
                  .dw = window.dilations[2],
                  .top = window.pads_begin[1] * taps,
                  .bottom = window.pads_end[1] * taps};
  return volume;
}

}  // namespace

void Int8Volume::limit(Index bytes) {
  const Index each = plane_bytes() + bytes;
  while (planes % together != 0 || (together > 1 && together * each > kGathered * threads)) --together;
  shape.n = together;
}

void Int8Volume::gather(const std::uint8_t* x, Index from_pixel, std::uint8_t fill, Index first,
                        std::uint8_t* to) const {
  const Index to_pixel = pixel(), wide = left + row + right, line = taps * wide * to_pixel;
  const auto copy_row = [&](const std::uint8_t* from, std::uint8_t* target) {
    std::memset(target, fill, static_cast<std::size_t>(left * to_pixel));
    target += left * to_pixel;
    if (from_pixel == to_pixel) {
      std::memcpy(target, from, static_cast<std::size_t>(row * to_pixel));
    } else {
      for (Index i = 0; i < row; ++i)
        std::memcpy(target + i * to_pixel, from + i * from_pixel, static_cast<std::size_t>(to_pixel));
    }
    std::memset(target + row * to_pixel, fill, static_cast<std::size_t>(right * to_pixel));
  };
  share(together * rows, std::max<Index>(1, kGrain / line), threads, [&](Index begin, Index end) {
    for (Index item = begin; item < end; ++item) {
      const Index plane = first + item / rows, r = item % rows;
      for (Index tap = 0; tap < taps; ++tap) {
        const Index z = plane % planes * stride - front + tap * dilation;
        std::uint8_t* const target = to + item * line + tap * wide * to_pixel;
        if (z < 0 || z >= depth) {
          std::memset(target, fill, static_cast<std::size_t>(wide * to_pixel));
        } else {
          copy_row(x + ((plane / planes * depth + z) * rows + r) * row * from_pixel, target);
        }
      }
    }
  });
}

std::optional<Int8Volume> int8_volume_of(const Builder& builder, ValueId from, ValueId to,
                                         const Window& window) {
  const Shape &x = builder.value(from).shape, &y = builder.value(to).shape;
  const auto negative = [](const std::vector<std::int64_t>& pads) {
    return std::ranges::any_of(pads, [](std::int64_t pad) { return pad < 0; });
  };
  if (x.size() != 5 || core::element_count(x) == 0 || core::element_count(y) == 0 ||
      negative(window.pads_begin) || negative(window.pads_end))
    return std::nullopt;
  const bool whole = is_whole(window, 1, x) && is_whole(window, 2, x);
  Int8Volume volume;
  if (whole || (is_still(window, 1) && is_still(window, 2))) {
    volume = columns_of(x, window, whole);
  } else if (window.kernel[0] == 1 && window.pads_begin[0] == 0 && window.pads_end[0] == 0) {
    volume = planes_of(x, y, window);
  } else {
    volume = gathered(x, y, window, builder.threads());
  }
  volume.shape.c = volume.channels = x[1];
  volume.threads = builder.threads();
  const Index pixels = volume.images * volume.planes * volume.shape.oh() * volume.shape.ow();
  if (pixels != core::element_count(y) / y[1]) return std::nullopt;
  return volume;
}

namespace {

class GatheredPacker final : public Packer {
 public:
  GatheredPacker(std::shared_ptr<const Packer> next, Shape weights, const Int8Volume& volume)
      : next_(std::move(next)), weights_(std::move(weights)), rows_(volume.shape.kh), taps_(volume.taps) {}
  void pack(const void* from, void* to) const override {
    const Index filters = weights_[0] * weights_[1], kh = weights_[3], kw = weights_[4];
    const Index dilation = kh > 1 ? (rows_ / taps_ - 1) / (kh - 1) : 1;
    const auto* const w = static_cast<const std::int8_t*>(from);
    std::vector<std::int8_t> turned(static_cast<std::size_t>(filters * rows_ * kw));
    for (Index filter = 0; filter < filters; ++filter) {
      for (Index tap = 0; tap < taps_; ++tap) {
        for (Index row = 0; row < kh; ++row)
          std::copy_n(w + ((filter * taps_ + tap) * kh + row) * kw, kw,
                      turned.data() + (filter * rows_ + row * dilation * taps_ + tap) * kw);
      }
    }
    next_->pack(turned.data(), to);
  }

 private:
  std::shared_ptr<const Packer> next_;
  Shape weights_;
  Index rows_, taps_;
};

/// Operands: x, y, gathered rows.
struct WindowWork {
  Int8Volume volume;
  kernels::PoolShape shape;
  kernels::Int8Kernels::PoolArgs fixed;
  std::uint8_t fill;

  void operator()(void* const* operand) const {
    const auto* const x = static_cast<const std::uint8_t*>(operand[0]);
    auto* const y = static_cast<std::uint8_t*>(operand[1]);
    auto* const rows = static_cast<std::uint8_t*>(operand[2]);
    kernels::Int8Kernels::PoolArgs args = fixed;
    for (Index first = 0; first < volume.images * volume.planes; first += volume.together) {
      args.dst = y + first * args.dst_image;
      args.src = rows;
      if (volume.gathers) {
        volume.gather(x, fixed.src_pixel, fill, first, rows);
        args.src_pixel = volume.pixel();
        args.src_image = volume.plane_bytes();
      } else {
        args.src = x + volume.offset(first, args.src_pixel);
        args.src_image = volume.step * args.src_pixel;
      }
      share(shape.n * shape.oh, 1, volume.threads,
            [&](Index begin, Index end) { int8_kernels().pool(shape, args, begin, end); });
    }
  }
};

/// The window of a pool as the kernels take it; nullopt where rows that must not count are gathered.
std::optional<kernels::PoolShape> window_of(const ConvShape& s, const Int8Volume& volume,
                                            const Window& window, const program::Int8Pool* mean) {
  const bool counts = mean != nullptr && mean->count_include_pad;
  const bool padded = window.pads_begin[0] + window.pads_end[0] > 0;
  const bool dilated = window.kernel[1] > 1 && window.dilations[1] > 1;
  if (volume.gathers && (dilated || (padded && mean != nullptr && !counts))) return std::nullopt;
  return kernels::PoolShape{.n = s.n,
                            .c = s.c,
                            .h = s.h,
                            .w = s.w,
                            .oh = s.oh(),
                            .ow = s.ow(),
                            .kh = s.kh,
                            .kw = s.kw,
                            .sh = s.sh,
                            .sw = s.sw,
                            .dh = s.dh,
                            .dw = s.dw,
                            .top = s.top,
                            .left = s.left,
                            .bottom = s.bottom,
                            .right = s.right,
                            .average = mean != nullptr,
                            .count_pad = counts};
}

}  // namespace

std::shared_ptr<const Packer> gathered_packer(std::shared_ptr<const Packer> next, const Shape& weights,
                                              const Int8Volume& volume) {
  if (!volume.gathers) return next;
  return std::make_shared<GatheredPacker>(std::move(next), weights, volume);
}

bool build_int8_volume_window(Builder& builder, const Step& step) {
  const ValueId x = step.inputs[0], y = step.outputs[0];
  const auto* mean = std::get_if<program::Int8Pool>(&step.operation);
  const Window& window = mean != nullptr ? mean->window : std::get<program::Pool>(step.operation).window;
  auto volume = int8_volume_of(builder, x, y, window);
  if (!volume || builder.layout(y) != Layout::channels_last) return false;
  if (volume->gathers) {  // columns of the padding are the kernel's own
    volume->shape.left = std::exchange(volume->left, 0);
    volume->shape.right = std::exchange(volume->right, 0);
    volume->shape.w = volume->row;
    volume->limit(0);
  }
  const auto shape = window_of(volume->shape, *volume, window, mean);
  if (!shape) return false;
  kernels::Int8Kernels::PoolArgs fixed;
  fixed.src_pixel = builder.pixel(x);
  fixed.is_signed = builder.value(x).dtype == core::DType::i8;
  fixed.dst_pixel = builder.pixel(y);
  fixed.dst_image = fixed.dst_pixel * shape->oh * shape->ow;
  std::uint8_t fill = fixed.is_signed ? 128 : 0;  // the least level
  if (mean != nullptr) {
    fixed.scale = mean->scale;
    fixed.src_zero = mean->x_zero;
    fixed.zero = mean->requantize.zero;
    fixed.low = mean->requantize.low;
    fixed.high = mean->requantize.high;
    fill = static_cast<std::uint8_t>(mean->x_zero);
  }
  const auto bytes = static_cast<std::size_t>(volume->together * volume->plane_bytes()) + core::kAlignment;
  const Place rows = builder.scratch(volume->gathers ? bytes : 0);
  builder.emit(make_native(std::string("volume pool ") + int8_kernels().name, 3,
                           WindowWork{*volume, *shape, fixed, fill}),
               {builder.read(x, Layout::channels_last), builder.write(y, Layout::channels_last), rows},
               Layout::channels_last);
  return true;
}

}  // namespace rdquant::runtime::native
