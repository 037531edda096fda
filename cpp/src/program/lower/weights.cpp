#include <algorithm>
#include <utility>

#include "program/lower/builder.hpp"
#include "rdquant/core/error.hpp"

namespace rdquant::program {
namespace {

void check(const Program& program, const std::string& name, const core::Tensor& tensor) {
  if (program.baked.contains(name)) {
    throw core::InvalidArgument("weight '" + name +
                                "' has become part of the plan and cannot be replaced in it");
  }
  const auto found = program.weights.find(name);
  if (found == program.weights.end()) return;
  const Value& value = program.values[index(found->second)];
  if (value.dtype == tensor.dtype() && value.shape == tensor.shape()) return;
  throw core::InvalidArgument(
      "weight '" + name + "': expected " + std::string(core::dtype_name(value.dtype)) + " of shape " +
      core::shape_text(value.shape) + ", got " + std::string(core::dtype_name(tensor.dtype())) +
      " of shape " + core::shape_text(tensor.shape()));
}

}  // namespace

std::vector<ValueId> set_weights(Program& program, const std::map<std::string, core::Tensor>& tensors) {
  for (const auto& [name, tensor] : tensors) check(program, name, tensor);
  std::vector<bool> changed(program.values.size(), false);
  for (const auto& [name, tensor] : tensors) {
    const auto found = program.weights.find(name);
    if (found == program.weights.end()) continue;
    program.values[index(found->second)].data = tensor;
    changed[index(found->second)] = true;
  }
  for (const Step& step : program.prologue) {
    const auto hit = [&](ValueId id) { return id != kNone && changed[index(id)]; };
    if (std::ranges::none_of(step.inputs, hit)) continue;
    run_on_constants(program, step);
    for (const ValueId id : step.outputs) {
      if (id != kNone) changed[index(id)] = true;
    }
  }
  std::vector<ValueId> ids;
  for (std::size_t i = 0; i < changed.size(); ++i) {
    if (changed[i]) ids.push_back(static_cast<ValueId>(i));
  }
  return ids;
}

}  // namespace rdquant::program
