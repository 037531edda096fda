#include <array>
#include <cmath>
#include <cstdint>

#include "program/evaluate/steps.hpp"
#include "program/evaluate/walk.hpp"

namespace rdquant::program::plain {
namespace {

constexpr std::size_t kMostTaps = 64;  // four along each of three axes
constexpr double kFar = 0x1p40;        // farther away than any image reaches

struct GridTap {
  std::int64_t place;
  double weight;
};

/// Which elements make one output element, and with which weights.
struct GridTaps {
  std::array<GridTap, kMostTaps> taps;
  std::size_t count = 0;
};

/// Place `i` of an axis of `size` elements, mirrored at both ends as often as it takes.
double reflected(double i, double low, double high) {
  const double range = high - low;
  if (range <= 0) return 0;
  if (i >= low && i <= high) return i;
  const double beyond = i < low ? low - i : i - high;
  const double times = std::floor(beyond / range), rest = beyond - times * range;
  const bool from_near = std::fmod(times, 2) == 0;
  return (i < low) == from_near ? low + rest : high - rest;
}

/// The element that stands for place `i`; −1 for a zero.
std::int64_t grid_element(const GridSample& step, double i, std::int64_t size) {
  const auto last = static_cast<double>(size - 1);
  if (i >= 0 && i <= last) return static_cast<std::int64_t>(i);
  if (step.padding == GridPadding::zeros) return -1;
  if (step.padding == GridPadding::reflection) {
    const double edge = step.align_corners ? 0 : 0.5;
    i = reflected(i, -edge, last + edge);
  }
  return static_cast<std::int64_t>(std::clamp(std::trunc(i), 0.0, last));
}

/// Keys' cubic with coefficient −0.75, at `distance` from an element.
double cubic_weight(double distance) {
  constexpr double a = -0.75;
  const double d = std::abs(distance);
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
}

/// Elements along one axis, and their weights, for the coordinate `g` of −1 … 1.
std::size_t taps_along(const GridSample& step, double g, std::int64_t size, std::array<GridTap, 4>& taps) {
  const auto length = static_cast<double>(size);
  double x = step.align_corners ? (g + 1) / 2 * (length - 1) : ((g + 1) * length - 1) / 2;
  if (x != x) {
    taps[0] = {0, x};
    return 1;
  }
  x = std::clamp(x, -kFar, kFar);
  std::size_t count = 0;
  const auto add = [&](double place, double weight) {
    const std::int64_t found = grid_element(step, place, size);
    if (found >= 0 && weight != 0) taps[count++] = {found, weight};
  };
  if (step.mode == ResizeMode::nearest) {
    add(std::nearbyint(x), 1);
    return count;
  }
  const double below = std::floor(x), rest = x - below;
  if (step.mode == ResizeMode::linear) {
    add(below, 1 - rest);
    add(below + 1, rest);
    return count;
  }
  for (int k = -1; k <= 2; ++k) add(below + k, cubic_weight(rest - k));
  return count;
}

/// Those of one point of the grid, whose coordinates come innermost axis first.
GridTaps grid_taps(const GridSample& step, const double* point, Sizes sizes) {
  GridTaps found;
  found.taps[0] = {0, 1};
  found.count = 1;
  std::array<GridTap, 4> along{};
  for (std::size_t axis = 0; axis < sizes.size(); ++axis) {
    const std::size_t count = taps_along(step, point[sizes.size() - 1 - axis], sizes[axis], along);
    const GridTaps before = found;
    found.count = 0;
    for (std::size_t i = 0; i < before.count; ++i) {
      for (std::size_t k = 0; k < count; ++k) {
        found.taps[found.count++] = {before.taps[i].place * sizes[axis] + along[k].place,
                                     before.taps[i].weight * along[k].weight};
      }
    }
  }
  return found;
}

}  // namespace

void compute(const GridSample& step, Inputs inputs, Outputs outputs, int threads) {
  const TensorView &x = inputs[0], &grid = inputs[1];
  const MutableTensorView& y = outputs[0];
  if (size_of(y.shape) == 0) return;
  const Sizes sizes = x.shape.subspan(2);
  const auto axes = static_cast<std::int64_t>(sizes.size());
  const std::int64_t channels = x.shape[1], image = size_of(sizes), points = size_of(y.shape.subspan(2));
  constexpr std::int64_t kBlock = 64;
  const std::int64_t blocks = (points + kBlock - 1) / kBlock;
  with_type(x.dtype, [&]<typename T>(Type<T>) {
    share_lines(x.shape[0] * blocks, kBlock * channels, threads, [&](std::int64_t begin, std::int64_t end) {
      std::vector<GridTaps> taps(static_cast<std::size_t>(kBlock));
      std::vector<double> coordinates(static_cast<std::size_t>(kBlock * axes));
      for (std::int64_t block = begin; block < end; ++block) {
        const std::int64_t n = block / blocks, first = block % blocks * kBlock;
        const std::int64_t count = std::min(kBlock, points - first);
        load(grid, (n * points + first) * axes, count * axes, coordinates.data());
        for (std::int64_t i = 0; i < count; ++i)
          taps[static_cast<std::size_t>(i)] = grid_taps(step, coordinates.data() + i * axes, sizes);
        for (std::int64_t c = n * channels; c < (n + 1) * channels; ++c) {
          const T* from = x.as<T>() + c * image;
          T* to = y.as<T>() + c * points + first;
          for (std::int64_t i = 0; i < count; ++i) {
            const GridTaps& found = taps[static_cast<std::size_t>(i)];
            double sum = 0;
            for (std::size_t k = 0; k < found.count; ++k)
              sum += found.taps[k].weight * convert<double>(from[found.taps[k].place]);
            to[i] = convert<T>(sum);
          }
        }
      }
    });
  });
}

}  // namespace rdquant::program::plain
