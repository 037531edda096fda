// Reshape, Flatten, Squeeze, Unsqueeze, Transpose, Concat, Split, Slice, Pad, Expand, Tile.
#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "program/lower/lowering.hpp"
#include "rdquant/core/error.hpp"

namespace rdquant::program {
namespace {

void reshape(Lowering& node) {
  const ValueId x = node.input(0);
  core::Shape to = node.opset() < 5 ? node.integers("shape") : node.integers_of(1);
  const core::Shape from = node.shape(x);
  const bool zero_stays = node.integer("allowzero", 0) != 0;
  std::int64_t open = -1;
  for (std::size_t i = 0; i < to.size(); ++i) {
    if (to[i] == 0 && !zero_stays) {
      node.check(i < from.size(), "shape " + core::shape_text(to) + " copies an axis that the input lacks");
      to[i] = from[i];
    }
    node.check(to[i] >= 0 || (to[i] == -1 && open < 0), "shape " + core::shape_text(to) + " is not valid");
    if (to[i] < 0) open = static_cast<std::int64_t>(i);
  }
  core::Shape closed = to;
  if (open >= 0) closed[at(open)] = 1;
  const std::int64_t known = core::element_count(closed);
  const std::int64_t count = core::element_count(from);
  if (open >= 0) to[at(open)] = known == 0 ? 0 : count / known;
  node.check(core::element_count(to) == count,
             "cannot view " + core::shape_text(from) + " as " + core::shape_text(to));
  node.give(0, node.reshape(x, std::move(to)));
}

void flatten(Lowering& node) {
  const ValueId x = node.input(0);
  const core::Shape& shape = node.shape(x);
  std::int64_t axis = node.integer("axis", 1);
  if (axis < 0) axis += node.rank(x);
  node.check(axis >= 0 && axis <= node.rank(x), "axis is outside the input's rank");
  const std::int64_t outer = core::element_count(std::span(shape).first(at(axis)));
  const std::int64_t inner = core::element_count(std::span(shape).subspan(at(axis)));
  node.give(0, node.reshape(x, {outer, inner}));
}

void squeeze(Lowering& node) {
  const ValueId x = node.input(0);
  const auto given = node.integers("axes", 13, 1);
  const core::Shape shape = node.shape(x);
  std::vector<std::int64_t> axes;
  if (given) axes = node.axes(*given, node.rank(x));
  core::Shape to;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const bool named = std::ranges::binary_search(axes, static_cast<std::int64_t>(i));
    node.check(!named || shape[i] == 1,
               "axis " + std::to_string(i) + " of " + core::shape_text(shape) + " is not 1");
    if (given ? !named : shape[i] != 1) to.push_back(shape[i]);
  }
  node.give(0, node.reshape(x, std::move(to)));
}

void unsqueeze(Lowering& node) {
  const ValueId x = node.input(0);
  const auto given = node.integers("axes", 13, 1);
  node.check(given.has_value(), "axes are missing");
  const core::Shape shape = node.shape(x);
  const std::int64_t rank = node.rank(x) + std::ssize(*given);
  const auto axes = node.axes(*given, rank);
  core::Shape to;
  for (std::int64_t i = 0, next = 0; i < rank; ++i) {
    to.push_back(std::ranges::binary_search(axes, i) ? 1 : shape[at(next++)]);
  }
  node.give(0, node.reshape(x, std::move(to)));
}

void transpose(Lowering& node) {
  const ValueId x = node.input(0);
  std::vector<std::int64_t> reversed(at(node.rank(x)));
  std::iota(reversed.rbegin(), reversed.rend(), 0);
  Transpose op{node.integers("perm", reversed)};
  node.check(op.permutation.size() == reversed.size(), "perm must name every axis once");
  static_cast<void>(node.axes(op.permutation, node.rank(x)));
  for (std::int64_t& a : op.permutation) a = node.axis(a, node.rank(x));
  core::Shape shape;
  for (const std::int64_t a : op.permutation) shape.push_back(node.shape(x)[at(a)]);
  node.give(0, node.emit(std::move(op), {x}, node.dtype(x), std::move(shape)));
}

void concat(Lowering& node) {
  std::vector<ValueId> inputs;
  for (std::size_t i = 0; i < node.inputs(); ++i) inputs.push_back(node.input(i));
  node.check(!inputs.empty(), "there is nothing to join");
  core::Shape shape = node.shape(inputs[0]);
  const std::int64_t axis = node.axis(node.integer("axis", 1), std::ssize(shape));
  for (std::size_t i = 1; i < inputs.size(); ++i) {
    core::Shape other = node.shape(inputs[i]);
    node.check(other.size() == shape.size(), "the inputs differ in rank");
    const std::int64_t size = std::exchange(other[at(axis)], shape[at(axis)]);
    node.check(other == shape, "the inputs differ in more than axis " + std::to_string(axis));
    shape[at(axis)] += size;
  }
  if (inputs.size() == 1) return node.give(0, inputs[0]);
  const core::DType dtype = node.dtype(inputs[0]);
  node.give(0, node.emit(Concat{axis}, std::move(inputs), dtype, std::move(shape)));
}

void split(Lowering& node) {
  const ValueId x = node.input(0);
  const Split op{node.axis(node.integer("axis", 0), node.rank(x))};
  core::Shape shape = node.shape(x);
  const std::int64_t whole = shape[at(op.axis)];
  auto sizes = node.integers("split", 13, 1);
  if (!sizes || sizes->empty()) {
    const auto parts = static_cast<std::int64_t>(node.node().outputs.size());
    node.check(parts > 0, "there are no outputs");
    node.check(node.integer("num_outputs", parts) == parts, "num_outputs contradicts the number of outputs");
    const std::int64_t each = (whole + parts - 1) / parts;
    sizes.emplace();
    for (std::int64_t i = 0; i < parts; ++i) {
      sizes->push_back(std::clamp<std::int64_t>(whole - i * each, 0, each));
    }
  }
  const auto fits = [&](std::int64_t size) { return size >= 0 && size <= whole; };
  node.check(sizes->size() == node.node().outputs.size() && std::ranges::all_of(*sizes, fits) &&
                 std::accumulate(sizes->begin(), sizes->end(), std::int64_t{0}) == whole,
             "pieces of " + core::shape_text(*sizes) + " do not make up axis " + std::to_string(op.axis) +
                 " of " + core::shape_text(shape));
  // Every piece is made, so that sizes and offsets follow from the outputs' shapes.
  std::vector<Builder::Output> outputs;
  for (const std::int64_t size : *sizes) {
    shape[at(op.axis)] = size;
    outputs.push_back({node.dtype(x), shape});
  }
  const auto made = node.builder().emit(op, {x}, outputs, node.label());
  for (std::size_t i = 0; i < made.size(); ++i) node.give(i, made[i]);
}

/// ONNX says "to the end" by numbers near the largest; a quarter of that is as far and overflows nowhere.
constexpr std::int64_t kFar = std::numeric_limits<std::int64_t>::max() / 4;

struct Range {
  std::int64_t start, step, length;
};

/// ONNX's start, end and step over an axis of `size`, clamped as NumPy does.
Range range(std::int64_t start, std::int64_t end, std::int64_t step, std::int64_t size) {
  if (start < 0) start += size;
  if (end < 0) end += size;
  if (step > 0) {
    start = std::clamp<std::int64_t>(start, 0, size);
    end = std::clamp<std::int64_t>(end, 0, size);
    return {start, step,
            std::max<std::int64_t>(0, end - start + std::min(step, size + 1) - 1) / std::min(step, size + 1)};
  }
  start = std::clamp<std::int64_t>(start, -1, size - 1);
  end = std::clamp<std::int64_t>(end, -1, size - 1);
  const std::int64_t back = std::min(-step, size + 1);
  return {start, step, std::max<std::int64_t>(0, start - end + back - 1) / back};
}

void slice(Lowering& node) {
  const ValueId x = node.input(0);
  core::Shape shape = node.shape(x);
  const auto starts = node.integers("starts", 10, 1), ends = node.integers("ends", 10, 2);
  auto axes = node.integers("axes", 10, 3);
  const auto steps =
      node.opset() >= 10 && node.has_input(4) ? node.integers_of(4) : std::vector<std::int64_t>();
  node.check(starts && ends && starts->size() == ends->size(), "starts and ends must be as many");
  if (!axes) {
    axes.emplace(starts->size());
    std::iota(axes->begin(), axes->end(), 0);
  }
  node.check(axes->size() == starts->size() && (steps.empty() || steps.size() == starts->size()),
             "starts, ends, axes and steps must be as many");
  static_cast<void>(node.axes(*axes, node.rank(x)));
  Slice op{core::Shape(shape.size(), 0), core::Shape(shape.size(), 1)};
  for (std::size_t i = 0; i < axes->size(); ++i) {
    const std::size_t axis = at(node.axis((*axes)[i], node.rank(x)));
    const auto near = [](std::int64_t v) { return std::clamp(v, -kFar, kFar); };
    const std::int64_t step = steps.empty() ? 1 : near(steps[i]);
    node.check(step != 0, "a step of 0");
    const Range part = range(near((*starts)[i]), near((*ends)[i]), step, shape[axis]);
    op.starts[axis] = part.length == 0 ? 0 : part.start;
    op.steps[axis] = part.step;
    shape[axis] = part.length;
  }
  if (shape == node.shape(x) && std::ranges::all_of(op.steps, [](std::int64_t s) { return s == 1; })) {
    return node.give(0, x);
  }
  node.give(0, node.emit(std::move(op), {x}, node.dtype(x), std::move(shape)));
}

PadMode pad_mode(const Lowering& node) {
  const std::string mode = node.text("mode", "constant");
  if (mode == "constant") return PadMode::constant;
  if (mode == "edge") return PadMode::edge;
  if (mode == "reflect") return PadMode::reflect;
  if (mode == "wrap") return PadMode::wrap;
  node.unsupported("mode '" + mode + "'");
}

void pad(Lowering& node) {
  const ValueId x = node.input(0);
  core::Shape shape = node.shape(x);
  const std::size_t rank = shape.size();
  auto amounts = node.integers(node.opset() < 2 ? "paddings" : "pads", 11, 1);
  std::vector<std::int64_t> axes(rank);
  std::iota(axes.begin(), axes.end(), 0);
  if (node.opset() >= 18 && node.has_input(3)) axes = node.integers_of(3);
  node.check(amounts && amounts->size() == 2 * axes.size(), "pads must hold two numbers per axis");
  static_cast<void>(node.axes(axes, node.rank(x)));
  Pad op{pad_mode(node), core::Shape(rank, 0), core::Shape(rank, 0)};
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const std::size_t axis = at(node.axis(axes[i], node.rank(x)));
    op.begins[axis] = (*amounts)[i];
    op.ends[axis] = (*amounts)[i + axes.size()];
    const auto within = [](std::int64_t amount) { return amount >= -kMostSize && amount <= kMostSize; };
    node.check(within(op.begins[axis]) && within(op.ends[axis]), "pads may be 2^31 at most");
    const bool mirrors = op.mode == PadMode::reflect || op.mode == PadMode::edge || op.mode == PadMode::wrap;
    node.check(!mirrors || shape[axis] > 0 || (op.begins[axis] <= 0 && op.ends[axis] <= 0),
               "an empty axis cannot be continued");
    shape[axis] += op.begins[axis] + op.ends[axis];
    node.check(shape[axis] >= 0, "more is cropped than there is");
  }
  ValueId fill = kNone;
  if (node.opset() >= 11) {
    fill = node.optional_input(2);
  } else if (node.real("value", 0) != 0) {
    fill = node.builder().add_scalar(node.dtype(x), node.real("value", 0));
  }
  if (shape == node.shape(x)) {
    const auto zero = [](std::int64_t v) { return v == 0; };
    if (std::ranges::all_of(op.begins, zero) && std::ranges::all_of(op.ends, zero)) return node.give(0, x);
  }
  node.give(0, node.emit(std::move(op), {x, fill}, node.dtype(x), std::move(shape)));
}

void expand(Lowering& node) {
  const ValueId x = node.input(0);
  core::Shape shape;
  try {
    shape = broadcast(node.shape(x), node.integers_of(1));
  } catch (const core::InvalidArgument& error) {
    node.invalid(error.what());
  }
  if (shape == node.shape(x)) return node.give(0, x);
  node.give(0, node.emit(Expand{}, {x}, node.dtype(x), std::move(shape)));
}

void tile(Lowering& node) {
  const ValueId x = node.input(0);
  Tile op{node.integers_of(1)};
  core::Shape shape = node.shape(x);
  node.check(op.repeats.size() == shape.size(), "repeats must hold one number per axis");
  for (std::size_t i = 0; i < shape.size(); ++i) {
    node.check(op.repeats[i] >= 0 && op.repeats[i] <= kMostSize && shape[i] <= kMostSize,
               "repeats may be 0 to 2^31");
    shape[i] *= op.repeats[i];
  }
  node.give(0, node.emit(std::move(op), {x}, node.dtype(x), std::move(shape)));
}

}  // namespace

void add_shape_rules(Rules& rules) {
  rules["Reshape"] = reshape;
  rules["Flatten"] = flatten;
  rules["Squeeze"] = squeeze;
  rules["Unsqueeze"] = unsqueeze;
  rules["Transpose"] = transpose;
  rules["Concat"] = concat;
  rules["Split"] = split;
  rules["Slice"] = slice;
  rules["Pad"] = pad;
  rules["Expand"] = expand;
  rules["Tile"] = tile;
}

}  // namespace rdquant::program
