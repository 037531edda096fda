#include "program/fuse/rewriter.hpp"

#include <algorithm>
#include <utility>

#include "program/fuse/fuse.hpp"

namespace rdquant::program {

Rewriter::Rewriter(Program& program) : program_(program), builder_(program) { refresh(); }

void Rewriter::refresh() {
  maker_.assign(program_.values.size(), -1);
  readers_.assign(program_.values.size(), 0);
  for (std::size_t i = 0; i < program_.steps.size(); ++i) {
    const Step& step = program_.steps[i];
    if (step.outputs.empty()) continue;
    if (step.outputs[0] != kNone) maker_[index(step.outputs[0])] = static_cast<std::int32_t>(i);
    for (const ValueId id : step.inputs) {
      if (id != kNone) ++readers_[index(id)];
    }
  }
  for (const ValueId id : program_.outputs) ++readers_[index(id)];
}

std::optional<std::size_t> Rewriter::maker(ValueId id) const {
  if (id == kNone || index(id) >= maker_.size() || maker_[index(id)] < 0) return std::nullopt;
  return static_cast<std::size_t>(maker_[index(id)]);
}

std::size_t Rewriter::readers(ValueId id) const {
  if (index(id) >= readers_.size()) return 0;  // made since, for a step that is still to come
  return static_cast<std::size_t>(readers_[index(id)]);
}

std::optional<double> Rewriter::scalar(ValueId id) const {
  if (!builder_.is_constant(id) || core::element_count(builder_.value(id).shape) != 1) return std::nullopt;
  return builder_.data(id).doubles().front();
}

void Rewriter::merge(std::size_t made_before, std::size_t reader, Step merged) {
  merged.outputs = std::move(step(reader).outputs);
  step(reader) = std::move(merged);
  step(made_before) = {};
  refresh();
}

void Rewriter::replace(std::size_t i, Operation operation, std::vector<ValueId> inputs) {
  step(i).operation = std::move(operation);
  step(i).inputs = std::move(inputs);
  refresh();
}

void Rewriter::alias(std::size_t i, ValueId old, ValueId now) {
  for (Step& other : program_.steps) std::ranges::replace(other.inputs, old, now);
  std::ranges::replace(program_.outputs, old, now);
  step(i) = {};
  refresh();
}

void Rewriter::finish() {
  std::erase_if(program_.steps, [](const Step& step) { return step.outputs.empty(); });
  remove_dead(program_);
}

}  // namespace rdquant::program
