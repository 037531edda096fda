// Means, sums and maxima of levels along any axes, as those under windows of an image.
#include <algorithm>
#include <numeric>
#include <utility>

#include "program/int8/int8.hpp"

namespace rdquant::program {
namespace {

using core::Shape;

/// How an array becomes an image whose windows hold what is reduced together.
struct Folding {
  std::vector<std::int64_t> permutation;  ///< comes first; empty: none
  Shape image;
  std::vector<std::int64_t> kernel;
};

Folding folding_of(const Shape& shape, const std::vector<std::int64_t>& axes) {
  const auto reduced = [&](std::int64_t axis) { return std::ranges::find(axes, axis) != axes.end(); };
  const auto size = [&](std::int64_t axis) { return shape[static_cast<std::size_t>(axis)]; };
  if (shape.size() == 4 && !reduced(0) && !reduced(1))
    return {{}, shape, {reduced(2) ? shape[2] : 1, reduced(3) ? shape[3] : 1}};
  std::vector<std::int64_t> order(shape.size());
  std::iota(order.begin(), order.end(), std::int64_t{0});
  const auto count = [&](auto first, auto last) {
    return std::accumulate(first, last, std::int64_t{1}, [&](auto n, auto axis) { return n * size(axis); });
  };
  // Rows under one another, where nothing lies before them and nothing is reduced after them.
  const auto first = std::ranges::find_if(order, [&](auto a) { return reduced(a) || size(a) != 1; });
  const auto end = std::find_if_not(first, order.end(), reduced);
  if (shape.size() != 4 && std::none_of(end, order.end(), reduced) && end != order.end())
    return {{}, {1, 1, count(first, end), count(end, order.end())}, {count(first, end), 1}};
  const std::vector<std::int64_t> given = order;
  if (shape.size() == 4 && reduced(1)) order = {0, 2, 3, 1};  // as images lie
  const auto last = std::ranges::stable_partition(order, [&](auto a) { return !reduced(a); }).begin();
  const std::int64_t width = count(last, order.end());
  return {order == given ? std::vector<std::int64_t>{} : order,
          {1, 1, count(order.begin(), last), width},
          {1, width}};
}

}  // namespace

bool write_int8_reduction(Int8Writer& writer, const Step& step) {
  const auto* reduce = std::get_if<Reduce>(&step.operation);
  const Int8Writer::Source* found = reduce == nullptr ? nullptr : writer.source(step.inputs[0]);
  if (found == nullptr || reduce->axes.empty()) return false;
  const Int8Writer::Source x = *found;
  const bool maxima = reduce->function == ReduceFunction::max, sum = reduce->function == ReduceFunction::sum;
  if (!maxima && !sum && reduce->function != ReduceFunction::mean) return false;
  const auto target = maxima ? std::nullopt : writer.target(step.outputs[0]);
  const Folding folding = folding_of(writer.value(step.inputs[0]).shape, reduce->axes);
  const std::int64_t count = folding.kernel[0] * folding.kernel[1];
  constexpr std::int64_t kMost = std::int64_t{1} << 22U;  // of sums in 32 bits
  if ((!maxima && !target) || count == 0 || count > kMost) return false;
  ValueId levels = x.levels;
  if (!folding.permutation.empty()) {
    Shape turned;
    for (const std::int64_t axis : folding.permutation)
      turned.push_back(writer.value(levels).shape[static_cast<std::size_t>(axis)]);
    levels = writer.write(Transpose{folding.permutation}, {levels}, x.grid.dtype, turned, step.node);
  }
  if (folding.image != writer.value(levels).shape)
    levels = writer.write(Reshape{}, {levels}, x.grid.dtype, folding.image, step.node);
  const Window window{folding.kernel, {1, 1}, {1, 1}, {0, 0}, {0, 0}};
  const Shape shape{folding.image[0], folding.image[1], folding.image[2] - folding.kernel[0] + 1,
                    folding.image[3] - folding.kernel[1] + 1};
  const Shape wanted = writer.value(step.outputs[0]).shape;  // values move as others are written
  if (maxima) {
    Pool pool;
    pool.window = window;
    ValueId made = writer.write(std::move(pool), {levels}, x.grid.dtype, shape, step.node);
    if (wanted != shape) made = writer.write(Reshape{}, {made}, x.grid.dtype, wanted, step.node);
    writer.set_source(step.outputs[0], made, x);
    return true;
  }
  const double step_of = static_cast<double>(x.grid.scale) / static_cast<double>(target->grid.scale);
  const Int8Pool op{window, false, x.grid.zero,
                    static_cast<float>(sum ? step_of * static_cast<double>(count) : step_of),
                    *clamped({}, target->grid)};
  writer.bake(x);
  writer.reach(*target);
  if (wanted == shape) {
    writer.write(op, {levels}, target->levels, step.node);
  } else {
    const ValueId made = writer.write(op, {levels}, target->grid.dtype, shape, step.node);
    writer.write(Reshape{}, {made}, target->levels, step.node);
  }
  return true;
}

}  // namespace rdquant::program
