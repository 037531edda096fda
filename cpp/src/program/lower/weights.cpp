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

/// A flag for each value.
using Flags = std::vector<bool>;

template <typename Visit>
void each(const std::vector<ValueId>& ids, const Visit& visit) {
  for (const ValueId id : ids) {
    if (id != kNone) visit(index(id));
  }
}

bool any(const std::vector<ValueId>& ids, const Flags& flags) {
  return std::ranges::any_of(ids, [&](ValueId id) { return id != kNone && flags[index(id)]; });
}

Flags read_by_steps(const Program& program) {
  Flags read(program.values.size(), false);
  const auto mark = [&](std::size_t id) { read[id] = true; };
  for (const Step& step : program.steps) each(step.inputs, mark);
  each(program.outputs, mark);
  return read;
}

Flags made_by_prologue(const Program& program) {
  Flags made(program.values.size(), false);
  for (const Step& step : program.prologue) each(step.outputs, [&](std::size_t id) { made[id] = true; });
  return made;
}

/// Steps of the prologue that make what is wanted and either `stale` or without data.
Flags needed_steps(const Program& program, Flags wanted, const Flags& stale) {
  Flags needed(program.prologue.size(), false);
  for (std::size_t s = program.prologue.size(); s-- > 0;) {
    const Step& step = program.prologue[s];
    each(step.outputs, [&](std::size_t id) {
      if (wanted[id] && (stale[id] || program.values[id].data.data() == nullptr)) needed[s] = true;
    });
    if (needed[s]) each(step.inputs, [&](std::size_t id) { wanted[id] = true; });
  }
  return needed;
}

/// Runs these steps; what the prologue made and nobody keeps goes once the last of them has read it, so that the
/// next is made in its memory.
void run_steps(Program& program, const Flags& needed, const Flags& kept) {
  const Flags made = made_by_prologue(program);
  std::vector<std::size_t> last(program.values.size(), 0);
  for (std::size_t s = 0; s < needed.size(); ++s) {
    if (!needed[s]) continue;
    const auto note = [&](std::size_t id) { last[id] = s; };
    each(program.prologue[s].outputs, note);
    each(program.prologue[s].inputs, note);
  }
  for (std::size_t s = 0; s < needed.size(); ++s) {
    if (!needed[s]) continue;
    const auto drop = [&](std::size_t id) {
      if (made[id] && !kept[id] && last[id] == s) program.values[id].data = {};
    };
    run_on_constants(program, program.prologue[s]);
    each(program.prologue[s].inputs, drop);
    each(program.prologue[s].outputs, drop);
  }
}

}  // namespace

void make_constants(Program& program) {
  const Flags kept = read_by_steps(program), none(program.values.size(), false);
  run_steps(program, needed_steps(program, kept, none), kept);
  forget_constants(program, kept);
}

void make_constant(Program& program, ValueId id) {
  const Flags none(program.values.size(), false), all(program.values.size(), true);
  Flags wanted = none;
  wanted[index(id)] = true;
  run_steps(program, needed_steps(program, std::move(wanted), none), all);
}

void forget_constants(Program& program, const Flags& kept) {
  const Flags made = made_by_prologue(program);
  Flags source(program.values.size(), false);
  for (const Step& step : program.prologue) each(step.inputs, [&](std::size_t id) { source[id] = true; });
  for (std::size_t id = 0; id < made.size(); ++id) {
    if (!kept[id] && (made[id] || !source[id])) program.values[id].data = {};
  }
}

std::vector<ValueId> set_weights(Program& program, const std::map<std::string, core::Tensor>& tensors) {
  for (const auto& [name, tensor] : tensors) check(program, name, tensor);
  Flags changed(program.values.size(), false);
  for (const auto& [name, tensor] : tensors) {
    const auto found = program.weights.find(name);
    if (found == program.weights.end()) continue;
    program.values[index(found->second)].data = tensor;
    changed[index(found->second)] = true;
  }
  for (const Step& step : program.prologue) {
    if (any(step.inputs, changed)) each(step.outputs, [&](std::size_t id) { changed[id] = true; });
  }
  const Flags kept = read_by_steps(program);
  Flags wanted = kept;
  for (std::size_t i = 0; i < wanted.size(); ++i) wanted[i] = wanted[i] && changed[i];
  run_steps(program, needed_steps(program, std::move(wanted), changed), kept);
  std::vector<ValueId> ids;
  for (std::size_t i = 0; i < changed.size(); ++i) {
    if (changed[i] && kept[i]) ids.push_back(static_cast<ValueId>(i));
  }
  return ids;
}

}  // namespace rdquant::program
