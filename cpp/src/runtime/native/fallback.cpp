#include <cmath>
#include <utility>

#include "runtime/definition.hpp"
#include "runtime/native/builder.hpp"
#include "runtime/native/loops.hpp"

namespace rdquant::runtime::native {

using program::kNone;
using program::Step;
using program::ValueId;

bool build_reference(Builder& builder, const Step& step) {
  std::vector<Place> operands;
  std::vector<core::TensorView> in;
  std::vector<core::MutableTensorView> out;
  // the views' shapes are those of the Program, which outlives its Executable
  for (const ValueId id : step.inputs) {
    in.push_back({});
    if (id == kNone) continue;
    in.back() = {builder.value(id).dtype, builder.value(id).shape, nullptr};
    operands.push_back(builder.read(id, Layout::plain));
  }
  for (const ValueId id : step.outputs) {
    out.push_back({});
    if (id == kNone) continue;
    out.back() = {builder.value(id).dtype, builder.value(id).shape, nullptr};
    operands.push_back(builder.write(id, Layout::plain));
  }
  const std::size_t count = operands.size();
  auto work = [&step, in, out, threads = builder.threads()](void* const* operand) {
    auto inputs = in;
    auto outputs = out;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (program::input(step, i) != kNone) inputs[i].data = *operand++;
    }
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      if (step.outputs[i] != kNone) outputs[i].data = *operand++;
    }
    evaluate_named(step, inputs, outputs, threads);
  };
  builder.emit(make_reference(count, std::move(work)), std::move(operands), Layout::plain);
  return true;
}

}  // namespace rdquant::runtime::native
