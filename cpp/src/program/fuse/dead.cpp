#include <algorithm>
#include <utility>

#include "program/fuse/fuse.hpp"
#include "program/lower/builder.hpp"

namespace rdquant::program {
namespace {

/// Keeps the steps of which an output is used; marks their inputs as used.
void sweep(std::vector<Step>& steps, std::vector<bool>& used) {
  std::vector<Step> kept;
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    const auto wanted = [&](ValueId id) { return id != kNone && used[index(id)]; };
    if (std::ranges::none_of(step->outputs, wanted)) continue;
    for (const ValueId id : step->inputs) {
      if (id != kNone) used[index(id)] = true;
    }
    kept.push_back(std::move(*step));
  }
  std::ranges::reverse(kept);
  steps = std::move(kept);
}

/// New numbers of the values that stay; kNone for those that go. Every piece of a split stays, for their
/// shapes say where each begins.
std::vector<ValueId> renumber(Program& program, const std::vector<bool>& used) {
  std::vector<ValueId> numbers(program.values.size(), kNone);
  std::vector<Value> values;
  for (std::size_t i = 0; i < used.size(); ++i) {
    if (!used[i]) continue;
    numbers[i] = static_cast<ValueId>(values.size());
    values.push_back(std::move(program.values[i]));
  }
  program.values = std::move(values);
  return numbers;
}

}  // namespace

void remove_dead(Program& program) {
  std::vector<bool> used(program.values.size(), false);
  for (const ValueId id : program.inputs) used[index(id)] = true;
  for (const ValueId id : program.outputs) used[index(id)] = true;
  sweep(program.steps, used);
  sweep(program.prologue, used);
  for (const Step& step : program.steps) {
    const bool all = std::holds_alternative<Split>(step.operation);
    for (std::size_t i = 0; i < step.outputs.size(); ++i) {
      if (step.outputs[i] != kNone && (all || i == 0)) used[index(step.outputs[i])] = true;
    }
  }
  for (const Step& step : program.prologue) {
    for (const ValueId id : step.outputs) {
      if (id != kNone) used[index(id)] = true;
    }
  }
  std::erase_if(program.weights, [&](const auto& entry) { return !used[index(entry.second)]; });
  const std::vector<ValueId> numbers = renumber(program, used);
  const auto map = [&](ValueId& id) {
    if (id != kNone) id = numbers[index(id)];
  };
  for (std::vector<Step>* steps : {&program.prologue, &program.steps}) {
    for (Step& step : *steps) {
      std::ranges::for_each(step.inputs, map);
      std::ranges::for_each(step.outputs, map);
    }
  }
  std::ranges::for_each(program.inputs, map);
  std::ranges::for_each(program.outputs, map);
  for (auto& [name, id] : program.weights) map(id);
}

}  // namespace rdquant::program
