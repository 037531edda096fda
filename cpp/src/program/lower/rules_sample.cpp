// GridSample, AffineGrid, DeformConv, Col2Im.
#include <algorithm>
#include <array>
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
  return node.constant(std::move(places), dtype);
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

/// Where the taps of a window lie around each place of the output before they are moved, as GridSample takes them:
/// [taps, 2 (y, x), places].
ValueId resting_taps(Lowering& node, const core::Shape& image, const Window& window, const core::Shape& out,
                     core::DType dtype) {
  const std::int64_t taps = core::element_count(window.kernel), places = out[0] * out[1];
  const core::Shape shape = {taps, 2, places};
  check_constant(core::DType::f64, shape, 0);
  core::Tensor data(core::DType::f64, shape);
  auto* to = data.write().as<double>();
  for (std::int64_t tap = 0; tap < taps; ++tap) {
    const std::array<std::int64_t, 2> of_tap = {tap / window.kernel[1], tap % window.kernel[1]};
    for (std::size_t axis = 0; axis < 2; ++axis) {
      const std::int64_t start = of_tap[axis] * window.dilations[axis] - window.pads_begin[axis];
      for (std::int64_t place = 0; place < places; ++place) {
        const std::int64_t step = axis == 0 ? place / out[1] : place % out[1];
        const auto at_rest = static_cast<double>(start + step * window.strides[axis]);
        *to++ = (2 * at_rest + 1) / static_cast<double>(image[axis + 2]) - 1;
      }
    }
  }
  return node.constant(std::move(data), dtype);
}

/// The taps of a window, each moved by its offset: offsets [n, taps · 2 (y, x), places] as a grid
/// [n, taps, places, 2 (x, y)].
ValueId moved_taps(Lowering& node, ValueId offsets, const core::Shape& image, const Window& window,
                   const core::Shape& out) {
  const core::DType dtype = node.dtype(offsets);
  const core::Shape &found = node.shape(offsets), whole = {found[0], found[1] / 2, 2, found[2]};
  core::Tensor scales(core::DType::f64, {2, 1});
  for (std::size_t i = 0; i < 2; ++i) scales.write().as<double>()[i] = 2 / static_cast<double>(image[i + 2]);
  const ValueId scale = node.constant(std::move(scales), dtype);
  const ValueId moves = combined(node, BinaryFunction::mul, node.reshape(offsets, whole), scale);
  const ValueId taps =
      combined(node, BinaryFunction::add, moves, resting_taps(node, image, window, out, dtype));
  const ValueId turned = node.emit(Slice{{0, 0, 1, 0}, {1, 1, -1, 1}}, {taps}, dtype, whole);
  return node.emit(Transpose{{0, 1, 3, 2}}, {turned}, dtype, {whole[0], whole[1], whole[3], 2});
}

/// A deformable convolution is the product of its weights with what a bilinear GridSample finds at its taps.
void deformable_convolution(Lowering& node) {
  const ValueId x = node.input(0), w = node.input(1), offsets = node.input(2);
  const ValueId bias = node.optional_input(3), mask = node.optional_input(4);
  const core::DType dtype = node.dtype(x);
  const core::Shape image = node.shape(x), weights = node.shape(w);
  if (image.size() != 4) node.unsupported("an input of shape " + core::shape_text(image));
  node.check_same_type(std::array{x, w, offsets, bias, mask});
  const std::int64_t groups = node.integer("group", 1), parts = node.integer("offset_group", 1);
  const auto divides = [](std::int64_t by, std::int64_t size) { return by >= 1 && size % by == 0; };
  node.check(divides(groups, image[1]) && divides(parts, image[1]) && weights.size() == 4 &&
                 divides(groups, weights[0]) && weights[1] * groups == image[1],
             "weights of shape " + core::shape_text(weights) + " do not fit an input of shape " +
                 core::shape_text(image) + " in " + std::to_string(groups) + " groups, or its channels " +
                 std::to_string(parts) + " groups of offsets");
  const Window window = window_of(node, image, {weights[2], weights[3]});
  const core::Shape sizes = output_sizes(node, image, window);
  const std::int64_t taps = weights[2] * weights[3], places = sizes[0] * sizes[1], n = image[0];
  node.check(node.shape(offsets) == core::Shape{n, parts * taps * 2, sizes[0], sizes[1]} &&
                 (mask == kNone || node.shape(mask) == core::Shape{n, parts * taps, sizes[0], sizes[1]}) &&
                 (bias == kNone || node.shape(bias) == core::Shape{weights[0]}),
             "offsets of shape " + core::shape_text(node.shape(offsets)) + ", mask or bias do not fit");
  const ValueId grid =
      moved_taps(node, node.reshape(offsets, {n * parts, taps * 2, places}), image, window, sizes);
  const ValueId channels = node.reshape(x, {n * parts, image[1] / parts, image[2], image[3]});
  ValueId columns =
      node.emit(GridSample{}, {channels, grid}, dtype, {n * parts, image[1] / parts, taps, places});
  if (mask != kNone)
    columns = combined(node, BinaryFunction::mul, columns, node.reshape(mask, {n * parts, 1, taps, places}));
  const core::Shape factor = {1, groups, weights[0] / groups, weights[1] * taps};
  const ValueId product =
      node.emit(MatMul{}, {node.reshape(w, factor), node.reshape(columns, {n, groups, factor[3], places})},
                dtype, {n, groups, factor[2], places});
  const ValueId out = node.reshape(product, {n, weights[0], sizes[0], sizes[1]});
  node.give(0, bias == kNone
                   ? out
                   : combined(node, BinaryFunction::add, out, node.reshape(bias, {weights[0], 1, 1})));
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
  return node.reshape(node.constant(std::move(weights), dtype), std::move(shape));
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
  rules["DeformConv"] = deformable_convolution;
  rules["Col2Im"] = col2im;
}

}  // namespace rdquant::program
