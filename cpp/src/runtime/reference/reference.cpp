#include "runtime/reference/reference.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <utility>

#include "rdquant/core/error.hpp"
#include "rdquant/program/memory.hpp"
#include "runtime/arena.hpp"
#include "runtime/definition.hpp"

namespace rdquant::runtime {
namespace {

using program::kNone;
using program::Program;
using program::Role;
using program::Step;
using program::Value;
using program::ValueId;

std::size_t bytes_of(const Value& value) {
  return static_cast<std::size_t>(core::element_count(value.shape)) * core::size_of(value.dtype);
}

/// Where each value lies: values that only reshape one another share memory.
struct Placement {
  std::vector<ValueId> root;         ///< the value whose memory a value uses
  std::vector<std::int32_t> output;  ///< of roots: the program output whose memory they take, or −1
  std::vector<std::size_t> offset;   ///< of roots in the arena
  std::size_t arena_bytes = 0;
};

void share_outputs(const Program& program, Placement& placement) {
  for (std::size_t i = 0; i < program.outputs.size(); ++i) {
    const auto root = static_cast<std::size_t>(placement.root[static_cast<std::size_t>(program.outputs[i])]);
    if (program.values[root].role == Role::activation && placement.output[root] < 0) {
      placement.output[root] = static_cast<std::int32_t>(i);
    }
  }
}

Placement place(const Program& program) {
  const std::size_t count = program.values.size();
  Placement placement{std::vector<ValueId>(count), std::vector<std::int32_t>(count, -1),
                      std::vector<std::size_t>(count, 0), 0};
  for (std::size_t v = 0; v < count; ++v) placement.root[v] = static_cast<ValueId>(v);
  for (const Step& step : program.steps) {
    if (!std::holds_alternative<program::Reshape>(step.operation)) continue;
    placement.root[static_cast<std::size_t>(step.outputs[0])] =
        placement.root[static_cast<std::size_t>(step.inputs[0])];
  }
  share_outputs(program, placement);
  std::vector<program::Lifetime> lifetimes(count, {0, -1, -1});
  for (std::size_t s = 0; s < program.steps.size(); ++s) {
    const auto live = [&](ValueId id) {
      if (id == kNone) return;
      const auto root = static_cast<std::size_t>(placement.root[static_cast<std::size_t>(id)]);
      if (program.values[root].role != Role::activation || placement.output[root] >= 0) return;
      program::Lifetime& life = lifetimes[root];
      if (life.first < 0) life = {bytes_of(program.values[root]), static_cast<std::int32_t>(s), 0};
      life.last = static_cast<std::int32_t>(s);
    };
    for (const ValueId id : program.steps[s].outputs) live(id);
    for (const ValueId id : program.steps[s].inputs) live(id);
  }
  std::vector<program::Lifetime> buffers;
  std::vector<std::size_t> owners;
  for (std::size_t v = 0; v < count; ++v) {
    if (lifetimes[v].first < 0) continue;
    buffers.push_back(lifetimes[v]);
    owners.push_back(v);
  }
  const program::MemoryPlan plan = program::plan_memory(buffers);
  for (std::size_t i = 0; i < owners.size(); ++i) placement.offset[owners[i]] = plan.offsets[i];
  placement.arena_bytes = plan.bytes;
  return placement;
}

class ReferenceExecutable final : public Executable {
 public:
  ReferenceExecutable(const Program& program, Placement placement, const Options& options)
      : program_(program),
        placement_(std::move(placement)),
        arenas_(placement_.arena_bytes),
        threads_(options.threads),
        check_(options.check) {}

  void run(std::span<const core::TensorView> inputs, std::span<const core::MutableTensorView> outputs,
           Times* times) override {
    const ArenaPool::Lease arena(arenas_);
    const std::vector<void*> memory = addresses(inputs, outputs, arena.data());
    if (times != nullptr) times->clear();
    for (const Step& step : program_.steps) {
      if (check_) check_();
      const auto start = std::chrono::steady_clock::now();
      execute(step, memory);
      if (times == nullptr) continue;
      times->push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const auto id = static_cast<std::size_t>(program_.outputs[i]);
      if (memory[id] != outputs[i].data)
        std::memcpy(outputs[i].data, memory[id], bytes_of(program_.values[id]));
    }
  }

  void update(std::span<const ValueId> /*constants*/) override {}  // constants are read where they lie
  [[nodiscard]] bool reads(ValueId /*constant*/) const override { return true; }

  [[nodiscard]] std::vector<PlannedStep> plan() const override {
    std::vector<PlannedStep> rows;
    for (std::size_t s = 0; s < program_.steps.size(); ++s) {
      const Step& step = program_.steps[s];
      const bool alias = aliased(step);
      const program::Cost cost = alias ? program::Cost{} : program::cost(program_, step);
      rows.push_back({static_cast<std::int32_t>(s), std::string(program::operation_name(step.operation)),
                      step.node, alias ? "alias" : "reference", "plain", step.inputs, step.outputs, cost.macs,
                      cost.bytes});
    }
    return rows;
  }
  [[nodiscard]] std::size_t arena_bytes() const override { return placement_.arena_bytes; }
  [[nodiscard]] std::size_t weight_bytes() const override { return 0; }

 private:
  [[nodiscard]] bool aliased(const Step& step) const {
    return std::holds_alternative<program::Reshape>(step.operation);
  }

  [[nodiscard]] std::vector<void*> addresses(std::span<const core::TensorView> inputs,
                                             std::span<const core::MutableTensorView> outputs,
                                             std::byte* arena) const {
    std::vector<void*> memory(program_.values.size());
    for (std::size_t v = 0; v < memory.size(); ++v) {
      const Value& value = program_.values[v];
      // evaluate never writes through an input's view
      if (value.role == Role::constant) memory[v] = const_cast<void*>(value.data.data());
      if (value.role != Role::activation) continue;
      const std::int32_t output = placement_.output[v];
      memory[v] = output < 0 ? arena + placement_.offset[v] : outputs[static_cast<std::size_t>(output)].data;
    }
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      memory[static_cast<std::size_t>(program_.inputs[i])] = const_cast<void*>(inputs[i].data);
    }
    for (std::size_t v = 0; v < memory.size(); ++v) {
      memory[v] = memory[static_cast<std::size_t>(placement_.root[v])];
    }
    return memory;
  }

  /// Refuses NaN in an input of the model that becomes levels, which have none.
  void check_input(const Step& step, const std::vector<void*>& memory) const {
    if (!std::holds_alternative<program::Quantize>(step.operation) &&
        !std::holds_alternative<program::DynamicQuantize>(step.operation)) {
      return;
    }
    const auto id = static_cast<std::size_t>(step.inputs[0]);
    const Value& value = program_.values[id];
    if (value.role != Role::input || value.dtype != core::DType::f32) return;
    const auto* const x = static_cast<const float*>(memory[id]);
    const auto count = static_cast<std::size_t>(core::element_count(value.shape));
    if (std::none_of(x, x + count, [](float v) { return std::isnan(v); })) return;
    throw core::InvalidArgument("input '" + value.name +
                                "' contains NaN, which the 8-bit integers that the model makes of it cannot "
                                "represent");
  }

  void execute(const Step& step, const std::vector<void*>& memory) const {
    if (aliased(step)) return;
    check_input(step, memory);
    std::vector<core::TensorView> in;
    std::vector<core::MutableTensorView> out;
    for (const ValueId id : step.inputs) {
      if (id == kNone) {
        in.push_back({});
        continue;
      }
      const Value& value = program_.values[static_cast<std::size_t>(id)];
      in.push_back({value.dtype, value.shape, memory[static_cast<std::size_t>(id)]});
    }
    for (const ValueId id : step.outputs) {
      if (id == kNone) {
        out.push_back({});
        continue;
      }
      const Value& value = program_.values[static_cast<std::size_t>(id)];
      out.push_back({value.dtype, value.shape, memory[static_cast<std::size_t>(id)]});
    }
    evaluate_named(step, in, out, threads_);
  }

  const Program& program_;
  Placement placement_;
  ArenaPool arenas_;
  int threads_;
  std::function<void()> check_;
};

class Reference final : public Backend {
 public:
  [[nodiscard]] std::string_view name() const override { return "reference"; }
  [[nodiscard]] std::optional<std::string> unavailable() const override { return std::nullopt; }
  [[nodiscard]] std::unique_ptr<Executable> prepare(const Program& program,
                                                    const Options& options) const override {
    Placement placement = place(program);
    if (options.memory_limit != 0 && placement.arena_bytes > options.memory_limit) {
      throw core::InvalidArgument(program.name + " needs " + std::to_string(placement.arena_bytes) +
                                  " bytes for its activations; the memory limit is " +
                                  std::to_string(options.memory_limit));
    }
    return std::make_unique<ReferenceExecutable>(program, std::move(placement), options);
  }
};

}  // namespace

const Backend& reference_backend() {
  static const Reference instance;
  return instance;
}

}  // namespace rdquant::runtime
