// MaxPool, AveragePool, LpPool and their global kin; MaxUnpool; RoiAlign, MaxRoiPool.
#include <algorithm>
#include <utility>

#include "program/lower/lowering.hpp"

namespace rdquant::program {
namespace {

/// Nothing is pooled from images without pixels or channels; a batch without images is fine.
void check_image(const Lowering& node, const core::Shape& image) {
  node.check(core::element_count(image) > 0 || image[0] == 0,
             "the input has shape " + core::shape_text(image) + ": no axis but the first may be of size 0");
}

/// Sizes after the window. One that is larger than the padded image by less than its stride still has one place, for
/// ONNX Runtime, which many networks were exported for, rounds towards 0.
core::Shape pooled_sizes(const Lowering& node, const core::Shape& image, const Window& window,
                         bool round_up) {
  core::Shape sizes;
  for (std::size_t i = 0; i < window.kernel.size(); ++i) {
    const std::int64_t room = room_of(image, window, i), stride = window.strides[i];
    std::int64_t size = room / stride + 1;
    if (size < 0) refuse_window(node, image, window, i);
    // No window may begin in the padding at the end.
    if (round_up && room > 0 && room % stride != 0 && size * stride < image[i + 2] + window.pads_begin[i])
      ++size;
    sizes.push_back(size);
  }
  return sizes;
}

/// Pads that the windows reach at the end.
void stretch_pads(Window& window, const core::Shape& image, const core::Shape& sizes) {
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const std::int64_t extent = (window.kernel[i] - 1) * window.dilations[i] + 1;
    const std::int64_t reach = (sizes[i] - 1) * window.strides[i] + extent;
    window.pads_end[i] = std::max(window.pads_end[i], reach - image[i + 2] - window.pads_begin[i]);
  }
}

template <PoolFunction function>
void pool(Lowering& node) {
  const ValueId x = node.input(0);
  const core::Shape image = node.shape(x);
  Pool op;
  op.function = function;
  op.window = window_of(node, image, node.integers("kernel_shape"));
  check_image(node, image);
  op.count_include_pad = node.integer("count_include_pad", 0) != 0;
  op.p = node.integer("p", 2);
  op.column_major_indices = node.integer("storage_order", 0) != 0;
  const bool round_up = node.integer("ceil_mode", 0) != 0;
  const core::Shape sizes = pooled_sizes(node, image, op.window, round_up);
  op.counted_pads_end = op.window.pads_end;
  stretch_pads(op.window, image, sizes);
  if (!round_up) op.counted_pads_end = op.window.pads_end;
  core::Shape out = {image[0], image[1]};
  std::ranges::copy(sizes, std::back_inserter(out));
  std::vector<Builder::Output> outputs = {{node.dtype(x), out}};
  if (function == PoolFunction::max) outputs.push_back({core::DType::i64, out});
  node.give_all(std::move(op), {x}, std::move(outputs));
}

template <PoolFunction function>
void global_pool(Lowering& node) {
  const ValueId x = node.input(0);
  const core::Shape image = node.shape(x);
  node.check(image.size() >= 3, "the input has shape " + core::shape_text(image) + ", fewer than 3 axes");
  check_image(node, image);
  const std::size_t axes = image.size() - 2;
  Pool op;
  op.function = function;
  op.window = {{image.begin() + 2, image.end()},
               core::Shape(axes, 1),
               core::Shape(axes, 1),
               core::Shape(axes, 0),
               core::Shape(axes, 0)};
  op.counted_pads_end = op.window.pads_end;
  op.p = node.integer("p", 2);
  core::Shape out(image.size(), 1);
  out[0] = image[0];
  out[1] = image[1];
  node.give(0, node.emit(std::move(op), {x}, node.dtype(x), std::move(out)));
}

/// Maxima go back to where MaxPool took them from, counted over the whole tensor; zeros stand everywhere else.
void max_unpool(Lowering& node) {
  const ValueId x = node.input(0), indices = node.input(1);
  const core::DType dtype = node.dtype(x);
  const core::Shape image = node.shape(x);
  node.check(node.shape(indices) == image, "indices of shape " + core::shape_text(node.shape(indices)) +
                                               " do not fit an input of shape " + core::shape_text(image));
  const Window window = window_of(node, image, node.integers("kernel_shape"));
  core::Shape out = {image[0], image[1]};
  for (std::size_t i = 0; i < window.kernel.size(); ++i) {
    out.push_back((image[i + 2] - 1) * window.strides[i] + window.kernel[i] - window.pads_begin[i] -
                  window.pads_end[i]);
    node.check(out.back() >= 0, "the padding leaves nothing");
  }
  const core::Shape all = {core::element_count(image)}, places = {core::element_count(out)};
  check_constant(dtype, places, 0);
  const ValueId zeros = node.builder().add_constant(core::Tensor(dtype, places));
  const ValueId flat =
      node.emit(ScatterElements{}, {zeros, node.reshape(indices, all), node.reshape(x, all)}, dtype, places);
  const ValueId unpooled = node.reshape(flat, out);
  if (!node.has_input(2)) return node.give(0, unpooled);
  const core::Shape wanted = node.integers_of(2);
  Pad pad{PadMode::constant, core::Shape(out.size(), 0), {}};
  bool fits = wanted.size() == out.size();
  for (std::size_t i = 0; fits && i < out.size(); ++i) {
    fits = wanted[i] >= out[i];
    pad.ends.push_back(wanted[i] - out[i]);
  }
  node.check(fits, "output_shape " + core::shape_text(wanted) + " is smaller than the " +
                       core::shape_text(out) + " that the window asks for");
  node.give(0, node.emit(std::move(pad), {unpooled}, dtype, wanted));
}

/// Regions of `numbers` numbers each, cut into bins of the sizes given.
void give_regions(Lowering& node, const RoiPool& op, std::vector<ValueId> inputs, std::int64_t numbers,
                  const core::Shape& bins) {
  const core::Shape image = node.shape(inputs[0]), regions = node.shape(inputs[1]);
  node.check(image.size() == 4 && regions.size() == 2 && regions[1] == numbers,
             "regions of shape " + core::shape_text(regions) + " do not fit an input of shape " +
                 core::shape_text(image) + ": images and [regions, " + std::to_string(numbers) +
                 "] are needed");
  node.check(bins.size() == 2 && std::ranges::all_of(bins, [](auto n) { return n >= 1 && n <= kMostSize; }),
             "regions cannot be cut into " + core::shape_text(bins) + " bins");
  const core::Shape out = {regions[0], image[1], bins[0], bins[1]};
  const bool nothing = core::element_count(out) == 0;
  node.check(nothing || core::element_count(image) > 0, "the input has no elements");
  const core::DType dtype = node.dtype(inputs[0]);
  node.give(0, node.emit(op, std::move(inputs), dtype, out));
}

void roi_align(Lowering& node) {
  RoiPool op;
  const std::string mode = node.text("mode", "avg"),
                    corners = node.text("coordinate_transformation_mode",
                                        node.opset() < 16 ? "output_half_pixel" : "half_pixel");
  if (mode == "max") {
    op.function = RoiFunction::max;
  } else if (mode != "avg") {
    node.unsupported("mode '" + mode + "'; 'avg' and 'max' are allowed");
  }
  if (corners == "half_pixel") {
    op.offset = 0.5F;
  } else if (corners != "output_half_pixel") {
    node.unsupported("coordinate_transformation_mode '" + corners +
                     "'; 'half_pixel' and 'output_half_pixel' are allowed");
  }
  op.scale = node.real("spatial_scale", 1);
  op.samples = node.integer("sampling_ratio", 0);
  node.check(op.samples >= 0 && op.samples <= 4096, "sampling_ratio must be from 0 to 4096");
  const ValueId regions = node.input(1), images = node.input(2);
  node.check(node.shape(images) == core::Shape{node.shape(regions).empty() ? 0 : node.shape(regions)[0]},
             "batch_indices of shape " + core::shape_text(node.shape(images)) +
                 " do not fit regions of shape " + core::shape_text(node.shape(regions)));
  give_regions(node, op, {node.input(0), regions, images}, 4,
               {node.integer("output_height", 1), node.integer("output_width", 1)});
}

void max_roi_pool(Lowering& node) {
  RoiPool op;
  op.function = RoiFunction::elements;
  op.scale = node.real("spatial_scale", 1);
  give_regions(node, op, {node.input(0), node.input(1)}, 5, node.integers("pooled_shape"));
}

}  // namespace

void add_pool_rules(Rules& rules) {
  rules["MaxPool"] = pool<PoolFunction::max>;
  rules["AveragePool"] = pool<PoolFunction::average>;
  rules["MaxUnpool"] = max_unpool;
  rules["RoiAlign"] = roi_align;
  rules["MaxRoiPool"] = max_roi_pool;
  rules["LpPool"] = pool<PoolFunction::lp>;
  rules["GlobalMaxPool"] = global_pool<PoolFunction::max>;
  rules["GlobalAveragePool"] = global_pool<PoolFunction::average>;
  rules["GlobalLpPool"] = global_pool<PoolFunction::lp>;
}

}  // namespace rdquant::program
