// Resize (opset 10 to 19) and Upsample.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "program/lower/lowering.hpp"

namespace rdquant::program {
namespace {

ResizeMode mode_of(const Lowering& node) {
  const std::string mode = node.text("mode", "nearest");
  if (mode == "nearest") return ResizeMode::nearest;
  if (mode == "linear" || mode == "bilinear") return ResizeMode::linear;
  if (mode == "cubic") return ResizeMode::cubic;
  node.unsupported("mode '" + mode + "'");
}

Coordinates coordinates_of(const Lowering& node) {
  const std::string name = node.text("coordinate_transformation_mode", "half_pixel");
  if (name == "half_pixel") return Coordinates::half_pixel;
  if (name == "half_pixel_symmetric") return Coordinates::half_pixel_symmetric;
  if (name == "pytorch_half_pixel") return Coordinates::pytorch_half_pixel;
  if (name == "align_corners") return Coordinates::align_corners;
  if (name == "asymmetric") return Coordinates::asymmetric;
  if (name == "tf_crop_and_resize") return Coordinates::crop_and_resize;
  node.unsupported("coordinate_transformation_mode '" + name + "'");
}

Nearest nearest_of(const Lowering& node) {
  const std::string name = node.text("nearest_mode", "round_prefer_floor");
  if (name == "round_prefer_floor") return Nearest::round_prefer_floor;
  if (name == "round_prefer_ceil") return Nearest::round_prefer_ceil;
  if (name == "floor") return Nearest::floor;
  if (name == "ceil") return Nearest::ceil;
  node.unsupported("nearest_mode '" + name + "'");
}

/// Sizes after `scales`, one per axis; their products in float, as ONNX Runtime and PyTorch have them: 50 elements
/// at a scale of 1.3f make 65, though 1.3f lies just below 1.3.
core::Shape scaled(const Lowering& node, const core::Shape& shape, const std::vector<float>& scales) {
  node.check(scales.size() == shape.size(), "scales must hold one number per axis");
  core::Shape out;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const double size = std::floor(static_cast<double>(static_cast<float>(shape[i]) * scales[i]));
    node.check(scales[i] > 0 && size < static_cast<double>(kMostSize),
               "a scale of " + std::to_string(scales[i]) + " is not valid for an input of shape " +
                   core::shape_text(shape) + ": scales are above 0, and sizes at most " +
                   std::to_string(kMostSize));
    out.push_back(static_cast<std::int64_t>(size));
  }
  return out;
}

void finish(Lowering& node, Resize op, core::Shape shape) {
  const ValueId x = node.input(0);
  const bool still = shape == node.shape(x) && std::ranges::all_of(op.scales, [](float s) { return s == 1; });
  if (still && op.coordinates != Coordinates::crop_and_resize) return node.give(0, x);
  node.give(0, node.emit(std::move(op), {x}, node.dtype(x), std::move(shape)));
}

/// Upsample, and Resize as opset 10 had it.
void early(Lowering& node) {
  Resize op;
  op.mode = mode_of(node);
  op.coordinates = Coordinates::asymmetric;
  op.nearest = Nearest::floor;
  if (node.has("scales")) {
    op.scales = node.reals("scales");
  } else {
    for (const double s : node.numbers_of(1)) op.scales.push_back(static_cast<float>(s));
  }
  core::Shape shape = scaled(node, node.shape(node.input(0)), op.scales);
  finish(node, std::move(op), std::move(shape));
}

/// Sizes for the axes named, of which the ratio may have to be kept; sets the scales.
core::Shape sized(Lowering& node, const std::vector<std::int64_t>& axes, Resize& op) {
  core::Shape shape = node.shape(node.input(0));
  const core::Shape from = shape;
  const auto sizes = node.integers_of(3);
  node.check(sizes.size() == axes.size(), "sizes must hold one number per axis");
  const std::string policy = node.text("keep_aspect_ratio_policy", "stretch");
  const bool larger = policy == "not_smaller";
  double common = larger ? 0 : 1e30;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const auto axis = static_cast<std::size_t>(axes[i]);
    const bool nothing = from[axis] == 0 && sizes[i] == 0;  // a batch without images stays one
    node.check(nothing || (sizes[i] >= 0 && sizes[i] <= kMostSize && from[axis] > 0),
               "an input of shape " + core::shape_text(from) + " cannot have " + std::to_string(sizes[i]) +
                   " for the size of axis " + std::to_string(axis));
    const double scale = nothing ? 1 : static_cast<double>(sizes[i]) / static_cast<double>(from[axis]);
    common = larger ? std::max(common, scale) : std::min(common, scale);
    shape[axis] = sizes[i];
    op.scales[axis] = static_cast<float>(scale);
  }
  if (policy == "stretch") return shape;
  if (policy != "not_larger" && policy != "not_smaller")
    node.unsupported("keep_aspect_ratio_policy '" + policy + "'");
  for (const std::int64_t a : axes) {
    const auto axis = static_cast<std::size_t>(a);
    shape[axis] = static_cast<std::int64_t>(std::floor(common * static_cast<double>(from[axis]) + 0.5));
    op.scales[axis] = static_cast<float>(common);
  }
  return shape;
}

void set_roi(Lowering& node, const std::vector<std::int64_t>& axes, std::size_t rank, Resize& op) {
  if (op.coordinates != Coordinates::crop_and_resize) return;
  const auto given = node.numbers_of(1);
  node.check(given.size() == 2 * axes.size(), "roi must hold two numbers per axis");
  op.roi.assign(2 * rank, 0);
  std::fill(op.roi.begin() + static_cast<std::ptrdiff_t>(rank), op.roi.end(), 1.0F);
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const auto axis = static_cast<std::size_t>(axes[i]);
    op.roi[axis] = static_cast<float>(given[i]);
    op.roi[axis + rank] = static_cast<float>(given[i + axes.size()]);
  }
}

void resize(Lowering& node) {
  if (node.opset() < 11) return early(node);
  const ValueId x = node.input(0);
  const core::Shape from = node.shape(x);
  Resize op;
  op.mode = mode_of(node);
  op.coordinates = coordinates_of(node);
  op.nearest = nearest_of(node);
  op.cubic_coefficient = node.real("cubic_coeff_a", -0.75F);
  op.extrapolation = node.real("extrapolation_value", 0);
  op.exclude_outside = node.integer("exclude_outside", 0) != 0;
  op.antialias = node.integer("antialias", 0) != 0;
  op.scales.assign(from.size(), 1.0F);
  std::vector<std::int64_t> axes(from.size());
  std::iota(axes.begin(), axes.end(), 0);
  for (std::int64_t& a : axes = node.integers("axes", axes)) a = node.axis(a, node.rank(x));
  set_roi(node, axes, from.size(), op);
  // Opset 11 marks a left-out input by an empty tensor, too.
  const bool by_scale = node.has_input(2) && core::element_count(node.shape(node.input(2))) > 0;
  if (!by_scale) {
    node.check(node.has_input(3), "scales or sizes are missing");
    core::Shape shape = sized(node, axes, op);
    return finish(node, std::move(op), std::move(shape));
  }
  const auto scales = node.numbers_of(2);
  node.check(scales.size() == axes.size(), "scales must hold one number per axis");
  for (std::size_t i = 0; i < axes.size(); ++i) {
    op.scales[static_cast<std::size_t>(axes[i])] = static_cast<float>(scales[i]);
  }
  core::Shape shape = scaled(node, from, op.scales);
  finish(node, std::move(op), std::move(shape));
}

}  // namespace

void add_resize_rules(Rules& rules) {
  rules["Resize"] = resize;
  rules["Upsample"] = early;
}

}  // namespace rdquant::program
