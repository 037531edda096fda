// Fourier transforms of constant lengths, as products with constant matrices: DFT, STFT; windows and mel filters.
#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <utility>

#include "program/lower/lowering.hpp"

namespace rdquant::program {
namespace {

using core::DType;

struct Transform {
  std::int64_t length = 0;  ///< of the whole spectrum
  bool inverse = false, onesided = false;
};

/// What input element t of component c gives to output element k: the real and the imaginary part of
/// e^(∓2πi t k / length) times 1 or i; the inverse is divided by the length.
std::pair<double, double> share(const Transform& of, std::int64_t t, std::int64_t k, std::int64_t component) {
  const double turn = 2 * std::numbers::pi / static_cast<double>(of.length);
  const double angle = static_cast<double>(t * k % of.length) * (of.inverse ? turn : -turn);
  double scale = of.inverse ? 1 / static_cast<double>(of.length) : 1;
  // Half a spectrum stands for its mirror image, too.
  if (of.inverse && of.onesided && t != 0 && 2 * t != of.length) scale *= 2;
  const double real = scale * std::cos(angle), imaginary = scale * std::sin(angle);
  return component == 0 ? std::pair{real, imaginary} : std::pair{-imaginary, real};
}

/// [count · components, made · parts]
ValueId matrix_of(Lowering& node, const Transform& of, std::int64_t count, std::int64_t components,
                  std::int64_t made, std::int64_t parts, DType dtype) {
  const core::Shape shape = {count * components, made * parts};
  check_constant(DType::f64, shape, 0);
  core::Tensor matrix(DType::f64, shape);
  auto* to = matrix.write().as<double>();
  for (std::int64_t row = 0; row < shape[0]; ++row) {
    for (std::int64_t k = 0; k < made; ++k) {
      const auto [real, imaginary] = share(of, row / components, k, row % components);
      *to++ = real;
      if (parts == 2) *to++ = imaginary;
    }
  }
  return node.constant(std::move(matrix), dtype);
}

/// The first `count` elements along `axis`, where there are more.
ValueId first(Lowering& node, ValueId x, std::size_t axis, std::int64_t count) {
  core::Shape shape = node.shape(x);
  if (shape[axis] <= count) return x;
  shape[axis] = count;
  return node.emit(Slice{core::Shape(shape.size(), 0), core::Shape(shape.size(), 1)}, {x}, node.dtype(x),
                   shape);
}

/// Swaps `axis` and the last but one.
ValueId beside_parts(Lowering& node, ValueId x, std::size_t axis) {
  core::Shape shape = node.shape(x);
  const std::size_t last = shape.size() - 2;
  if (axis == last) return x;
  Transpose op;
  for (std::size_t i = 0; i < shape.size(); ++i) op.permutation.push_back(static_cast<std::int64_t>(i));
  std::swap(op.permutation[axis], op.permutation[last]);
  std::swap(shape[axis], shape[last]);
  return node.emit(std::move(op), {x}, node.dtype(x), std::move(shape));
}

/// Of x [.., elements, 1 or 2 parts] along `axis`; shorter inputs are continued by zeros.
ValueId transformed(Lowering& node, ValueId x, std::size_t axis, const Transform& of) {
  const bool to_real = of.inverse && of.onesided;
  const std::int64_t half = of.length / 2 + 1;
  x = beside_parts(node, first(node, x, axis, to_real ? half : of.length), axis);
  core::Shape shape = node.shape(x);
  const std::int64_t components = shape.back(), count = shape[shape.size() - 2];
  const std::int64_t made = of.onesided && !of.inverse ? half : of.length, parts = to_real ? 1 : 2;
  const std::int64_t rows = core::element_count(std::span(shape).first(shape.size() - 2));
  const ValueId matrix = matrix_of(node, of, count, components, made, parts, node.dtype(x));
  const ValueId flat = node.reshape(x, {rows, count * components});
  const ValueId y = node.emit(MatMul{}, {flat, matrix}, node.dtype(x), {rows, made * parts});
  shape[shape.size() - 2] = made;
  shape.back() = parts;
  return beside_parts(node, node.reshape(y, shape), axis);
}

std::int64_t number_at(Lowering& node, std::size_t i, const char* name) {
  const auto numbers = node.integers_of(i);
  node.check(numbers.size() == 1 && numbers[0] >= -kMostSize && numbers[0] <= kMostSize,
             std::string(name) + " must be one number");
  return numbers[0];
}

void check_parts(Lowering& node, ValueId x) {
  node.check(node.rank(x) >= 2 && (node.shape(x).back() == 1 || node.shape(x).back() == 2),
             "the input must have real, or real and imaginary parts along its last axis");
}

void dft(Lowering& node) {
  const ValueId x = node.input(0);
  check_parts(node, x);
  std::int64_t axis = node.opset() < 20 ? node.integer("axis", 1) : -2;
  if (node.opset() >= 20 && node.has_input(2)) axis = number_at(node, 2, "axis");
  axis = node.axis(axis, node.rank(x));
  node.check(axis != node.rank(x) - 1, "the last axis holds real and imaginary parts");
  Transform of{node.shape(x)[at(axis)], node.integer("inverse", 0) != 0, node.integer("onesided", 0) != 0};
  if (of.inverse && of.onesided) of.length = 2 * (of.length - 1);
  if (node.has_input(1)) of.length = number_at(node, 1, "dft_length");
  node.check(of.length >= 1, "the length must be at least 1");
  node.give(0, transformed(node, x, at(axis), of));
}

void stft(Lowering& node) {
  const ValueId x = node.input(0), window = node.optional_input(2);
  check_parts(node, x);
  node.check(node.rank(x) == 3, "the signal must be [batch, length, parts]");
  const core::Shape signal = node.shape(x);
  std::int64_t length = window == kNone ? signal[1] : core::element_count(node.shape(window));
  if (node.has_input(3)) length = number_at(node, 3, "frame_length");
  const std::int64_t step = number_at(node, 1, "frame_step");
  node.check(step >= 1 && length >= 1 && length <= signal[1],
             "frames of " + std::to_string(length) + " elements do not fit the signal");
  node.check(window == kNone || node.shape(window) == core::Shape{length}, "the window does not fit frames");
  const std::int64_t frames = (signal[1] - length) / step + 1;
  std::vector<std::int64_t> places;
  for (std::int64_t i = 0; i < frames * length; ++i) places.push_back(i / length * step + i % length);
  const ValueId indices = node.reshape(node.builder().add_integers(places), {frames, length});
  ValueId parts = node.emit(Gather{1}, {x, indices}, node.dtype(x), {signal[0], frames, length, signal[2]});
  if (window != kNone) {
    const ValueId column = node.reshape(window, {length, 1});
    parts = node.emit_like(Binary{BinaryFunction::mul, {}}, {parts, column}, parts);
  }
  node.give(0, transformed(node, parts, 2, {length, false, node.integer("onesided", 1) != 0}));
}

/// a − b · cos(x) + c · cos(2 x) over one period; the last element is the first again where not `periodic`.
void window_function(Lowering& node, double a, double b, double c) {
  const std::int64_t size = number_at(node, 0, "size");
  node.check(size >= 0, "the size must not be negative");
  check_constant(DType::f64, {size}, 0);
  core::Tensor values(DType::f64, {size});
  const std::int64_t period = std::max<std::int64_t>(node.integer("periodic", 1) != 0 ? size : size - 1, 1);
  for (std::int64_t i = 0; i < size; ++i) {
    const double x = 2 * std::numbers::pi * static_cast<double>(i) / static_cast<double>(period);
    values.write().as<double>()[i] = a - b * std::cos(x) + c * std::cos(2 * x);
  }
  node.give(0, node.constant(std::move(values), dtype_of_onnx(node.integer("output_datatype", 1))));
}

/// Triangles over the bins of a spectrum, at even distances in mel (2595 · log10(1 + f / 700)): [bins, triangles].
void mel_weights(Lowering& node) {
  const std::int64_t triangles = number_at(node, 0, "num_mel_bins"),
                     length = number_at(node, 1, "dft_length"), rate = number_at(node, 2, "sample_rate");
  const auto edges = std::array{node.numbers_of(3), node.numbers_of(4)};
  node.check(triangles >= 0 && length >= 0 && rate >= 1 && edges[0].size() == 1 && edges[1].size() == 1,
             "num_mel_bins, dft_length, sample_rate and both edges must be single numbers, none negative");
  const std::int64_t bins = length / 2 + 1;
  const auto mel = [](double hertz) { return 2595 * std::log1p(hertz / 700) / std::numbers::ln10; };
  const double low = mel(edges[0][0]), step = (mel(edges[1][0]) - low) / static_cast<double>(triangles + 2);
  const auto bin_of = [&](std::int64_t i) {
    const double hertz = 700 * std::expm1((static_cast<double>(i) * step + low) / 2595 * std::numbers::ln10);
    const double bin = std::floor(static_cast<double>(length + 1) * hertz / static_cast<double>(rate));
    node.check(bin >= 0 && bin < static_cast<double>(bins), "the edges reach beyond the spectrum");
    return static_cast<std::int64_t>(bin);
  };
  check_constant(DType::f64, {bins, triangles}, 0);
  core::Tensor weights(DType::f64, {bins, triangles});
  auto* const to = weights.write().as<double>();
  const auto slope = [](std::int64_t part, std::int64_t whole) {
    return static_cast<double>(part) / static_cast<double>(whole);
  };
  for (std::int64_t i = 0; i < triangles; ++i) {
    const std::int64_t first = bin_of(i), middle = bin_of(i + 1), last = bin_of(i + 2);
    if (first == middle) to[middle * triangles + i] = 1;
    for (std::int64_t k = first; k <= middle && first != middle; ++k)
      to[k * triangles + i] = slope(k - first, middle - first);
    for (std::int64_t k = middle; k < last; ++k) to[k * triangles + i] = slope(last - k, last - middle);
  }
  node.give(0, node.constant(std::move(weights), dtype_of_onnx(node.integer("output_datatype", 1))));
}

}  // namespace

void add_signal_rules(Rules& rules) {
  rules["DFT"] = dft;
  rules["STFT"] = stft;
  rules["MelWeightMatrix"] = mel_weights;
  rules["HannWindow"] = [](Lowering& node) { window_function(node, 0.5, 0.5, 0); };
  rules["HammingWindow"] = [](Lowering& node) { window_function(node, 25.0 / 46, 21.0 / 46, 0); };
  rules["BlackmanWindow"] = [](Lowering& node) { window_function(node, 0.42, 0.5, 0.08); };
}

}  // namespace rdquant::program
