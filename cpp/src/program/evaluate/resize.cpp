#include <algorithm>
#include <numeric>

#include "program/evaluate/steps.hpp"
#include "program/evaluate/walk.hpp"

namespace rdquant::program::plain {
namespace {

/// Which input elements make one output element along an axis, and with which weights.
struct Taps {
  std::vector<std::int64_t> places;
  std::vector<double> weights;
  bool outside = false;  ///< crop_and_resize: beyond the image, takes the extrapolation value
};

/// Sizes and region of one axis.
struct Axis {
  std::int64_t in, out;
  double scale, roi_begin, roi_end;
};

/// output / input where that is what `scale` rounds.
double exact_scale(float scale, std::int64_t in, std::int64_t out) {
  const double ratio = static_cast<double>(out) / static_cast<double>(in);
  return static_cast<float>(ratio) == scale ? ratio : static_cast<double>(scale);
}

/// Where output element `i` lies in the input, in units of its elements.
double source(Coordinates coordinates, const Axis& a, double i) {
  const auto in = static_cast<double>(a.in), out = static_cast<double>(a.out);
  const double exact_out = a.scale * in;
  switch (coordinates) {
    case Coordinates::half_pixel:
      break;
    case Coordinates::half_pixel_symmetric:
      return in / 2 * (1 - out / exact_out) + (i + 0.5) / a.scale - 0.5;
    case Coordinates::pytorch_half_pixel:
      if (out == 1) return -0.5;
      break;
    case Coordinates::align_corners:
      return out == 1 ? 0 : i * (in - 1) / (exact_out - 1);
    case Coordinates::asymmetric:
      return i / a.scale;
    case Coordinates::crop_and_resize:
      if (out == 1) return (a.roi_begin + a.roi_end) / 2 * (in - 1);
      return a.roi_begin * (in - 1) + i * (a.roi_end - a.roi_begin) * (in - 1) / (out - 1);
  }
  return (i + 0.5) / a.scale - 0.5;
}

double nearest(Nearest rule, double x) {
  switch (rule) {
    case Nearest::round_prefer_floor:
      return std::ceil(x - 0.5);
    case Nearest::round_prefer_ceil:
      return std::floor(x + 0.5);
    case Nearest::floor:
      return std::floor(x);
    case Nearest::ceil:
      return std::ceil(x);
  }
  return x;
}

/// Weight of an element at `distance` from the source: a tent, or Keys' cubic with coefficient `a`.
double kernel(ResizeMode mode, double a, double distance) {
  const double d = std::abs(distance);
  if (mode == ResizeMode::linear) return std::max(0.0, 1 - d);
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

/// Antialiasing widens the kernel by 1 / scale where the image shrinks; its weights then sum to 1 only after
/// division.
Taps taps_at(const Resize& step, const Axis& axis, std::int64_t i) {
  const double x = source(step.coordinates, axis, static_cast<double>(i));
  Taps taps;
  const auto last = static_cast<double>(axis.in - 1);
  taps.outside = step.coordinates == Coordinates::crop_and_resize && (x < 0 || x > last);
  const auto add = [&](double place, double weight) {
    if (step.exclude_outside && (place < 0 || place > last)) return;
    taps.places.push_back(static_cast<std::int64_t>(std::clamp(place, 0.0, last)));
    taps.weights.push_back(weight);
  };
  if (step.mode == ResizeMode::nearest) {
    // In float, as ONNX Runtime and PyTorch have it: element 17 at a scale of 1.7f lies on 10, not just below it.
    add(std::clamp(nearest(step.nearest, static_cast<double>(static_cast<float>(x))), 0.0, last), 1);
    return taps;
  }
  const double squeeze = step.antialias ? std::min(axis.scale, 1.0) : 1.0;
  const double reach = (step.mode == ResizeMode::linear ? 1 : 2) / squeeze;
  for (double place = std::ceil(x - reach); place <= std::floor(x + reach); ++place) {
    const double weight =
        kernel(step.mode, static_cast<double>(step.cubic_coefficient), (place - x) * squeeze);
    if (weight != 0) add(place, weight);
  }
  if (!step.antialias && !step.exclude_outside) return taps;
  double sum = 0;
  for (const double w : taps.weights) sum += w;
  for (double& w : taps.weights) w /= sum;
  return taps;
}

/// `values`, of shape [outer, in, inner], resized along its middle axis.
std::vector<double> resize_axis(const std::vector<double>& values, const Around& around,
                                const std::vector<Taps>& taps, int threads) {
  const auto inner = static_cast<std::size_t>(around.inner);
  std::vector<double> result(static_cast<std::size_t>(around.outer) * taps.size() * inner, 0.0);
  const auto count = static_cast<std::int64_t>(taps.size());
  share_lines(around.outer * count, around.inner, threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t line = begin; line < end; ++line) {
      const Taps& t = taps[static_cast<std::size_t>(line % count)];
      double* const to = result.data() + static_cast<std::size_t>(line) * inner;
      for (std::size_t k = 0; k < t.places.size(); ++k) {
        const double* from =
            &values[static_cast<std::size_t>(line / count * around.size + t.places[k]) * inner];
        for (std::size_t i = 0; i < inner; ++i) to[i] += t.weights[k] * from[i];
      }
    }
  });
  return result;
}

/// Axis `a` of a Resize between the given shapes.
Axis axis_of(const Resize& step, std::span<const std::int64_t> from, std::span<const std::int64_t> to,
             std::size_t a) {
  const bool cropped = step.coordinates == Coordinates::crop_and_resize;
  return {from[a], to[a], exact_scale(step.scales[a], from[a], to[a]),
          cropped ? static_cast<double>(step.roi[a]) : 0,
          cropped ? static_cast<double>(step.roi[from.size() + a]) : 1};
}

/// Writes `value` wherever the source of an element lies outside along `axis`.
void extrapolate(std::vector<double>& values, const Around& around, const std::vector<Taps>& taps,
                 double value) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (taps[i / static_cast<std::size_t>(around.inner) % taps.size()].outside) values[i] = value;
  }
}

}  // namespace

void compute(const Resize& step, Inputs inputs, Outputs outputs, int threads) {
  const TensorView& x = inputs[0];
  const MutableTensorView& y = outputs[0];
  if (size_of(y.shape) == 0) return;
  if (x.dtype == DType::boolean) refuse("resize", x.dtype);
  const std::size_t rank = x.shape.size();
  std::vector<double> values = numbers(x);
  std::vector<std::vector<Taps>> taps(rank);
  core::Shape shape(x.shape.begin(), x.shape.end());
  for (std::size_t a = 0; a < rank; ++a) {
    const Axis axis = axis_of(step, x.shape, y.shape, a);
    if (axis.in == axis.out && axis.scale == 1 && axis.roi_begin == 0 && axis.roi_end == 1) continue;
    for (std::int64_t i = 0; i < axis.out; ++i) taps[a].push_back(taps_at(step, axis, i));
    values = resize_axis(values, Around(shape, static_cast<std::int64_t>(a)), taps[a], threads);
    shape[a] = axis.out;
  }
  for (std::size_t a = 0; a < rank; ++a) {
    if (taps[a].empty()) continue;
    extrapolate(values, Around(y.shape, static_cast<std::int64_t>(a)), taps[a],
                static_cast<double>(step.extrapolation));
  }
  store(values.data(), y, 0, static_cast<std::int64_t>(values.size()));
}

}  // namespace rdquant::program::plain

namespace rdquant::program {

std::vector<std::int64_t> nearest_places(const Resize& step, std::span<const std::int64_t> from,
                                         std::span<const std::int64_t> to, std::size_t axis) {
  const plain::Axis lengths = plain::axis_of(step, from, to, axis);
  std::vector<std::int64_t> places;
  for (std::int64_t i = 0; i < lengths.out; ++i) {
    places.push_back(plain::taps_at(step, lengths, i).places.front());
  }
  return places;
}

ResizeTaps resize_taps(const Resize& step, std::span<const std::int64_t> from,
                       std::span<const std::int64_t> to, std::size_t axis) {
  const plain::Axis lengths = plain::axis_of(step, from, to, axis);
  if (lengths.in == lengths.out && lengths.scale == 1) {
    ResizeTaps same{1, std::vector<std::int32_t>(static_cast<std::size_t>(lengths.out)), {}};
    std::iota(same.places.begin(), same.places.end(), 0);
    same.weights.assign(same.places.size(), 1.0F);
    return same;
  }
  std::vector<plain::Taps> each;
  for (std::int64_t i = 0; i < lengths.out; ++i) each.push_back(plain::taps_at(step, lengths, i));
  std::size_t most = 1;
  for (const plain::Taps& taps : each) most = std::max(most, taps.places.size());
  ResizeTaps result{static_cast<std::int64_t>(most), {}, {}};
  for (std::size_t tap = 0; tap < most; ++tap) {
    for (const plain::Taps& taps : each) {
      const bool there = tap < taps.places.size();
      result.places.push_back(there ? static_cast<std::int32_t>(taps.places[tap]) : 0);
      result.weights.push_back(there ? static_cast<float>(taps.weights[tap]) : 0.0F);
    }
  }
  return result;
}

}  // namespace rdquant::program
