// a + b into the convolution, matrix product or group norm that makes one of them.
#include <algorithm>
#include <utility>

#include "program/fuse/rewriter.hpp"

namespace rdquant::program {
namespace {

constexpr std::size_t kResidual = 3;

/// The maker of `id` where it can take a residual before (`last`: after) its activation.
std::optional<std::size_t> taker(Rewriter& rewriter, ValueId id, const Activation& after) {
  const auto maker = rewriter.maker(id);
  if (!maker || rewriter.readers(id) != 1) return std::nullopt;
  const Step& step = rewriter.step(*maker);
  if (input(step, kResidual) != kNone) return std::nullopt;
  const auto open = [&](const Activation& own) { return own == Activation{} || after == Activation{}; };
  if (const auto* conv = std::get_if<Convolution>(&step.operation)) {
    return open(conv->activation) ? maker : std::nullopt;
  }
  if (const auto* product = std::get_if<MatMul>(&step.operation)) {
    return open(product->activation) ? maker : std::nullopt;
  }
  const auto* norm = std::get_if<GroupNormalization>(&step.operation);
  return norm != nullptr && norm->activation == Activation{} ? maker : std::nullopt;
}

template <typename Op>
void set(Op& op, const Activation& after) {
  op.residual_last = op.activation != Activation{};
  if (!op.residual_last) op.activation = after;
}

}  // namespace

bool fuse_residual(Rewriter& rewriter, std::size_t i) {
  const Step sum = rewriter.step(i);
  const auto* op = std::get_if<Binary>(&sum.operation);
  if (op == nullptr || op->function != BinaryFunction::add || sum.inputs[0] == sum.inputs[1]) return false;
  const ValueId a = sum.inputs[0], b = sum.inputs[1];
  if (rewriter.dtype(a) != core::DType::f32 || rewriter.shape(a) != rewriter.shape(b)) return false;
  if (rewriter.is_constant(a) || rewriter.is_constant(b)) return false;
  const auto first = taker(rewriter, a, op->activation), second = taker(rewriter, b, op->activation);
  if (!first && !second) return false;
  // The one computed last: the other is ready by then, and stays where it is.
  const bool take_second = second && (!first || *second > *first);
  const std::size_t maker = take_second ? *second : *first;
  Step merged = rewriter.step(maker);
  merged.inputs.resize(std::max(merged.inputs.size(), kResidual + 1), kNone);
  merged.inputs[kResidual] = take_second ? a : b;
  if (auto* conv = std::get_if<Convolution>(&merged.operation)) {
    set(*conv, op->activation);
  } else if (auto* product = std::get_if<MatMul>(&merged.operation)) {
    set(*product, op->activation);
  } else {
    std::get<GroupNormalization>(merged.operation).activation = op->activation;
  }
  rewriter.merge(maker, i, std::move(merged));
  return true;
}

}  // namespace rdquant::program
