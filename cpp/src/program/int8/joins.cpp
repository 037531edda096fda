// Tables and sums of levels into the convolution before them; levels of maxima.
#include <algorithm>
#include <array>
#include <utility>

#include "program/fuse/fuse.hpp"
#include "program/fuse/rewriter.hpp"

namespace rdquant::program {
namespace {

constexpr std::size_t kResidual = 4, kTable = 5;

/// A convolution into levels, read by nothing else, without residual.
std::optional<std::size_t> open_layer(Rewriter& rewriter, ValueId id) {
  const auto found = rewriter.sole_maker<Int8Convolution>(id);
  if (!found || rewriter.dtype(id) == core::DType::f32) return std::nullopt;
  return input(rewriter.step(*found), kResidual) == kNone ? found : std::nullopt;
}

bool join_table(Rewriter& rewriter, std::size_t i) {
  const Step step = rewriter.step(i);
  if (!std::holds_alternative<Lookup>(step.operation)) return false;
  const auto layer = open_layer(rewriter, step.inputs[0]);
  if (!layer || input(rewriter.step(*layer), kTable) != kNone) return false;
  Step merged = rewriter.step(*layer);
  merged.inputs.resize(std::max(merged.inputs.size(), kTable + 1), kNone);
  merged.inputs[kTable] = step.inputs[1];
  rewriter.merge(*layer, i, std::move(merged));
  return true;
}

/// A layer that takes `sum`'s other input as its residual: the one computed last, for the other is ready by
/// then and stays where it is.
struct Taker {
  std::size_t layer;
  bool second;  ///< it makes the sum's second input
};

std::optional<Taker> taker(std::optional<std::size_t> a, std::optional<std::size_t> b) {
  if (!a && !b) return std::nullopt;
  const bool second = b && (!a || *b > *a);
  return Taker{second ? *b : *a, second};
}

Step with_residual(Rewriter& rewriter, const Taker& taker, const Step& sum) {
  Step merged = rewriter.step(taker.layer);
  merged.inputs.resize(std::max(merged.inputs.size(), kResidual + 1), kNone);
  merged.inputs[kResidual] = sum.inputs[taker.second ? 0 : 1];
  return merged;
}

bool join_sum(Rewriter& rewriter, std::size_t i) {
  const Step step = rewriter.step(i);
  const auto* sum = std::get_if<Int8Binary>(&step.operation);
  if (sum == nullptr || sum->function != BinaryFunction::add || step.inputs[0] == step.inputs[1])
    return false;
  const core::DType dtype = rewriter.dtype(step.outputs[0]);
  const auto fits = [&](ValueId id) {
    return rewriter.dtype(id) == dtype && rewriter.shape(id) == rewriter.shape(step.outputs[0]);
  };
  if (!fits(step.inputs[0]) || !fits(step.inputs[1])) return false;
  const auto found = taker(open_layer(rewriter, step.inputs[0]), open_layer(rewriter, step.inputs[1]));
  if (!found) return false;
  Step merged = with_residual(rewriter, *found, step);
  auto& op = std::get<Int8Convolution>(merged.operation);
  op.sum = *sum;
  if (found->second) {
    std::swap(op.sum.a_scale, op.sum.b_scale);
    std::swap(op.sum.a_zero, op.sum.b_zero);
  }
  rewriter.merge(found->layer, i, std::move(merged));
  return true;
}

/// The maker of `id`, a convolution into numbers that nothing else reads and that `after` may follow with a
/// residual before it.
std::optional<std::size_t> open_floats(Rewriter& rewriter, ValueId id, const Activation& after) {
  const auto found = rewriter.sole_maker<Int8Convolution>(id);
  if (!found || input(rewriter.step(*found), kResidual) != kNone) return std::nullopt;
  const auto& own = std::get<Int8Convolution>(rewriter.step(*found).operation).requantize.activation;
  return own == Activation{} || after == Activation{} ? found : std::nullopt;
}

/// The same for numbers: activation(a + b) into the convolution of levels that makes a or b.
bool join_floats(Rewriter& rewriter, std::size_t i) {
  const Step step = rewriter.step(i);
  const auto* sum = std::get_if<Binary>(&step.operation);
  if (sum == nullptr || sum->function != BinaryFunction::add || step.inputs[0] == step.inputs[1])
    return false;
  const core::Shape& shape = rewriter.shape(step.outputs[0]);
  for (const ValueId id : step.inputs) {
    if (rewriter.dtype(id) != core::DType::f32 || rewriter.shape(id) != shape) return false;
  }
  if (sum->activation.function == Function::prelu) return false;
  const auto found = taker(open_floats(rewriter, step.inputs[0], sum->activation),
                           open_floats(rewriter, step.inputs[1], sum->activation));
  if (!found) return false;
  Step merged = with_residual(rewriter, *found, step);
  auto& op = std::get<Int8Convolution>(merged.operation);
  op.residual_last = op.requantize.activation != Activation{};
  if (!op.residual_last) op.requantize.activation = sum->activation;
  rewriter.merge(found->layer, i, std::move(merged));
  return true;
}

/// Whether no number of `id` is negative.
bool is_positive(Rewriter& rewriter, ValueId id) {
  const auto made = rewriter.maker(id);
  if (!made) return false;
  const Step& step = rewriter.step(*made);
  if (std::holds_alternative<Concat>(step.operation))
    return std::ranges::all_of(step.inputs, [&](ValueId part) { return is_positive(rewriter, part); });
  Activation last;
  if (const auto* levels = std::get_if<Int8Convolution>(&step.operation)) {
    if (!levels->residual_last) last = levels->requantize.activation;
  } else if (const auto* convolution = std::get_if<Convolution>(&step.operation)) {
    if (!convolution->residual_last) last = convolution->activation;
  }
  return last.function == Function::relu || (last.function == Function::clip && last.a >= 0);
}

/// Whether every element lies under a window and every window holds one.
bool covers(const Window& window, const core::Shape& x, const core::Shape& y) {
  for (std::size_t i = 0; i < window.kernel.size(); ++i) {
    const std::int64_t kernel = window.kernel[i], last = (y[i + 2] - 1) * window.strides[i];
    if (window.dilations[i] != 1 || window.strides[i] > kernel || window.pads_begin[i] >= kernel)
      return false;
    const std::int64_t from = last - window.pads_begin[i];
    if (from >= x[i + 2] || from + kernel < x[i + 2]) return false;
  }
  return true;
}

/// Levels, on their own range, of maxima: maxima of levels. The range is that of the numbers before the
/// maxima where none is negative and none is left out.
bool join_maxima(Rewriter& rewriter, std::size_t i) {
  if (!std::holds_alternative<DynamicQuantize>(rewriter.step(i).operation)) return false;
  const ValueId y = rewriter.step(i).inputs[0];
  const auto found = rewriter.sole_maker<Pool>(y);
  if (!found) return false;
  Step &pool = rewriter.step(*found), &quantize = rewriter.step(i);
  const auto& op = std::get<Pool>(pool.operation);
  const ValueId x = pool.inputs[0];
  if (op.function != PoolFunction::max || (pool.outputs.size() > 1 && pool.outputs[1] != kNone) ||
      quantize.outputs[0] == kNone || !is_positive(rewriter, x) ||
      !covers(op.window, rewriter.shape(x), rewriter.shape(y)))
    return false;
  Value& levels = rewriter.program().values[index(y)];
  levels.dtype = core::DType::u8;
  levels.shape = rewriter.shape(x);
  std::swap(pool, quantize);
  Step &first = rewriter.step(*found), &second = rewriter.step(i);
  second.outputs = {std::exchange(first.outputs[0], y)};
  rewriter.replace(*found, first.operation, {x});
  rewriter.replace(i, second.operation, {y});
  return true;
}

}  // namespace

void join_levels(Program& program) {
  constexpr std::array<Fusion, 4> kRules = {join_table, join_sum, join_floats, join_maxima};
  for (bool changed = true; changed;) {
    Rewriter rewriter(program);
    changed = false;
    for (std::size_t i = 0; i < program.steps.size(); ++i) {
      for (const Fusion rule : kRules) {
        if (!rewriter.gone(i)) changed = rule(rewriter, i) || changed;
      }
    }
    rewriter.finish();
  }
}

}  // namespace rdquant::program
