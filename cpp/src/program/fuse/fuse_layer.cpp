// Layer normalization: (x − mean) / √(mean((x − mean)²) + ε), then scale and bias; or x / √(mean(x²) + ε), then scale.
#include <utility>

#include "program/fuse/rewriter.hpp"

namespace rdquant::program {
namespace {

/// Input of a mean over all axes from `axis` on.
std::optional<std::pair<ValueId, std::int64_t>> mean_of(Rewriter& rewriter, ValueId id) {
  const auto maker = rewriter.sole_maker<Reduce>(id);
  if (!maker) return std::nullopt;
  const Step step = rewriter.step(*maker);
  const auto& op = std::get<Reduce>(step.operation);
  const std::size_t rank = rewriter.shape(step.inputs[0]).size();
  if (op.function != ReduceFunction::mean || op.axes.empty() || rewriter.shape(id).size() != rank)
    return std::nullopt;
  for (std::size_t k = 0; k < op.axes.size(); ++k) {
    if (op.axes[k] != static_cast<std::int64_t>(rank - op.axes.size() + k)) return std::nullopt;
  }
  return std::pair(step.inputs[0], op.axes[0]);
}

const Binary* binary(Rewriter& rewriter, std::size_t i, BinaryFunction function) {
  const auto* op = std::get_if<Binary>(&rewriter.step(i).operation);
  return op != nullptr && op->function == function && op->activation == Activation{} ? op : nullptr;
}

/// True where `id` is d².
bool is_square(Rewriter& rewriter, ValueId id, ValueId d) {
  const auto maker = rewriter.sole_maker<Binary>(id);
  if (!maker) return false;
  const Step step = rewriter.step(*maker);
  if (binary(rewriter, *maker, BinaryFunction::mul) != nullptr)
    return step.inputs == std::vector<ValueId>{d, d};
  const bool power = binary(rewriter, *maker, BinaryFunction::pow) != nullptr && step.inputs[0] == d &&
                     rewriter.scalar(step.inputs[1]) == 2.0;
  if (power) rewriter.bake(step.inputs[1]);
  return power;
}

/// v where `id` is √v.
std::optional<ValueId> under_root(Rewriter& rewriter, ValueId id) {
  const auto root = rewriter.sole_maker<Unary>(id);
  if (!root || std::get<Unary>(rewriter.step(*root).operation).activation.function != Function::sqrt)
    return std::nullopt;
  return rewriter.step(*root).inputs[0];
}

/// v where `id` is 1/√v.
std::optional<ValueId> under_inverse_root(Rewriter& rewriter, ValueId id) {
  if (const auto inverse = rewriter.sole_maker<Unary>(id)) {
    if (std::get<Unary>(rewriter.step(*inverse).operation).activation.function != Function::reciprocal)
      return std::nullopt;
    return under_root(rewriter, rewriter.step(*inverse).inputs[0]);
  }
  const auto maker = rewriter.sole_maker<Binary>(id);
  if (!maker) return std::nullopt;
  const Step step = rewriter.step(*maker);
  if (binary(rewriter, *maker, BinaryFunction::div) == nullptr || rewriter.scalar(step.inputs[0]) != 1.0)
    return std::nullopt;
  const auto v = under_root(rewriter, step.inputs[1]);
  if (v) rewriter.bake(step.inputs[0]);
  return v;
}

/// d and v where step `i` is d / √v, or d · 1/√v.
std::optional<std::pair<ValueId, ValueId>> by_root(Rewriter& rewriter, std::size_t i) {
  const std::vector<ValueId> inputs = rewriter.step(i).inputs;
  if (binary(rewriter, i, BinaryFunction::div) != nullptr) {
    const auto v = under_root(rewriter, inputs[1]);
    return v ? std::optional(std::pair(inputs[0], *v)) : std::nullopt;
  }
  if (binary(rewriter, i, BinaryFunction::mul) == nullptr) return std::nullopt;
  for (const std::size_t side : {std::size_t{0}, std::size_t{1}}) {
    if (const auto v = under_inverse_root(rewriter, inputs[1 - side])) return std::pair(inputs[side], *v);
  }
  return std::nullopt;
}

/// x and the first axis of the mean where `id` is x − mean(x).
std::optional<std::pair<ValueId, std::int64_t>> centred(Rewriter& rewriter, ValueId id) {
  const auto maker = rewriter.maker(id);
  if (!maker || binary(rewriter, *maker, BinaryFunction::sub) == nullptr) return std::nullopt;
  const Step difference = rewriter.step(*maker);
  const auto mean = mean_of(rewriter, difference.inputs[1]);
  return mean && mean->first == difference.inputs[0] ? mean : std::nullopt;
}

/// d / √(mean(d²) + ε) at step `i`: layer normalization of x where d = x − mean(x), else that of d without its mean.
bool from_pieces(Rewriter& rewriter, std::size_t i) {
  const auto quotient = by_root(rewriter, i);
  if (!quotient) return false;
  const auto [d, v] = *quotient;
  const auto sum = rewriter.sole_maker<Binary>(v);
  if (!sum || binary(rewriter, *sum, BinaryFunction::add) == nullptr) return false;
  const Step raised = rewriter.step(*sum);
  const std::size_t side = rewriter.scalar(raised.inputs[1]) ? 0 : 1;
  const auto epsilon = rewriter.scalar(raised.inputs[1 - side]);
  const auto variance = mean_of(rewriter, raised.inputs[side]);
  if (!epsilon || !variance || !is_square(rewriter, variance->first, d)) return false;
  if (rewriter.shape(rewriter.step(i).outputs[0]) != rewriter.shape(d)) return false;
  const auto whole = centred(rewriter, d);
  const bool has_mean =
      whole && whole->second == variance->second && rewriter.shape(d) == rewriter.shape(whole->first);
  rewriter.bake(raised.inputs[1 - side]);
  const LayerNormalization op{variance->second, static_cast<float>(*epsilon), !has_mean};
  rewriter.replace(i, op, {has_mean ? whole->first : d});
  return true;
}

/// Scale, or bias after it, of the normalization before step `i`.
bool parameter(Rewriter& rewriter, std::size_t i) {
  const bool scales = binary(rewriter, i, BinaryFunction::mul) != nullptr;
  if (!scales && binary(rewriter, i, BinaryFunction::add) == nullptr) return false;
  for (const std::size_t side : {std::size_t{0}, std::size_t{1}}) {
    const ValueId y = rewriter.step(i).inputs[side], constant = rewriter.step(i).inputs[1 - side];
    const auto maker = rewriter.sole_maker<LayerNormalization>(y);
    if (!maker || !rewriter.is_constant(constant)) continue;
    Step merged = rewriter.step(*maker);
    if (merged.outputs.size() > 1 || input(merged, 2) != kNone || (scales && input(merged, 1) != kNone))
      continue;
    const auto& op = std::get<LayerNormalization>(merged.operation);
    const core::Shape shape = rewriter.shape(y);
    const core::Shape normalized(shape.begin() + op.axis, shape.end());
    if ((op.root_mean_square && !scales) || rewriter.shape(constant) != normalized) continue;
    merged.inputs.resize(scales ? 2 : 3, kNone);
    merged.inputs.back() = constant;
    rewriter.merge(*maker, i, std::move(merged));
    return true;
  }
  return false;
}

}  // namespace

bool fuse_layer(Rewriter& rewriter, std::size_t i) {
  if (!std::holds_alternative<Binary>(rewriter.step(i).operation)) return false;
  return from_pieces(rewriter, i) || parameter(rewriter, i);
}

}  // namespace rdquant::program
