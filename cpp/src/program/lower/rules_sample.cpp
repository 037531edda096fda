// GridSample, AffineGrid, Col2Im.
#include <algorithm>
#include <utility>

#include "program/lower/lowering.hpp"

namespace rdquant::program {
namespace {

void grid_sample(Lowering& node) {
  const ValueId x = node.input(0), grid = node.input(1);
  const core::Shape image = node.shape(x), places = node.shape(grid);
  const auto axes = std::ssize(image) - 2;
  node.check(axes >= 1 && axes <= 3 && places.size() == image.size() && places.back() == axes &&
                 places[0] == image[0],
             "a grid of shape " + core::shape_text(places) + " does not fit an input of shape " +
                 core::shape_text(image) + ", of 1 to 3 axes of space");
  GridSample op;
  const std::string mode = node.text("mode", "linear"), padding = node.text("padding_mode", "zeros");
  if (mode == "nearest") {
    op.mode = ResizeMode::nearest;
  } else if (mode == "cubic" || mode == "bicubic") {
    op.mode = ResizeMode::cubic;
  } else if (mode == "linear" || mode == "bilinear") {
    op.mode = ResizeMode::linear;
  } else {
    node.unsupported("mode '" + mode + "'");
  }
  if (padding == "border") {
    op.padding = GridPadding::border;
  } else if (padding == "reflection") {
    op.padding = GridPadding::reflection;
  } else if (padding != "zeros") {
    node.unsupported("padding_mode '" + padding + "'");
  }
  op.align_corners = node.integer("align_corners", 0) != 0;
  core::Shape out = {image[0], image[1]};
  out.insert(out.end(), places.begin() + 1, places.end() - 1);
  const bool nothing = std::ranges::find(out, 0) != out.end();
  node.check(nothing || std::ranges::find(image, 0) == image.end(), "the input has no elements");
  node.give(0, node.emit(op, {x, grid}, node.dtype(x), std::move(out)));
}

/// Coordinates of every element as rows (x, y, z, 1), the innermost axis first, −1 … 1 as GridSample takes them.
ValueId coordinates_of(Lowering& node, core::Shape sizes, bool align_corners, core::DType dtype) {
  const auto axes = std::ssize(sizes);
  const core::Shape shape = {core::element_count(sizes), axes + 1};
  check_constant(core::DType::f64, shape, 0);
  core::Tensor places(core::DType::f64, shape);
  auto* to = places.write().as<double>();
  for (std::int64_t i = 0; i < shape[0]; ++i) {
    std::int64_t rest = i;
    for (auto size = sizes.rbegin(); size != sizes.rend(); ++size) {
      const auto place = static_cast<double>(rest % *size), count = static_cast<double>(*size);
      *to++ = align_corners ? (*size == 1 ? -1 : 2 * place / (count - 1) - 1) : (2 * place + 1) / count - 1;
      rest /= *size;
    }
    *to++ = 1;
  }
  const ValueId id = node.builder().add_constant(std::move(places));
  return dtype == core::DType::f64 ? id : node.emit(Cast{}, {id}, dtype, shape);
}

void affine_grid(Lowering& node) {
  const ValueId theta = node.input(0);
  const core::Shape size = node.integers_of(1), &matrices = node.shape(theta);
  const auto axes = std::ssize(size) - 2;
  const auto within = [](std::int64_t v) { return v >= 0 && v <= kMostSize; };
  node.check(
      (axes == 2 || axes == 3) && std::ranges::all_of(size, within) &&
          matrices == core::Shape{size[0], axes, axes + 1},
      "matrices of shape " + core::shape_text(matrices) + " do not fit a size of " + core::shape_text(size));
  const core::DType dtype = node.dtype(theta);
  const core::Shape sizes(size.begin() + 2, size.end());
  const ValueId places = coordinates_of(node, sizes, node.integer("align_corners", 0) != 0, dtype);
  MatMul op;
  op.transpose_b = true;
  core::Shape out = {size[0]};
  out.insert(out.end(), sizes.begin(), sizes.end());
  out.push_back(axes);
  const ValueId whole = node.reshape(places, {1, node.shape(places)[0], axes + 1});
  const ValueId grid = node.emit(op, {whole, theta}, dtype, {size[0], core::element_count(sizes), axes});
  node.give(0, node.reshape(grid, std::move(out)));
}

/// Window and blocks per axis of a Col2Im, checked against the blocks that there are.
core::Shape blocks_of(const Lowering& node, const core::Shape& image, const Window& window,
                      std::int64_t found) {
  core::Shape blocks;
  for (std::size_t i = 0; i < image.size(); ++i) {
    const std::int64_t reach = window.dilations[i] * (window.kernel[i] - 1) + 1;
    const std::int64_t room = image[i] + window.pads_begin[i] + window.pads_end[i] - reach;
    node.check(room >= 0, "a block is larger than the image");
    blocks.push_back(room / window.strides[i] + 1);
  }
  node.check(core::element_count(blocks) == found, "there are " + std::to_string(found) + " blocks, but " +
                                                       core::shape_text(blocks) + " fit the image");
  return blocks;
}

/// One weight of 1 for each place in the block: [channels · places, 1, kernel].
ValueId scattering_weights(Lowering& node, core::DType dtype, std::int64_t channels,
                           const core::Shape& kernel) {
  const std::int64_t places = core::element_count(kernel);
  check_constant(core::DType::f32, {channels, places, places}, 0);
  core::Tensor weights(core::DType::f32, {channels, places, places});
  float* to = weights.write().as<float>();
  for (std::int64_t i = 0; i < channels * places; ++i) to[i * places + i % places] = 1;
  core::Shape shape = {channels * places, 1};
  shape.insert(shape.end(), kernel.begin(), kernel.end());
  const ValueId id = node.reshape(node.builder().add_constant(std::move(weights)), shape);
  return dtype == core::DType::f32 ? id : node.emit(Cast{}, {id}, dtype, shape);
}

/// Blocks side by side, which do not overlap: their elements only change places.
ValueId tiled(Lowering& node, ValueId x, const core::Shape& kernel, const core::Shape& blocks,
              const core::Shape& out) {
  const core::DType dtype = node.dtype(x);
  const auto axes = std::ssize(kernel);
  core::Shape apart = {out[0], out[1]}, together = apart;
  apart.insert(apart.end(), kernel.begin(), kernel.end());
  apart.insert(apart.end(), blocks.begin(), blocks.end());
  Transpose transpose{{0, 1}};
  for (std::int64_t i = 0; i < axes; ++i) {
    transpose.permutation.insert(transpose.permutation.end(), {2 + axes + i, 2 + i});
    together.insert(together.end(), {blocks[at(i)], kernel[at(i)]});
  }
  const ValueId moved = node.emit(std::move(transpose), {node.reshape(x, std::move(apart))}, dtype, together);
  return node.reshape(moved, out);
}

/// Sums of blocks that overlap are a transposed convolution with weights of 1.
void col2im(Lowering& node) {
  const ValueId x = node.input(0);
  const core::Shape image = node.integers_of(1), kernel = node.integers_of(2), columns = node.shape(x);
  const auto within = [](std::int64_t v) { return v >= 1 && v <= kMostWindow; };
  node.check(!image.empty() && image.size() <= 3 && image.size() == kernel.size() && columns.size() == 3 &&
                 std::ranges::all_of(image, within) && std::ranges::all_of(kernel, within),
             "image_shape and block_shape must be 1 to 3 sizes, the input [n, channels · block, blocks]");
  core::Shape whole = {columns[0], 1};
  whole.insert(whole.end(), image.begin(), image.end());
  const Window window = window_of(node, whole, kernel);
  const core::Shape blocks = blocks_of(node, image, window, columns[2]);
  const std::int64_t places = core::element_count(kernel);
  node.check(columns[1] % places == 0, "channels of " + core::shape_text(columns) + " do not fit blocks of " +
                                           core::shape_text(kernel));
  whole[1] = columns[1] / places;
  const bool padded = std::ranges::any_of(window.pads_begin, [](auto p) { return p != 0; }) ||
                      std::ranges::any_of(window.pads_end, [](auto p) { return p != 0; });
  core::Shape covered;
  for (std::size_t i = 0; i < kernel.size(); ++i) covered.push_back(blocks[i] * kernel[i]);
  const bool dense = std::ranges::all_of(window.dilations, [](auto d) { return d == 1; });
  if (!padded && dense && window.strides == kernel && covered == image)
    return node.give(0, tiled(node, x, kernel, blocks, whole));
  const core::DType dtype = node.dtype(x);
  core::Shape spread = {columns[0], columns[1]};
  spread.insert(spread.end(), blocks.begin(), blocks.end());
  const ValueId weights = scattering_weights(node, dtype, whole[1], kernel);
  const TransposedConvolution op{window, whole[1], {}};
  node.give(0, node.emit(op, {node.reshape(x, spread), weights}, dtype, whole));
}

}  // namespace

void add_sample_rules(Rules& rules) {
  rules["GridSample"] = grid_sample;
  rules["AffineGrid"] = affine_grid;
  rules["Col2Im"] = col2im;
}

}  // namespace rdquant::program
