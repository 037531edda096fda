// Ranges of floats for dynamic quantization: found by the convolutions that compute the floats, and derived for
// concatenations of those.
#include <algorithm>

#include "runtime/native/int8/int8.hpp"

namespace rdquant::runtime::native {
namespace {

using program::kNone;
using program::Step;
using program::ValueId;

const Step* maker(const Builder& builder, ValueId id) {
  for (const Step& step : builder.program().steps) {
    if (std::ranges::find(step.outputs, id) != step.outputs.end()) return &step;
  }
  return nullptr;
}

bool is_maximum(const Step& step) {
  const auto* pool = std::get_if<program::Pool>(&step.operation);
  return pool != nullptr && pool->function == program::PoolFunction::max;
}

/// Looks for the min_max of a value.
class Search {
 public:
  explicit Search(const Builder& builder) : builder_(builder) {}

  bool find(ValueId id) {
    if (const auto place = builder_.min_max(id)) {
      places.push_back(*place);
      return true;
    }
    const Step* const step = maker(builder_, id);
    if (step == nullptr) return false;
    if (keeps_every_pixel(builder_.program(), *step)) return find(step->inputs[0]);
    return std::holds_alternative<program::Concat>(step->operation) &&
           std::ranges::all_of(step->inputs, [&](ValueId part) { return find_part(*step, part); });
  }

  std::vector<Place> places;

 private:
  /// Maxima of what is beside them add nothing; all parts of a Split are the whole.
  bool find_part(const Step& concat, ValueId part) {
    const auto beside = [&](ValueId id) {
      return std::ranges::find(concat.inputs, id) != concat.inputs.end();
    };
    const Step* const step = maker(builder_, part);
    if (step == nullptr) return false;
    if (is_maximum(*step) && beside(step->inputs[0])) return true;
    if (!std::holds_alternative<program::Split>(step->operation)) return find(part);
    if (!std::ranges::all_of(step->outputs, beside)) return false;
    return part != step->outputs[0] || find(step->inputs[0]);
  }

  const Builder& builder_;
};

/// Whether the min_max of the step's input are looked for where those of its outputs are.
bool passes(const Step& step) {
  return std::holds_alternative<program::Concat>(step.operation) ||
         std::holds_alternative<program::Split>(step.operation) ||
         std::holds_alternative<program::Resize>(step.operation);
}

}  // namespace

std::vector<Place> find_min_max(const Builder& builder, ValueId id) {
  Search search(builder);
  return search.find(id) ? std::move(search.places) : std::vector<Place>{};
}

bool is_ranged(const Builder& builder, ValueId id) {
  return std::ranges::any_of(builder.program().steps, [&](const Step& step) {
    if (std::ranges::find(step.inputs, id) == step.inputs.end()) return false;
    if (std::holds_alternative<program::DynamicQuantize>(step.operation)) return true;
    return passes(step) && std::ranges::any_of(step.outputs, [&](ValueId made) {
             return made != kNone && is_ranged(builder, made);
           });
  });
}

std::pair<float, float> range_of(std::span<void* const> min_max, int threads) {
  const kernels::Index lanes = int8_kernels().block;
  float low = 0, high = 0;
  for (const void* const part : min_max) {
    const auto* floats = static_cast<const float*>(part);
    for (int thread = 0; thread < threads; ++thread, floats += kMinMaxFloats) {
      for (kernels::Index lane = 0; lane < lanes; ++lane) {
        low = std::min(low, floats[lane]);
        high = std::max(high, floats[lanes + lane]);
      }
    }
  }
  return {low, high};
}

}  // namespace rdquant::runtime::native
