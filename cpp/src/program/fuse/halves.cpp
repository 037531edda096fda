// Networks in float16 and bfloat16, computed in float32.
#include <algorithm>
#include <unordered_map>
#include <utility>

#include "program/fuse/fuse.hpp"
#include "program/lower/builder.hpp"

namespace rdquant::program {
namespace {

using core::DType;

bool is_half(DType dtype) { return dtype == DType::f16 || dtype == DType::bf16; }

/// Rewrites the steps one after the other: each reads and makes float32 where it read and made half precision.
class Widening {
 public:
  explicit Widening(Program& program) : program_(program), builder_(program) {}

  void run() {
    std::vector<Step> steps = std::exchange(program_.steps, {});
    for (Step& step : steps) {
      for (ValueId& id : step.inputs) id = widened(id);
      if (changes_storage_only(step)) {
        stands_for_[step.outputs[0]] = step.inputs[0];
        continue;
      }
      for (const ValueId id : step.outputs) widen_in_place(id);
      program_.steps.push_back(std::move(step));
    }
    for (ValueId& id : program_.outputs) id = narrowed(id);
  }

 private:
  [[nodiscard]] Value& value(ValueId id) { return program_.values[index(id)]; }

  /// What stands for value `id` in float32; inputs and constants are converted where they are first read.
  ValueId widened(ValueId id) {
    if (id == kNone) return id;
    if (const auto found = stands_for_.find(id); found != stands_for_.end()) return found->second;
    if (!is_half(value(id).dtype)) return id;
    const core::Shape shape = value(id).shape;
    const ValueId wide = builder_.emit(Cast{}, {id}, DType::f32, shape, value(id).name);
    return stands_for_[id] = wide;
  }

  /// A conversion between floats of which nothing is left.
  [[nodiscard]] bool changes_storage_only(const Step& step) {
    if (!std::holds_alternative<Cast>(step.operation)) return false;
    const DType from = value(step.inputs[0]).dtype, to = value(step.outputs[0]).dtype;
    if (from != DType::f32) return false;
    if (is_half(to)) declared_[step.outputs[0]] = to;
    return is_half(to) || to == DType::f32;
  }

  void widen_in_place(ValueId id) {
    if (id == kNone || !is_half(value(id).dtype)) return;
    declared_[id] = value(id).dtype;
    value(id).dtype = DType::f32;
  }

  /// The program's output `id` in the type that the graph declares.
  ValueId narrowed(ValueId id) {
    if (const auto found = narrow_.find(id); found != narrow_.end()) return found->second;
    const auto alias = stands_for_.find(id);
    const bool given = value(id).role == Role::input || value(id).role == Role::constant;
    const ValueId wide = alias == stands_for_.end() || given ? id : alias->second;
    const auto declared = declared_.find(id);
    if (declared == declared_.end()) return narrow_[id] = wide;
    std::string name = value(id).name;
    const core::Shape shape = value(id).shape;
    const ValueId made = builder_.emit(Cast{}, {wide}, declared->second, shape, name);
    value(made).name = std::move(name);
    if (wide == id) value(id).name.clear();
    return narrow_[id] = made;
  }

  Program& program_;
  Builder builder_;
  std::unordered_map<ValueId, ValueId> stands_for_, narrow_;
  std::unordered_map<ValueId, DType> declared_;
};

}  // namespace

void widen_halves(Program& program) {
  const auto reads_or_makes = [&](const Step& step) {
    const auto half = [&](ValueId id) { return id != kNone && is_half(program.values[index(id)].dtype); };
    return std::ranges::any_of(step.inputs, half) || std::ranges::any_of(step.outputs, half);
  };
  if (std::ranges::any_of(program.steps, reads_or_makes)) Widening(program).run();
}

}  // namespace rdquant::program
