#include <algorithm>

#include "program/lower/builder.hpp"

namespace rdquant::program {
namespace {

std::int64_t count(const Program& program, ValueId id) {
  return id == kNone ? 0 : core::element_count(program.values[index(id)].shape);
}

std::int64_t macs(const Program& program, const Step& step) {
  const auto shape = [&](ValueId id) -> const core::Shape& { return program.values[index(id)].shape; };
  if (std::holds_alternative<Convolution>(step.operation) ||
      std::holds_alternative<Int8Convolution>(step.operation)) {
    const core::Shape& weights = shape(step.inputs[1]);
    return count(program, step.outputs[0]) *
           (count(program, step.inputs[1]) / std::max<std::int64_t>(1, weights[0]));
  }
  if (std::holds_alternative<TransposedConvolution>(step.operation)) {
    const core::Shape& weights = shape(step.inputs[1]);
    return count(program, step.inputs[0]) *
           (count(program, step.inputs[1]) / std::max<std::int64_t>(1, weights[0]));
  }
  if (const auto* product = std::get_if<MatMul>(&step.operation)) {
    const core::Shape& a = shape(step.inputs[0]);
    return count(program, step.outputs[0]) * a[a.size() - (product->transpose_a ? 2 : 1)];
  }
  if (std::holds_alternative<Recurrence>(step.operation))
    return count(program, step.inputs[0]) * shape(step.inputs[1])[1];
  return 0;
}

}  // namespace

Cost cost(const Program& program, const Step& step) {
  Cost cost{macs(program, step), 0};
  const auto add = [&](ValueId id) {
    if (id == kNone) return;
    cost.bytes +=
        count(program, id) * static_cast<std::int64_t>(core::size_of(program.values[index(id)].dtype));
  };
  for (const ValueId id : step.inputs) add(id);
  for (const ValueId id : step.outputs) add(id);
  return cost;
}

}  // namespace rdquant::program
