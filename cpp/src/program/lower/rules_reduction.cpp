// Reduce*, ArgMax, ArgMin, TopK, CumSum.
#include <algorithm>
#include <numeric>
#include <utility>

#include "program/lower/lowering.hpp"

namespace rdquant::program {
namespace {

/// Shape after reducing `axes` (sorted), which stay as 1 or go.
core::Shape reduced(const core::Shape& shape, const std::vector<std::int64_t>& axes, bool keep) {
  core::Shape out;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (!std::ranges::binary_search(axes, static_cast<std::int64_t>(i))) {
      out.push_back(shape[i]);
    } else if (keep) {
      out.push_back(1);
    }
  }
  return out;
}

template <ReduceFunction function>
void reduce(Lowering& node) {
  const ValueId x = node.input(0);
  const int since = function == ReduceFunction::sum ? 13 : 18;
  auto given = node.integers("axes", since, 1);
  if (!given || given->empty()) {
    if (node.integer("noop_with_empty_axes", 0) != 0) {
      // Nothing is summed, but the function of one element remains: |x|, log x, x².
      node.give(0, node.emit_like(Reduce{function, {}}, {x}, x));
      return;
    }
    given.emplace(static_cast<std::size_t>(node.rank(x)));
    std::iota(given->begin(), given->end(), 0);
  }
  Reduce op{function, node.axes(*given, node.rank(x))};
  core::Shape shape = reduced(node.shape(x), op.axes, node.integer("keepdims", 1) != 0);
  node.give(0, node.emit(std::move(op), {x}, node.dtype(x), std::move(shape)));
}

template <bool largest>
void arg_extreme(Lowering& node) {
  const ValueId x = node.input(0);
  const std::int64_t axis = node.axis(node.integer("axis", 0), node.rank(x));
  node.check(node.shape(x)[static_cast<std::size_t>(axis)] > 0, "the axis is empty");
  const ArgExtreme op{largest, axis, node.integer("select_last_index", 0) != 0};
  core::Shape shape = reduced(node.shape(x), {axis}, node.integer("keepdims", 1) != 0);
  node.give(0, node.emit(op, {x}, core::DType::i64, std::move(shape)));
}

void top_k(Lowering& node) {
  const ValueId x = node.input(0);
  const TopK op{node.axis(node.integer("axis", -1), node.rank(x)), node.integer("largest", 1) != 0};
  std::int64_t k = 0;
  if (node.opset() < 10) {
    k = node.integer("k", 0);
  } else {
    const auto numbers = node.integers_of(1);
    node.check(numbers.size() == 1, "k must be one number");
    k = numbers[0];
  }
  core::Shape shape = node.shape(x);
  std::int64_t& size = shape[static_cast<std::size_t>(op.axis)];
  node.check(k >= 0 && k <= size, "k = " + std::to_string(k) + " of an axis of " + std::to_string(size));
  size = k;
  node.give_all(op, {x}, {{node.dtype(x), shape}, {core::DType::i64, shape}});
}

void cumulative(Lowering& node, bool product) {
  const ValueId x = node.input(0);
  const auto numbers = node.integers_of(1);
  node.check(numbers.size() == 1, "the axis must be one number");
  const CumulativeSum op{node.axis(numbers[0], node.rank(x)), node.integer("exclusive", 0) != 0,
                         node.integer("reverse", 0) != 0, product};
  node.give(0, node.emit_like(op, {x}, x));
}

}  // namespace

void add_reduction_rules(Rules& rules) {
  rules["ReduceSum"] = reduce<ReduceFunction::sum>;
  rules["ReduceMean"] = reduce<ReduceFunction::mean>;
  rules["ReduceMax"] = reduce<ReduceFunction::max>;
  rules["ReduceMin"] = reduce<ReduceFunction::min>;
  rules["ReduceProd"] = reduce<ReduceFunction::prod>;
  rules["ReduceL1"] = reduce<ReduceFunction::l1>;
  rules["ReduceL2"] = reduce<ReduceFunction::l2>;
  rules["ReduceLogSum"] = reduce<ReduceFunction::log_sum>;
  rules["ReduceLogSumExp"] = reduce<ReduceFunction::log_sum_exp>;
  rules["ReduceSumSquare"] = reduce<ReduceFunction::sum_square>;
  rules["ArgMax"] = arg_extreme<true>;
  rules["ArgMin"] = arg_extreme<false>;
  rules["TopK"] = top_k;
  rules["CumSum"] = [](Lowering& node) { cumulative(node, false); };
  rules["CumProd"] = [](Lowering& node) { cumulative(node, true); };
}

}  // namespace rdquant::program
