// MaxPool, AveragePool, LpPool and their global kin; MaxUnpool.
#include <algorithm>
#include <utility>

#include "program/lower/lowering.hpp"

namespace rdquant::program {
namespace {

template <PoolFunction function>
void pool(Lowering& node) {
  const ValueId x = node.input(0);
  const core::Shape image = node.shape(x);
  Pool op;
  op.function = function;
  op.window = window_of(node, image, node.integers("kernel_shape"));
  op.counted_pads_end = op.window.pads_end;
  op.count_include_pad = node.integer("count_include_pad", 0) != 0;
  op.p = node.integer("p", 2);
  op.column_major_indices = node.integer("storage_order", 0) != 0;
  const core::Shape sizes = output_sizes(node, image, op.window, node.integer("ceil_mode", 0) != 0);
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const std::int64_t extent = (op.window.kernel[i] - 1) * op.window.dilations[i] + 1;
    const std::int64_t reach = (sizes[i] - 1) * op.window.strides[i] + extent;
    op.window.pads_end[i] = std::max(op.window.pads_end[i], reach - image[i + 2] - op.window.pads_begin[i]);
  }
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

}  // namespace

void add_pool_rules(Rules& rules) {
  rules["MaxPool"] = pool<PoolFunction::max>;
  rules["AveragePool"] = pool<PoolFunction::average>;
  rules["MaxUnpool"] = max_unpool;
  rules["LpPool"] = pool<PoolFunction::lp>;
  rules["GlobalMaxPool"] = global_pool<PoolFunction::max>;
  rules["GlobalAveragePool"] = global_pool<PoolFunction::average>;
  rules["GlobalLpPool"] = global_pool<PoolFunction::lp>;
}

}  // namespace rdquant::program
