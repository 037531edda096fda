// Conv, ConvTranspose.
#include <algorithm>
#include <utility>

#include "program/lower/lowering.hpp"

namespace rdquant::program {
namespace {

core::Shape spatial(const core::Shape& shape) {
  return {shape.begin() + std::min<std::ptrdiff_t>(2, std::ssize(shape)), shape.end()};
}

std::vector<std::int64_t> kernel_of(const Lowering& node, const core::Shape& weights) {
  node.check(weights.size() >= 3,
             "the weights have shape " + core::shape_text(weights) + ", fewer than 3 axes");
  const core::Shape kernel = spatial(weights);
  node.check(node.integers("kernel_shape", kernel) == kernel,
             "kernel_shape contradicts the weights' shape " + core::shape_text(weights));
  return kernel;
}

void check_bias(Lowering& node, ValueId bias, std::int64_t channels) {
  if (bias == kNone) return;
  node.check(node.shape(bias) == core::Shape{channels}, "the bias has shape " +
                                                            core::shape_text(node.shape(bias)) +
                                                            ", wanted [" + std::to_string(channels) + "]");
}

void conv(Lowering& node) {
  const ValueId x = node.input(0), w = node.input(1), bias = node.optional_input(2);
  auto [op, out] = convolution_of(node, x, w);
  check_bias(node, bias, out[1]);
  node.give(0, node.emit(std::move(op), {x, w, bias}, node.dtype(x), std::move(out)));
}

/// Sets the pads of a transposed convolution and gives its output sizes (ONNX, ConvTranspose).
core::Shape transposed_sizes(const Lowering& node, const core::Shape& image, Window& window) {
  const std::size_t axes = window.kernel.size();
  const auto extra = node.integers("output_padding", core::Shape(axes, 0));
  const auto wanted = node.integers("output_shape");
  const std::string automatic = node.text("auto_pad", "NOTSET");
  node.check(extra.size() == axes && (wanted.empty() || wanted.size() >= axes),
             "output_padding and output_shape must fit " + std::to_string(axes) + " axes");
  const auto within = [](std::int64_t v) { return v >= 0 && v <= kMostWindow; };
  node.check(std::ranges::all_of(extra, within) && std::ranges::all_of(wanted, within),
             "output_padding and output_shape may be 0 to 2^30");
  core::Shape sizes(axes);
  for (std::size_t i = 0; i < axes; ++i) {
    const std::int64_t full =
        window.strides[i] * (image[i + 2] - 1) + extra[i] + (window.kernel[i] - 1) * window.dilations[i] + 1;
    const bool same = automatic.starts_with("SAME");
    if (wanted.empty() && !same) {
      sizes[i] = full - window.pads_begin[i] - window.pads_end[i];
    } else {
      sizes[i] = wanted.empty() ? image[i + 2] * window.strides[i] : wanted[wanted.size() - axes + i];
      const std::int64_t total = std::max<std::int64_t>(0, full - sizes[i]);
      const std::int64_t small = total / 2;
      window.pads_begin[i] = automatic == "SAME_UPPER" ? small : total - small;
      window.pads_end[i] = total - window.pads_begin[i];
    }
    node.check(sizes[i] >= 0, "the output would have a negative size");
  }
  return sizes;
}

void conv_transpose(Lowering& node) {
  const ValueId x = node.input(0), w = node.input(1), bias = node.optional_input(2);
  const core::Shape image = node.shape(x), weights = node.shape(w);
  TransposedConvolution op;
  op.window = window_of(node, image, kernel_of(node, weights));
  op.groups = node.integer("group", 1);
  node.check(
      op.groups >= 1 && op.groups <= kMostSize && image[1] == weights[0] && weights[0] % op.groups == 0,
      "input " + core::shape_text(image) + " and weights " + core::shape_text(weights) + " do not fit " +
          std::to_string(op.groups) + " groups");
  check_bias(node, bias, weights[1] * op.groups);
  core::Shape out = {image[0], weights[1] * op.groups};
  std::ranges::copy(transposed_sizes(node, image, op.window), std::back_inserter(out));
  node.give(0, node.emit(std::move(op), {x, w, bias}, node.dtype(x), std::move(out)));
}

}  // namespace

std::pair<Convolution, core::Shape> convolution_of(Lowering& node, ValueId x, ValueId w) {
  const core::Shape image = node.shape(x), weights = node.shape(w);
  Convolution op;
  op.window = window_of(node, image, kernel_of(node, weights));
  op.groups = node.integer("group", 1);
  node.check(op.groups >= 1 && op.groups <= kMostSize && image[1] == weights[1] * op.groups &&
                 weights[0] % op.groups == 0,
             "input " + core::shape_text(image) + " and weights " + core::shape_text(weights) +
                 " do not fit " + std::to_string(op.groups) + " groups");
  core::Shape out = {image[0], weights[0]};
  std::ranges::copy(output_sizes(node, image, op.window), std::back_inserter(out));
  return {std::move(op), std::move(out)};
}

void add_convolution_rules(Rules& rules) {
  rules["Conv"] = conv;
  rules["ConvTranspose"] = conv_transpose;
}

}  // namespace rdquant::program
