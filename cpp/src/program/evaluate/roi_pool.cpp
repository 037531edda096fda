#include <algorithm>
#include <cmath>
#include <cstdint>

#include "program/evaluate/steps.hpp"
#include "program/evaluate/walk.hpp"

namespace rdquant::program::plain {
namespace {

constexpr double kMostSamples = 1 << 12;  // along an axis of a bin: more would be a region by mistake

/// An element of the image, or a zero where `place` is −1.
struct Tap {
  std::int64_t place;
  double weight;
};

/// The image's sizes, and those of the bins that each region is cut into.
struct Plane {
  std::int64_t height, width, high, wide;
};

/// One region: what its bins see, one bin after the other, and where each bin ends.
struct Bins {
  std::vector<Tap> taps;
  std::vector<std::size_t> ends;
  double samples = 1;  ///< of each bin
};

/// The four elements around a sample, by bilinear interpolation; a zero where it lies outside.
template <typename C>
void add_sample(std::vector<Tap>& taps, const Plane& plane, C y, C x) {
  if (y != y || x != x) return taps.push_back({0, static_cast<double>(y + x)});
  const C height = static_cast<C>(plane.height), width = static_cast<C>(plane.width);
  if (y < -1 || y > height || x < -1 || x > width) return taps.push_back({-1, 0});
  const C top = std::min(std::floor(std::max<C>(y, 0)), height - 1);
  const C left = std::min(std::floor(std::max<C>(x, 0)), width - 1);
  const C bottom = std::min(top + 1, height - 1), right = std::min(left + 1, width - 1);
  const C down = bottom == top ? 0 : std::max<C>(y, 0) - top,
          along = right == left ? 0 : std::max<C>(x, 0) - left;
  const auto add = [&](C row, C column, C weight) {
    taps.push_back({static_cast<std::int64_t>(row) * plane.width + static_cast<std::int64_t>(column),
                    static_cast<double>(weight)});
  };
  add(top, left, (1 - down) * (1 - along));
  add(top, right, (1 - down) * along);
  add(bottom, left, down * (1 - along));
  add(bottom, right, down * along);
}

/// Samples along one axis of a bin.
template <typename C>
std::int64_t samples_of(const RoiPool& step, C bin) {
  if (step.samples > 0) return step.samples;
  if (bin != bin) return 1;
  if (static_cast<double>(bin) > kMostSamples)
    throw core::InvalidArgument("a region whose bins are " + std::to_string(bin) +
                                " elements wide; at most " + std::to_string(static_cast<int>(kMostSamples)) +
                                " are allowed");
  return std::max<std::int64_t>(0, static_cast<std::int64_t>(std::ceil(bin)));
}

/// Bins of a region given by (x1, y1, x2, y2), with samples at even distances. Coordinates of type C, as other engines
/// round them.
template <typename C>
Bins sampled(const RoiPool& step, const Plane& plane, const double* region) {
  C corner[4];
  for (int i = 0; i < 4; ++i) corner[i] = static_cast<C>(region[i]) * step.scale - step.offset;
  C width = corner[2] - corner[0], height = corner[3] - corner[1];
  if (step.offset == 0) {
    width = std::max<C>(width, 1);
    height = std::max<C>(height, 1);
  }
  const C bin_high = height / static_cast<C>(plane.high), bin_wide = width / static_cast<C>(plane.wide);
  const std::int64_t rows = samples_of(step, bin_high), columns = samples_of(step, bin_wide);
  Bins bins;
  bins.samples = static_cast<double>(std::max<std::int64_t>(1, rows * columns));
  for (std::int64_t bin = 0; bin < plane.high * plane.wide; ++bin) {
    const C top = corner[1] + static_cast<C>(bin / plane.wide) * bin_high,
            left = corner[0] + static_cast<C>(bin % plane.wide) * bin_wide;
    for (std::int64_t i = 0; i < rows * columns; ++i) {
      const C row = static_cast<C>(i / columns) + C{0.5F}, column = static_cast<C>(i % columns) + C{0.5F};
      add_sample<C>(bins.taps, plane, top + row * bin_high / static_cast<C>(rows),
                    left + column * bin_wide / static_cast<C>(columns));
    }
    bins.ends.push_back(bins.taps.size());
  }
  return bins;
}

/// Bins of whole elements: both ends of the region are rounded and belong to it.
Bins whole(const RoiPool& step, const Plane& plane, const double* region) {
  std::int64_t corner[4];
  for (int i = 0; i < 4; ++i)
    corner[i] = saturate<std::int32_t>(std::round(static_cast<float>(region[i]) * step.scale));
  const auto size = [&](int axis) { return std::max<std::int64_t>(corner[axis + 2] - corner[axis] + 1, 1); };
  const auto range = [&](std::int64_t bin, std::int64_t count, int axis, std::int64_t end) {
    const float each = static_cast<float>(size(axis)) / static_cast<float>(count);
    const auto at = [&](float place) {
      return std::clamp(static_cast<std::int64_t>(place) + corner[axis], std::int64_t{0}, end);
    };
    return std::pair{at(std::floor(static_cast<float>(bin) * each)),
                     at(std::ceil(static_cast<float>(bin + 1) * each))};
  };
  Bins bins;
  for (std::int64_t bin = 0; bin < plane.high * plane.wide; ++bin) {
    const auto [top, bottom] = range(bin / plane.wide, plane.high, 1, plane.height);
    const auto [left, right] = range(bin % plane.wide, plane.wide, 0, plane.width);
    for (std::int64_t y = top; y < bottom; ++y) {
      for (std::int64_t x = left; x < right; ++x) bins.taps.push_back({y * plane.width + x, 1});
    }
    bins.ends.push_back(bins.taps.size());
  }
  return bins;
}

/// One bin of one channel; 0 where it sees nothing.
template <typename T>
double pooled(const RoiPool& step, const T* image, std::span<const Tap> taps, double samples) {
  const auto value = [&](const Tap& tap) {
    return tap.place < 0 ? 0 : tap.weight * convert<double>(image[tap.place]);
  };
  double result = 0;
  if (step.function == RoiFunction::average) {
    for (const Tap& tap : taps) result += value(tap);
    return result / samples;
  }
  for (std::size_t i = 0; i < taps.size(); ++i) {
    const double v = value(taps[i]);
    if (i == 0 || v > result || v != v) result = v;
    if (v != v) break;
  }
  return result;
}

std::int64_t image_of(double number, std::int64_t images) {
  if (!(number >= 0 && number < static_cast<double>(images)))
    throw core::InvalidArgument("a region of image " + std::to_string(number) + "; there are " +
                                std::to_string(images));
  return static_cast<std::int64_t>(number);
}

}  // namespace

void compute(const RoiPool& step, Inputs inputs, Outputs outputs, int threads) {
  const TensorView &x = inputs[0], &regions = inputs[1];
  const MutableTensorView& y = outputs[0];
  if (size_of(y.shape) == 0) return;
  const Plane plane{x.shape[2], x.shape[3], y.shape[2], y.shape[3]};
  const std::int64_t channels = x.shape[1], image = plane.height * plane.width,
                     bins = plane.high * plane.wide;
  const std::int64_t numbers = regions.shape[1];  // 5: the image, then the corners
  std::vector<double> given(static_cast<std::size_t>(size_of(regions.shape))), images;
  load(regions, 0, size_of(regions.shape), given.data());
  images.resize(static_cast<std::size_t>(y.shape[0]));
  if (numbers == 4) load(inputs[2], 0, y.shape[0], images.data());
  with_type(x.dtype, [&]<typename T>(Type<T>) {
    using C = std::conditional_t<std::is_same_v<T, double>, double, float>;
    share_lines(y.shape[0], channels * bins * 16, threads, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) {
        const double* corners = given.data() + r * numbers + numbers - 4;
        const std::int64_t n =
            image_of(numbers == 4 ? images[static_cast<std::size_t>(r)] : corners[-1], x.shape[0]);
        const Bins found = step.function == RoiFunction::elements ? whole(step, plane, corners)
                                                                  : sampled<C>(step, plane, corners);
        for (std::int64_t c = 0; c < channels; ++c) {
          const T* from = x.as<T>() + (n * channels + c) * image;
          T* to = y.as<T>() + (r * channels + c) * bins;
          std::size_t first = 0;
          for (std::int64_t bin = 0; bin < bins; ++bin) {
            const std::size_t last = found.ends[static_cast<std::size_t>(bin)];
            to[bin] = convert<T>(
                pooled(step, from, std::span(found.taps).subspan(first, last - first), found.samples));
            first = last;
          }
        }
      }
    });
  });
}

}  // namespace rdquant::program::plain
